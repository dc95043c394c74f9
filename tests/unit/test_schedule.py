import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcqlora.errors import UserError
from mcqlora.tokens import mindrecord
from mcqlora.train.checkpoints import exhausted
from mcqlora.train.schedule import evaluation_batch, evenly, plan_steps, validation_padding
from mcqlora.train.settings import Size

RECIPE = Size(rows=None, workers=4, batch_size=4, epochs=4, evaluations=20, checkpoints=10)


def size(workers, batch_size, epochs=1, **changes):
    return Size(**{"rows": None, "workers": workers, "batch_size": batch_size, "epochs": epochs} | changes)


def test_arithmetic_of_the_reports_recipe():
    plan = plan_steps(138_020, RECIPE, 0.03, 5, sink_size=2)
    assert plan.global_batch == 16
    assert plan.steps_per_epoch == 8_626
    assert plan.steps == 34_504
    assert plan.warmup == 1_035
    assert plan.evaluation_interval == 1_726
    assert len(plan.evaluations) == 19
    assert plan.checkpoint_interval == 3_452
    assert len(plan.checkpoints) == 10
    assert plan.checkpoints[-2:] == (31_068, 34_504)
    assert plan.delivered == (6_904, 13_808, 20_712, 27_616, 34_504)


def test_intervals_in_steps():
    """The report names its intervals: an evaluation every 1,726 steps, a checkpoint every 3,452."""
    intervals = {"evaluation_interval": 1_726, "checkpoint_interval": 3_452}
    named = plan_steps(138_020, size(4, 4, 4, checkpoints=5, **intervals), 0.03, 5, sink_size=2)
    assert named == plan_steps(138_020, RECIPE, 0.03, 5, sink_size=2)


def test_an_interval_in_steps_needs_no_parts():
    plan = plan_steps(64, size(1, 8, evaluations=2, checkpoints=10, checkpoint_interval=1), 0.03, 5)
    assert plan.checkpoints == tuple(range(1, 9))


@pytest.mark.parametrize(
    ("evaluation", "checkpoint", "said"),
    [
        (
            1_725,
            None,
            r"^train.evaluation_interval: 1725 is no multiple of the 2 .* passed over; set it to 1724",
        ),
        (None, 3_451, r"^train.checkpoint_interval: 3451 is no multiple of the 2 .*; set it to 3452"),
        (1, None, r"^train.evaluation_interval: 1 is no multiple of the 2 .*; set it to 2"),
        (34_506, None, r"^train.evaluation_interval: every 34506 steps is never in a training of 34504"),
        (None, 8_628, r"^train.checkpoint_interval: every 8628 of 34504 steps leaves fewer than the 5 "),
    ],
)
def test_intervals_at_which_nothing_would_happen(evaluation, checkpoint, said):
    with pytest.raises(UserError, match=said):
        asked = replace(RECIPE, evaluation_interval=evaluation, checkpoint_interval=checkpoint)
        plan_steps(138_020, asked, 0.03, 5, sink_size=2)


