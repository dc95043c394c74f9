"""Checkpoints of a training: complete, or as if never written."""

import numpy as np
import pytest

from mcqlora import files
from mcqlora.model import weights
from mcqlora.train import checkpoints
from mcqlora.train.schedule import plan_steps
from mcqlora.train.settings import Size

STEPS = (2, 4, 6)


@pytest.fixture
def folder(tmp_path):
    for step in STEPS:
        checkpoints.write(tmp_path, step, {"weight": np.full(3, step, np.float32)})
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def test_all_complete(folder):
    assert checkpoints.last_complete(folder, STEPS) == 6
    assert weights.read(checkpoints.file(folder, 4))["weight"].tolist() == [4, 4, 4]


def test_none(tmp_path):
    assert checkpoints.last_complete(tmp_path / "missing", STEPS) == 0


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink()])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_one_and_all_after_it_are_forgotten(folder, damage, suffix):
    damage(checkpoints.file(folder, 4).with_suffix(suffix))
    assert checkpoints.last_complete(folder, STEPS) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["step-2.json", "step-2.safetensors"]


def test_the_last_one_ends_the_training(folder):
    assert checkpoints.stopped(folder) is None
    checkpoints.write(folder, 4, {"weight": np.zeros(3, np.float32)}, last=True)
    assert checkpoints.stopped(folder) == 4
    flip(folder / "step-4.json")
    assert checkpoints.stopped(folder) is None


def test_rewriting_is_not_complete_in_between(folder, monkeypatch):
    monkeypatch.setattr(weights, "save", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoints.write(folder, 4, {"weight": np.zeros(3, np.float32)})
    assert checkpoints.last_complete(folder, STEPS) == 2


@pytest.mark.parametrize("start", [0, 4])
def test_a_divided_training_starts_from_the_base_s_own_file(tmp_path, start):
    base, output, folder = tmp_path / "base.safetensors", tmp_path / "output", tmp_path / "start"
    weights.save({"a": np.ones(3, np.float32), "b": np.zeros(2, np.float32)}, base)
    checkpoints.write(output / "checkpoints", 4, {"scale_sense": np.array(512, np.float32)})
    size = Size(rows=None, workers=4, tensor=2, batch_size=2, epochs=2, checkpoints=2)
    schedule = plan_steps(12, size, 0, 1)  # 3 steps an epoch
    checkpoints.write_divided_start(base, folder, schedule, start, "CPU", 4, output)
    assert (folder / "model.safetensors").resolve() == base.resolve()
    assert files.read_json(folder / "param_name_map.json") == {
        "a": "model.safetensors",
        "b": "model.safetensors",
    }
    counters = folder / "hyper_param.safetensors"
    if start:
        found = {name: value.item() for name, value in weights.read(counters).items()}
        assert found == {"step_num": 4, "epoch_num": 2, "loss_scale": 512, "global_batch_size": 4}
    else:
        assert not counters.exists()
