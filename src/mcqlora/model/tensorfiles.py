"""Tensors in safetensors and PyTorch files: found without reading them, then read or written one at a time.

Both formats are tables of byte ranges, so a tensor of either is a `Tensor` that says where its numbers lie. A
PyTorch file's table is a pickle, which could run anything; here it may rebuild tensors and nothing else.
"""

from __future__ import annotations

import collections
import io as bytes_io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from mcqlora import files
from mcqlora.errors import UserError

BFLOAT16 = "BF16"  # numpy has none: read as the upper halves of float32
KINDS = (  # of numbers: safetensors' name, numpy's, and that of PyTorch's storage
    ("F64", "<f8", "DoubleStorage"),
    ("F32", "<f4", "FloatStorage"),
    ("F16", "<f2", "HalfStorage"),
    (BFLOAT16, "<u2", "BFloat16Storage"),
    ("I64", "<i8", "LongStorage"),
    ("I32", "<i4", "IntStorage"),
    ("I16", "<i2", "ShortStorage"),
    ("I8", "i1", "CharStorage"),
    ("U8", "u1", "ByteStorage"),
    ("BOOL", "?", "BoolStorage"),
)
DTYPES = {name: np.dtype(code) for name, code, _ in KINDS}
STORAGES = {storage: name for name, _, storage in KINDS}
INDEX = ".index.json"
FETCH = "fetch it again (git lfs pull?)"  # a file that is not whole is often a pointer to one
NAMES = ("model.safetensors", "pytorch_model.bin")  # as Hugging Face calls them; the first found is taken


class Tensor(NamedTuple):
    """Where a tensor's numbers lie: `strides`, in elements, from byte `offset` of `file`."""

    file: Path
    dtype: str  # safetensors' name, such as F32
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]


def weight_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face folder that hold its weights, an index first where there is one.

    Raises:
        UserError: there are none, or the index names one that is not there.
    """
    for name in NAMES:
        index = folder / (name + INDEX)
        if index.is_file():
            named = sorted(set(weight_map(index).values()))
            if missing := [shard for shard in named if not (folder / shard).is_file()]:
                raise UserError(f"{index}: names {missing[0]}, which is not there; fetch the whole folder")
            return [index, *(folder / shard for shard in named)]
        if (folder / name).is_file():
            return [folder / name]
    raise UserError(f"{folder}: no {' or '.join(NAMES)}, nor an index of one; give a Hugging Face folder")


def locate(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a Hugging Face folder, by name.

    Raises:
        UserError: no weights, a broken file, or one without a tensor that the index expects in it.
    """
    first, *shards = weight_files(folder)
    found = {
        path.name: index_safetensors(path) if path.suffix == ".safetensors" else index_torch(path)
        for path in (shards or [first])
    }
    if not shards:
        return found[first.name]
    tensors = {}
    for name, shard in weight_map(first).items():
        if name not in found[shard]:
            raise UserError(f"{folder / shard}: no tensor {name}, which {first.name} expects there")
        tensors[name] = found[shard][name]
    return tensors


def weight_map(index: Path) -> dict[str, str]:
    """The name of the file that an index says a tensor is in, by the tensor's name.

    Raises:
        UserError: it is none, or names a file that is not beside it.
    """
    try:
        content = files.read_json(index)
    except UserError as error:
        raise UserError(f"{index}: not valid JSON; {FETCH}") from error
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index}: no weight_map; {FETCH}")
    for shard in shards.values():
        if Path(str(shard)).name != shard:
            raise UserError(f"{index}: {shard!r} is no name of a file beside it")
    return shards


def index_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Raises: UserError: not a whole safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            pass  # checks the header, and that the tensors fill the file exactly
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); {FETCH}") from error
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = orjson.loads(file.read(length))
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        shape, start = tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
        found[name] = Tensor(path, entry["dtype"], shape, start, _contiguous(shape))
    return found


