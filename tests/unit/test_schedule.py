import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcqlora.errors import UserError
from mcqlora.tokens import mindrecord
from mcqlora.train.schedule import evenly, exhausted, plan_steps


def test_arithmetic_of_the_reports_recipe():
    plan = plan_steps(138_020, 4, 4, 4, 0.03, 20, 10, 5, sink_size=2)
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
    named = plan_steps(138_020, 4, 4, 4, 0.03, 1, 5, 5, 2, 1_726, 3_452)
    assert named == plan_steps(138_020, 4, 4, 4, 0.03, 20, 10, 5, sink_size=2)


def test_an_interval_in_steps_needs_no_parts():
    plan = plan_steps(64, 1, 8, 1, 0.03, 2, 10, 5, checkpoint_interval=1)
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
        plan_steps(138_020, 4, 4, 4, 0.03, 20, 10, 5, 2, evaluation, checkpoint)


def test_packed_rows_need_fewer_steps():
    assert plan_steps(21_066, 4, 4, 4, 0.03, 20, 10, 5, sink_size=2).steps == 4 * (21_066 // 16)


def test_the_last_partial_batch_of_an_epoch_is_dropped():
    assert plan_steps(31, 2, 5, 3, 0, 1, 1, 1).steps == 9


def test_a_checkpoint_falls_on_an_evaluation():
    """Of the corrected recipe's packed rows: rounded apart, 222 and 442 would meet at no delivered step."""
    plan = plan_steps(17_627, 4, 4, 4, 0.03, 20, 10, 5, sink_size=2)
    assert (plan.evaluation_interval, plan.checkpoint_interval) == (222, 444)
    assert plan.delivered == (888, 1_776, 2_664, 3_552, 4_404)
    assert plan.evaluated == (*plan.evaluations, 4_404)


def test_checkpoints_between_evaluations_are_evaluated():
    plan = plan_steps(64, 1, 8, 1, 0, 2, 5, 5, evaluation_interval=3)
    assert plan.evaluations == (3, 6)
    assert plan.evaluated == (1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("rows", [28, 29, 31, 32])
@pytest.mark.parametrize("part", [None, 27])
def test_the_library_takes_as_many_steps(tmp_path, rows, workers, part):
    """MindDataset pads the shares of all rows to one length; 31 rows are two batches of 4 for 4 workers."""
    from mindspore.dataset import MindDataset

    file = tmp_path / "x.mindrecord"
    mindrecord.write_shard(({"input_ids": np.full(4, n, np.int32)} for n in range(rows)), file, ["input_ids"])
    some = {} if part is None else {"num_samples": part // workers}  # what MindFormers makes of it
    plan = plan_steps(part or rows, workers, 4, 1, 0, 1, 1, 1, whole=part is None)
    for worker in range(workers):
        data = MindDataset([str(file)], num_shards=workers, shard_id=worker, shuffle=False, **some)
        assert data.batch(4, drop_remainder=True).get_dataset_size() == plan.steps_per_epoch


def test_an_odd_step_is_not_taken_in_pairs():
    """MindFormers rounds the number of calls down: 9 steps in pairs are 4 calls, and the last step is 8."""
    plan = plan_steps(30, 2, 5, 3, 0, 1, 1, 1, sink_size=2)
    assert plan.steps_per_epoch == 3
    assert plan.steps == plan.checkpoints[-1] == 8


@pytest.mark.parametrize(("rows", "checkpoints"), [(0, 1), (12, 1), (16 * 4, 5)])
def test_too_few_steps(rows, checkpoints):
    with pytest.raises(
        UserError, match=rf"^train: {rows} rows in batches of 4 x 4 .* {checkpoints} checkpoints; lower"
    ):
        plan_steps(rows, 4, 4, 1, 0.03, 1, checkpoints, checkpoints)


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
    plan = plan_steps(rows, workers, batch, epochs, ratio, evaluations, checkpoints, 5, sink)
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
    plan = plan_steps(steps, 1, 1, 1, 0, 1, 5, 5)
    assert plan.checkpoint_interval == interval
    assert plan.delivered == delivered


@given(rows=st.integers(1, 300), checkpoints=st.integers(5, 12), sink=st.sampled_from([1, 2]))
def test_five_different_checkpoints_or_an_error(rows, checkpoints, sink):
    try:
        plan = plan_steps(rows, 1, 1, 1, 0, 1, checkpoints, 5, sink)
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
