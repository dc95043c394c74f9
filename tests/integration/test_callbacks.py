"""The callback that keeps a training's history and checkpoints, and ends it where patience does."""

from types import SimpleNamespace

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mindspore.train.dataset_helper import _DataWrapper  # noqa: E402

from mcqlora import files  # noqa: E402
from mcqlora.errors import UserError  # noqa: E402
from mcqlora.model import weights  # noqa: E402
from mcqlora.train import callbacks, checkpoints  # noqa: E402

LOSSES = [3.0, 2.0, 2.5, 2.25, 2.0, 1.0]  # of the validation, at every second step


class Step(ms.nn.Cell):
    """A training cell with one trained weight and a moment of it."""

    def __init__(self):
        super().__init__()
        self.network, self.in_turns = ms.nn.Cell(), None
        self.network.weight = ms.Parameter(ms.Tensor([0.0], ms.float32), name="weight")
        self.moment = ms.Parameter(ms.Tensor([0.0], ms.float32), name="moment", requires_grad=False)


def sunk(cell):
    """The cell in which sink mode wraps it, without the queue of rows that only an NPU has."""
    wrapper = _DataWrapper.__new__(_DataWrapper)
    ms.nn.Cell.__init__(wrapper, auto_prefix=False)
    wrapper.network = cell
    return wrapper


def train(
    folder, steps, patience=None, delivered=1, start=0, losses=LOSSES, batches=12, wrap=lambda cell: cell
):
    """Goes through the steps until the callback asks for a stop; returns the last one."""
    schedule = callbacks.ScheduleCallback(
        str(folder), [2, 4, 6, 8, 10, 12], [4, 8, 12], delivered, 12, patience, start
    )
    cell, asked, stopped = Step(), iter(losses[start // 2 :]), []

    def evaluate():
        callbacks.TokenLoss.latest = next(asked)

    schedule.evaluator = SimpleNamespace(_execute_eval=evaluate)
    data = SimpleNamespace(get_dataset_size=lambda: batches)
    given = SimpleNamespace(
        list_callback=[], train_dataset=data, train_network=wrap(cell), cur_step_num=0, net_outputs=None
    )
    context = SimpleNamespace(original_args=lambda: given, request_stop=lambda: stopped.append(True))
    schedule.on_train_begin(context)
    for step in range(start + 1, steps + 1):
        given.cur_step_num = step - start
        cell.network.weight.set_data(ms.Tensor([float(step)], ms.float32))
        given.net_outputs = (ms.Tensor(1 / step, ms.float32), None, None, None, None)
        schedule.on_train_step_end(context)
        if stopped:
            break
    return step


def kept(folder):
    return sorted(int(path.stem.split("-")[1]) for path in (folder / "checkpoints").glob("*.safetensors"))


def test_sink_mode_s_checkpoints_are_the_same(tmp_path):
    for name, wrap in (("plain", lambda cell: cell), ("sunk", sunk)):
        train(tmp_path / name, 12, wrap=wrap)
    for step in (4, 12):
        plain, wrapped = (
            checkpoints.file(tmp_path / name / "checkpoints", step) for name in ("plain", "sunk")
        )
        assert plain.read_bytes() == wrapped.read_bytes()
    assert weights.read(checkpoints.file(tmp_path / "sunk/checkpoints", 4)).keys() == {"weight", "moment"}


def test_without_patience_a_training_takes_all_its_steps(tmp_path):
    assert train(tmp_path, 12) == 12
    assert kept(tmp_path) == [4, 8, 12] and checkpoints.stopped(tmp_path / "checkpoints") == 12
    rows = list(files.read_jsonl(tmp_path / "history.jsonl"))
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["valid_loss"] for row in rows if "valid_loss" in row] == LOSSES
    first, last = (weights.read(checkpoints.file(tmp_path / "checkpoints", step)) for step in (4, 12))
    assert first.keys() == {"weight", "moment"} and last.keys() == {"weight"}


@pytest.mark.parametrize(("patience", "delivered", "end"), [(2, 1, 8), (3, 1, 10), (4, 1, 12), (2, 3, 10)])
def test_patience_ends_a_training_with_a_checkpoint(tmp_path, patience, delivered, end):
    """The loss of step 4 is first beaten at step 12; before three are delivered there is no end."""
    assert train(tmp_path, 12, patience, delivered) == end
    assert kept(tmp_path)[-1] == end and checkpoints.stopped(tmp_path / "checkpoints") == end
    assert weights.read(checkpoints.file(tmp_path / "checkpoints", end))["weight"] == np.float32(end)


def test_an_epoch_of_other_steps_than_planned_does_not_begin(tmp_path):
    """MindFormers 1.9.0 gives every worker all `rows` unless it is told the dataset's strategy."""
    with pytest.raises(UserError, match=r"^an epoch has 24 steps, not the 12 planned; see make doctor$"):
        train(tmp_path, 12, batches=24)
    assert not (tmp_path / "history.jsonl").exists()


def test_patience_counts_the_evaluations_before_a_resume(tmp_path):
    train(tmp_path, 6, patience=3)
    lines = (tmp_path / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "history.jsonl").write_text("".join(lines[:4]))
    assert train(tmp_path, 12, patience=3, start=4) == 10
    assert [row["step"] for row in files.read_jsonl(tmp_path / "history.jsonl")] == list(range(1, 11))