def index_torch(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyTorch state dict in the zip format (torch 1.6 and later), by name; executes nothing.

    Raises:
        UserError: another format, a broken file, or a pickle that asks for more than tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            table = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
            if table is None:
                raise UserError(f"{path}: a zip file, but none of PyTorch's; give the weights themselves")
            found = _TableReader(path, archive, table.removesuffix("data.pkl")).load()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        said = f"not a whole file of torch 1.6 or later ({error})"
        raise UserError(f"{path}: {said}; {FETCH}, or take safetensors") from error
    except UserError:
        raise
    except Exception as error:  # whatever a forged pickle makes the unpickler say
        said = f"its pickle holds no plain state dict ({error})"
        raise UserError(f"{path}: {said}; save it as safetensors") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: its pickle holds no plain state dict; save it as safetensors")
    return {str(name): tensor for name, tensor in found.items()}


class _TableReader(pickle.Unpickler):
    """Unpickles the table of a PyTorch file: dicts of tensors, every tensor as where it lies."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str):
        self.path, self.archive, self.folder = path, archive, folder
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise UserError(f"{path}: saved on a big-endian machine; save it as safetensors")
        super().__init__(bytes_io.BytesIO(archive.read(f"{folder}data.pkl")))
        # Made anew for each file: a pickle may set attributes of what it is given.
        self.known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *given: self.place(*given[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            **{("torch", storage): dtype for storage, dtype in STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            said = f"asks for {module}.{name}, which no file of weights needs"
            raise UserError(f"{self.path}: {said}; don't trust it, or save it as safetensors")
        return self.known[module, name]

    def persistent_load(self, identifier: Any) -> tuple[str, int, int]:
        """(dtype, byte offset in the file, number of elements) of a storage."""
        kind, dtype, key, _, count = identifier
        entry = self.archive.getinfo(f"{self.folder}data/{key}")
        if kind != "storage" or entry.compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{self.path}: data/{key} is {kind}, compressed; save it as safetensors")
        if entry.file_size != count * DTYPES[dtype].itemsize:
            raise UserError(f"{self.path}: data/{key} has {entry.file_size} bytes, not {count} x {dtype}")
        # The offset is that of the local header: 30 bytes, a name and an extra field of their own lengths.
        with open(self.path, "rb") as file:
            file.seek(entry.header_offset + 26)
            lengths = np.frombuffer(file.read(4), "<u2")
        return dtype, entry.header_offset + 30 + int(lengths.sum()), count

    def place(self, storage: tuple[str, int, int], offset: int, shape: tuple, strides: tuple) -> Tensor:
        dtype, start, count = storage
        plain = all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides))
        if not plain or len(shape) != len(strides) or offset + _span(shape, strides) > count:
            raise UserError(f"{self.path}: a tensor of shape {shape} reaches out of its storage")
        return Tensor(self.path, dtype, shape, start + offset * DTYPES[dtype].itemsize, strides)


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from a tensor's first to its last."""
    return 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def read(tensor: Tensor) -> np.ndarray:
    """The numbers, in C order; bfloat16 as float32, which holds each of its values exactly.

    Raises:
        UserError: numbers of a kind that no network has, or a file cut off.
    """
    if tensor.dtype not in DTYPES:
        said = f"holds {tensor.dtype}, a quantised network"
        raise UserError(f"{tensor.file}: {said}; give one in float16 or wider")
    dtype = DTYPES[tensor.dtype]
    flat = np.empty(_span(tensor.shape, tensor.strides), dtype)
    with open(tensor.file, "rb") as file:
        file.seek(tensor.offset)
        if file.readinto(flat.data) != flat.nbytes:
            raise UserError(f"{tensor.file}: cut off; fetch it again")
    strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    array = np.asarray(view, order="C")
    if tensor.dtype != BFLOAT16:
        return array
    wide = array.astype("<u4")
    wide <<= 16
    return wide.view("<f4")


def mapped(tensor: Tensor) -> np.ndarray:
    """The numbers of a contiguous tensor as they lie in the file: in memory only while they are looked at."""
    return np.memmap(tensor.file, DTYPES[tensor.dtype], "c", tensor.offset, tensor.shape)


def _upper_halves(numbers: np.ndarray) -> np.ndarray:
    """bfloat16, as its 16 bits, of finite float32: the nearest, of two as near the even one."""
    bits = numbers.view("<u4")
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype("<u2")


def write_safetensors(
    path: files.PathLike,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    make: Callable[[str], np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors of one dtype (safetensors' name) as they are made, in the order of their names; atomic.

    For bfloat16 its 16 bits are made, or float32, which is rounded to the nearest.

    One tensor at a time is in memory. The bytes are those of safetensors' own writer; for the format see its
    README: length of the header, header (JSON), numbers.
    """
    names, end = sorted(shapes), 0
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name in names:
        start, end = end, end + math.prod(shapes[name]) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": [start, end]}
    said = orjson.dumps(header)
    said += b" " * (-len(said) % 8)
    with files.atomic(path) as file:
        file.write(len(said).to_bytes(8, "little") + said)
        for name in names:
            made = make(name)
            if dtype == BFLOAT16 and made.dtype == np.float32:
                made = _upper_halves(made)
            array = np.asarray(made, DTYPES[dtype], order="C")
            if array.shape != tuple(shapes[name]):
                raise ValueError(f"{name}: made with {array.shape}, announced with {shapes[name]}")
            file.write(array.data)