def test_packed_rows_need_fewer_steps():
    assert plan_steps(21_066, RECIPE, 0.03, 5, sink_size=2).steps == 4 * (21_066 // 16)


def test_the_last_partial_batch_of_an_epoch_is_dropped():
    assert plan_steps(31, size(2, 5, 3), 0, 1).steps == 9


def test_a_checkpoint_falls_on_an_evaluation():
    """Of the corrected recipe's packed rows: rounded apart, 222 and 442 would meet at no delivered step."""
    plan = plan_steps(17_627, RECIPE, 0.03, 5, sink_size=2)
    assert (plan.evaluation_interval, plan.checkpoint_interval) == (222, 444)
    assert plan.delivered == (888, 1_776, 2_664, 3_552, 4_404)
    assert plan.evaluated == (*plan.evaluations, 4_404)


def test_checkpoints_between_evaluations_are_evaluated():
    plan = plan_steps(64, size(1, 8, evaluations=2, checkpoints=5, evaluation_interval=3), 0, 5)
    assert plan.evaluations == (3, 6)
    assert plan.evaluated == (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("rows", [28, 29, 31, 32])
@pytest.mark.parametrize("part", [None, 27])
def test_the_library_takes_as_many_steps(tmp_path, rows, workers, part):
    """MindDataset pads the shares of all rows to one length; 31 rows are two batches of 4 for 4 workers."""
    from mindspore.dataset import MindDataset

    file = tmp_path / "x.mindrecord"
    mindrecord.write_batches([{"input_ids": np.zeros((rows, 4), np.int32)}], file, ["input_ids"])
    some = {} if part is None else {"num_samples": part // workers}  # what MindFormers makes of it
    plan = plan_steps(rows, size(workers, 4, rows=part), 0, 1)
    assert plan.whole == (part is None)
    for worker in range(workers):
        data = MindDataset([str(file)], num_shards=workers, shard_id=worker, shuffle=False, **some)
        assert data.batch(4, drop_remainder=True).get_dataset_size() == plan.steps_per_epoch


def test_an_odd_step_is_not_taken_in_pairs():
    """MindFormers rounds the number of calls down: 9 steps in pairs are 4 calls, and the last step is 8."""
    plan = plan_steps(30, size(2, 5, 3), 0, 1, sink_size=2)
    assert plan.steps_per_epoch == 3
    assert plan.steps == plan.checkpoints[-1] == 8


@pytest.mark.parametrize(("rows", "checkpoints"), [(0, 1), (12, 1), (16 * 4, 5)])
def test_too_few_steps(rows, checkpoints):
    with pytest.raises(
        UserError, match=rf"^train: {rows} rows in batches of 4 x 4 .* {checkpoints} checkpoints; lower"
    ):
        plan_steps(rows, size(4, 4, checkpoints=checkpoints), 0.03, checkpoints)


@given(
    rows=st.integers(1, 5_000),
    workers=st.integers(1, 4),
    batch=st.integers(1, 8),
    epochs=st.integers(1, 4),
    ratio=st.floats(0, 1),
    evaluations=st.integers(1, 30),
    checkpoints=st.integers(5, 12),
    sink=st.sampled_from([1, 2]),
)
def test_properties(rows, workers, batch, epochs, ratio, evaluations, checkpoints, sink):
    assume(rows // (workers * batch) * epochs >= 2 * checkpoints + 1)  # fewer may be refused
    asked = size(workers, batch, epochs, evaluations=evaluations, checkpoints=checkpoints)
    plan = plan_steps(rows, asked, ratio, 5, sink)
    assert plan.steps * plan.global_batch <= (rows + workers - 1) * epochs
    assert 0 <= plan.warmup <= plan.steps
    for steps in (plan.evaluations, plan.checkpoints):
        assert list(steps) == sorted(set(steps))
        assert all(0 < step <= plan.steps and step % sink == 0 for step in steps)
    assert len(plan.evaluations) <= evaluations
    assert 5 <= len(plan.checkpoints) <= checkpoints or plan.steps < sink * checkpoints**2
    assert plan.checkpoints[-1] == plan.delivered[-1] == plan.steps
    assert set(plan.delivered) <= set(plan.checkpoints) <= set(plan.evaluated)
    assert list(plan.delivered) == sorted(set(plan.delivered))
    spacing = plan.steps / 5
    for number, step in enumerate(plan.delivered, 1):
        assert abs(step - number * spacing) <= 1.5 * plan.checkpoint_interval + 1


@pytest.mark.parametrize(
    ("steps", "interval", "delivered"),
    [(5, 1, (1, 2, 3, 4, 5)), (12, 2, (2, 4, 8, 10, 12)), (6, 1, (1, 2, 4, 5, 6))],
)
def test_a_short_training_still_delivers_five(steps, interval, delivered):
    plan = plan_steps(steps, size(1, 1, checkpoints=5), 0, 5)
    assert plan.checkpoint_interval == interval
    assert plan.delivered == delivered


@given(rows=st.integers(1, 300), checkpoints=st.integers(5, 12), sink=st.sampled_from([1, 2]))
def test_five_different_checkpoints_or_an_error(rows, checkpoints, sink):
    try:
        plan = plan_steps(rows, size(1, 1, checkpoints=checkpoints), 0, 5, sink)
    except UserError:
        return
    assert len(set(plan.delivered)) == 5


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([3.0, 2.0, 1.0], 1, False),
        ([3.0, 2.0, 2.5], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.0], 2, True),
        ([3.0, 2.0, 2.5, 1.9], 2, False),
        ([1.0], 1, False),
        ([1.0, 2.0, 3.0], None, False),
    ],
)
def test_exhausted(losses, patience, expected):
    assert exhausted(losses, patience) is expected


def test_evenly():
    assert evenly((3, 6, 9, 12, 15, 18), 5) == (3, 6, 12, 15, 18)
    assert evenly(range(1, 11), 5) == (2, 4, 6, 8, 10)


@pytest.mark.parametrize(
    ("rows", "workers", "batch", "expected"),
    [
        (120, 1, 8, 8),
        (120, 2, 8, 8),
        (7, 1, 8, 7),
        (13, 1, 8, 7),
        (2_480, 4, 4, 4),
        (11, 2, 4, 3),
        (1, 4, 8, 1),
        (843, 4, 4, 4),  # 12 of them were never seen
    ],
)
def test_evaluation_batch(rows, workers, batch, expected):
    found = evaluation_batch(rows, size(workers, batch))
    padding = validation_padding(rows, workers, found)
    assert found == expected and (rows + padding) % (workers * found) == 0
    assert padding < workers * found
    assert math.ceil(rows / workers / found) == math.ceil(rows / workers / batch)


def test_an_evaluation_batch_asked_for():
    assert evaluation_batch(2_480, size(4, 4, evaluation_batch_size=62)) == 62
    assert evaluation_batch(2_480, size(4, 4, evaluation_batch_size=8)) == 8
    assert validation_padding(2_480, 4, 8) == 16
