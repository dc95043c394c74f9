"""Tensors in files of both formats. PyTorch's are made without it; the parity suite reads real ones."""

import collections
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import tensorfiles, weights


class Stored:
    """A tensor as torch pickles it: a call to rebuild it from a storage that lies beside the pickle."""

    def __init__(self, array, storage, offset=0, shape=None, strides=None, key="0"):
        self.array, self.storage, self.key = array, storage, key
        self.offset, self.shape = offset, array.shape if shape is None else shape
        self.strides = tensorfiles._contiguous(array.shape) if strides is None else strides

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        return rebuild, (Storage(self), self.offset, self.shape, self.strides, False, hooks)


class Storage:
    def __init__(self, stored):
        self.stored = stored


@pytest.fixture
def save(monkeypatch, tmp_path):
    """A function that writes a state dict of `Stored` as torch.save would, and returns the file."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in tensorfiles.STORAGES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(state, compression=zipfile.ZIP_STORED, name="pytorch_model.bin"):
        path = tmp_path / name
        storages = {}

        class Pickler(pickle.Pickler):
            def persistent_id(self, thing):
                if not isinstance(thing, Storage):
                    return None
                stored = thing.stored
                storages[stored.key] = stored.array
                return ("storage", getattr(torch, stored.storage), stored.key, "cpu", stored.array.size)

        with zipfile.ZipFile(path, "w", compression) as archive:
            with archive.open("archive/data.pkl", "w") as table:
                Pickler(table, 2).dump(state)
            for key, array in storages.items():
                archive.writestr(f"archive/data/{key}", np.ascontiguousarray(array).tobytes())
        return path

    return write


def bfloat16(values):
    """The upper halves of float32 values."""
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2")


def test_mapped_numbers_are_those_that_are_read(tmp_path):
    values = {"a": np.arange(12, dtype=np.float16).reshape(3, 4), "b": np.ones(5, np.float32)}
    weights.save(values, tmp_path / "some.safetensors")
    before = hashing.sha256(tmp_path / "some.safetensors")
    for name, tensor in tensorfiles.index_safetensors(tmp_path / "some.safetensors").items():
        found = tensorfiles.mapped(tensor)
        np.testing.assert_array_equal(found, values[name])
        assert found.dtype == values[name].dtype
        found[:] = 0  # touches no file
    assert hashing.sha256(tmp_path / "some.safetensors") == before


def test_torch_tensors_are_found_and_read(save):
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    state = collections.OrderedDict(
        whole=Stored(whole, "FloatStorage"),
        row=Stored(whole, "FloatStorage", offset=4, shape=(4,), strides=(1,)),
        turned=Stored(whole, "FloatStorage", shape=(4, 3), strides=(1, 4)),
        half=Stored(np.float16([1, -2.5]), "HalfStorage", key="1"),
        brain=Stored(bfloat16([1.0, -3.5, 1e30]), "BFloat16Storage", key="2"),
        scalar=Stored(np.array(7.0, np.float64), "DoubleStorage", key="3"),
        nothing=Stored(np.zeros((0, 4), np.float32), "FloatStorage", key="4"),
    )
    found = tensorfiles.index_torch(save(state))
    read = {name: tensorfiles.read(tensor) for name, tensor in found.items()}
    np.testing.assert_array_equal(read["whole"], whole)
    np.testing.assert_array_equal(read["row"], whole[1])
    np.testing.assert_array_equal(read["turned"], whole.T)
    assert read["turned"].flags.c_contiguous
    np.testing.assert_array_equal(read["half"], np.float16([1, -2.5]))
    np.testing.assert_allclose(read["brain"], np.float32([1.0, -3.5, 1e30]), rtol=2**-7)
    assert read["brain"].dtype == np.float32
    assert read["scalar"].shape == () and read["scalar"] == 7
    assert read["nothing"].shape == (0, 4)


class Forged:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        (os.system, ("echo forged > forged",), "system"),
        (eval, ("open('forged', 'w')",), "eval"),
        (getattr, (collections.OrderedDict, "__init__"), "getattr"),
        (np.zeros, (3,), "numpy"),
    ],
)
def test_a_forged_pickle_runs_nothing(save, tmp_path, monkeypatch, call, arguments, said):
    path = save({"weight": Forged(call, *arguments)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"pytorch_model.bin: asks for .*{said}.*don't trust it") as error:
        tensorfiles.index_torch(path)
    assert "\n" not in str(error.value) and not (tmp_path / "forged").exists()


def test_a_tensor_may_not_reach_out_of_its_storage(save):
    for change in (
        {"shape": (5, 4)},
        {"offset": 1},
        {"strides": (100, 1)},
        {"offset": -1},
        {"strides": (-4, 1)},
    ):
        stored = Stored(np.zeros((3, 4), np.float32), "FloatStorage", **{"strides": (4, 1)} | change)
        with pytest.raises(UserError, match="reaches out of its storage"):
            tensorfiles.index_torch(save({"weight": stored}))


def test_what_is_no_state_dict(save):
    for state in (
        [1, 2],
        {"step": 3},
        {"model": {"weight": Stored(np.zeros(2, np.float32), "FloatStorage")}},
    ):
        with pytest.raises(UserError, match="holds no plain state dict"):
            tensorfiles.index_torch(save(state))


def test_a_compressed_file(save):
    with pytest.raises(UserError, match="compressed"):
        path = save({"weight": Stored(np.zeros(99, np.float32), "FloatStorage")}, zipfile.ZIP_DEFLATED)
        tensorfiles.index_torch(path)


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_a_torch_file_cut_off_or_of_the_old_format(save, keep):
    path = save({"weight": Stored(np.zeros(99, np.float32), "FloatStorage")})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UserError, match=r"pytorch_model.bin: not a whole file of torch 1\.6 or later"
    ) as error:
        tensorfiles.index_torch(path)
    assert "\n" not in str(error.value)


def tensors():
    random = np.random.default_rng(0)
    return {f"layer.{i}": random.normal(size=(3 + i, 5)).astype(np.float32) for i in range(12)} | {
        "bias": np.zeros(7, np.float32)
    }


def test_streamed_files_have_the_library_s_bytes(tmp_path):
    from safetensors.numpy import save_file

    made = tensors()
    shapes = {name: made[name].shape for name in reversed(made)}
    for metadata in (None, {"format": "pt"}):
        save_file(made, tmp_path / "whole", metadata)
        tensorfiles.write_safetensors(tmp_path / "streamed", shapes, "F32", made.__getitem__, metadata)
        assert (tmp_path / "streamed").read_bytes() == (tmp_path / "whole").read_bytes()


def test_safetensors_are_found_and_read(tmp_path):
    made = tensors() | {"half": np.float16([[1, 2]])}
    weights.save(made, tmp_path / "model.safetensors")
    found = tensorfiles.locate(tmp_path)
    assert found.keys() == made.keys()
    for name, value in made.items():
        assert found[name].shape == value.shape
        np.testing.assert_array_equal(tensorfiles.read(found[name]), value)
        assert tensorfiles.read(found[name]).dtype == value.dtype


def test_float32_is_rounded_to_bfloat16(tmp_path):
    """To the nearest, of two as near the even one; a bfloat16 network read and written is as it was."""
    numbers = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.5, 1e30, 0.0], np.float32)
    path = tmp_path / "x.safetensors"
    tensorfiles.write_safetensors(path, {"w": (7,)}, "BF16", lambda _: numbers)
    read = tensorfiles.read(tensorfiles.index_safetensors(path)["w"])
    assert read[:5].tolist() == [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -3.5] and read[6] == 0
    assert abs(read[5] / 1e30 - 1) < 2**-8
    again = tmp_path / "y.safetensors"
    tensorfiles.write_safetensors(again, {"w": (7,)}, "BF16", lambda _: read)
    assert again.read_bytes() == path.read_bytes()


def test_bfloat16_of_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    tensorfiles.write_safetensors(path, {"w": (2,)}, "BF16", lambda _: bfloat16([0.5, -2.0]))
    (tensor,) = tensorfiles.locate(tmp_path).values()
    np.testing.assert_array_equal(tensorfiles.read(tensor), np.float32([0.5, -2.0]))


def sharded(folder):
    made = tensors()
    where = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(made)}
    for shard in set(where.values()):
        weights.save({name: made[name] for name in made if where[name] == shard}, folder / shard)
    files.write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    return made


def test_shards(tmp_path):
    made = sharded(tmp_path)
    found = tensorfiles.locate(tmp_path)
    assert found.keys() == made.keys()
    for name, value in made.items():
        np.testing.assert_array_equal(tensorfiles.read(found[name]), value)


def test_a_missing_shard_is_named(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"index.json: names model-2\.safetensors, which is not there"):
        tensorfiles.locate(tmp_path)


def test_a_tensor_that_is_not_in_its_shard_is_named(tmp_path):
    made = sharded(tmp_path)
    weights.save({"layer.1": made["layer.1"]}, tmp_path / "model-2.safetensors")
    with pytest.raises(UserError, match=r"model-2\.safetensors: no tensor layer\.\d+"):
        tensorfiles.locate(tmp_path)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/etc/passwd", 3])
def test_an_index_names_files_beside_it_only(tmp_path, shard):
    files.write_json(tmp_path / "model.safetensors.index.json", {"weight_map": {"w": shard}})
    with pytest.raises(UserError, match="no name of a file beside it"):
        tensorfiles.locate(tmp_path)


def test_an_index_without_a_map(tmp_path):
    files.write_json(tmp_path / "model.safetensors.index.json", [])
    with pytest.raises(UserError, match="no weight_map"):
        tensorfiles.locate(tmp_path)


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(UserError, match=r"no model\.safetensors or pytorch_model\.bin"):
        tensorfiles.locate(tmp_path)


def test_safetensors_cut_off(tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save(tensors(), path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"model\.safetensors: not a whole safetensors file"):
        tensorfiles.locate(tmp_path)


def test_quantised_numbers_are_refused(tmp_path):
    tensor = tensorfiles.Tensor(tmp_path / "x", "F8_E4M3", (2,), 0, (1,))
    with pytest.raises(UserError, match="F8_E4M3"):
        tensorfiles.read(tensor)
