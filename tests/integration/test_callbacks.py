"""The callback that keeps a training's history and checkpoints, and ends it where patience does."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

ms = pytest.importorskip("mindspore")

from mindformers.trainer.utils import check_runner_config  # noqa: E402
from mindspore.train import dataset_helper  # noqa: E402
from mindspore.train.callback import _CallbackManager, _InternalCallbackParam  # noqa: E402
from mindspore.train.dataset_helper import _DataWrapper  # noqa: E402

from mcqlora import files  # noqa: E402
from mcqlora.errors import UserError  # noqa: E402
from mcqlora.model import weights  # noqa: E402
from mcqlora.model.architecture import DEVICES  # noqa: E402
from mcqlora.train import callbacks, checkpoints, history  # noqa: E402
from mcqlora.train.schedule import plan_steps  # noqa: E402
from mcqlora.train.settings import Size  # noqa: E402
from mcqlora.train.workplace import Workplace  # noqa: E402

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


class Sunk(Step):
    """One call is as many steps as are sunk, and returns what the last of them does."""

    def __call__(self):
        return (ms.Tensor(1.0), None, None, None, None)


def train_sunk(folder, schedule, epochs, monkeypatch, start=0, patience=None):
    """MindSpore's own loop of sink mode, and MindFormers' number of calls, without an NPU and its queue."""
    device, losses = DEVICES["Ascend"], iter([1.0] * len(schedule.evaluated))
    data = SimpleNamespace(get_dataset_size=lambda: schedule.steps_per_epoch)
    asked = {"epochs": epochs, "sink_mode": device.sink_mode, "sink_size": device.sink_size}
    asked |= dict.fromkeys(("initial_epoch", "initial_step", "gradient_accumulation_steps"))
    runner = SimpleNamespace(**asked)
    check_runner_config(SimpleNamespace(runner_config=runner), data)

    def evaluate():
        callbacks.TokenLoss.latest = next(losses)

    callback = callbacks.ScheduleCallback(
        str(folder), schedule.evaluated, schedule.checkpoints, 1, schedule.steps_per_epoch, patience, start
    )
    callback.evaluator = SimpleNamespace(_execute_eval=evaluate)
    told = {
        "device_target": "Ascend",
        "mode": ms.GRAPH_MODE,
    }  # in the other mode there is a call for each step
    context = SimpleNamespace(get_context=told.get, GRAPH_MODE=ms.GRAPH_MODE)
    for module in (dataset_helper, sys.modules["mindspore.train.model"]):
        monkeypatch.setattr(module, "context", context)
    rows = dataset_helper._DatasetIterMSLoopSink.__new__(dataset_helper._DatasetIterMSLoopSink)
    rows.dataset, rows.sink_size, rows.op = data, runner.sink_size, tuple
    rows.sink_count = rows.get_sink_count(data)
    rows.continue_send = rows.stop_send = rows.release = lambda: None
    helper = dataset_helper.DatasetHelper.__new__(dataset_helper.DatasetHelper)
    helper.iter = rows
    network, model, given = Sunk(), ms.Model.__new__(ms.Model), _InternalCallbackParam()
    model._exec_preprocess, model._backbone_is_train = lambda **_: (helper, network), True
    given.cur_step_num, given.batch_num, given.list_callback = 0, runner.sink_size, []
    given.train_network, given.train_dataset = network, data
    with _CallbackManager([callback]) as called:
        model._train_dataset_sink_process(
            runner.epochs, data, called, given, runner.sink_size, start // device.sink_size, (None, 1, False)
        )


@pytest.mark.parametrize(("batches", "epochs", "steps"), [(13, 3, 38), (13, 2, 26), (12, 3, 36)])
def test_in_sink_mode_history_has_every_second_step(tmp_path, monkeypatch, batches, epochs, steps):
    """As docs/devices.md says: over the ends of odd epochs, after a resume, and up to an early end."""
    size = Size(rows=None, workers=1, batch_size=1, epochs=epochs, evaluations=4, checkpoints=4)
    schedule = plan_steps(batches, size, 0, 1, DEVICES["Ascend"].sink_size)
    whole = Workplace(tmp_path / "whole")
    train_sunk(whole.output, schedule, epochs, monkeypatch)
    assert checkpoints.taken(whole.output, schedule) == schedule.checkpoints
    history.write_csv(whole.history(), tmp_path / "history.csv")
    _, *lines = (tmp_path / "history.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == list(range(2, steps + 1, 2))
    whole._check_steps(schedule.steps, DEVICES["Ascend"].sink_size)

    for step in schedule.checkpoints[2:]:
        checkpoints.file(whole.output / "checkpoints", step).unlink()
    start = checkpoints.begin(whole.output, schedule)
    assert start == schedule.checkpoints[1] and whole.history()[-1]["step"] == start
    train_sunk(whole.output, schedule, epochs, monkeypatch, start)
    whole._check_steps(schedule.steps, DEVICES["Ascend"].sink_size)

    early = Workplace(tmp_path / "early")
    train_sunk(early.output, schedule, epochs, monkeypatch, patience=1)
    end = checkpoints.taken(early.output, schedule)[-1]
    assert end == schedule.evaluated[1] < steps
    early._check_steps(end, DEVICES["Ascend"].sink_size)
