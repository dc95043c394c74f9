"""Folders in Hugging Face's layout: what network they hold, and a base made of one.

Only names and places of numbers differ, so a conversion copies; q and k need no permutation, since both sides
rotate halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.interop import families
from mcqlora.interop.names import CONFIG, DTYPES, Grouped, name_of
from mcqlora.launch import memory
from mcqlora.model import tensorfiles
from mcqlora.model.architecture import DEVICES, EMBEDDINGS, HEAD, Architecture, write_architecture
from mcqlora.tokens import tokenizer

RECOMPUTED = "rotary_emb.inv_freq"  # a table that old files hold beside the weights


def read_config(folder: Path) -> files.Json:
    """A folder's config.json.

    Raises:
        UserError: there is none, or it is broken.
    """
    path = folder / "config.json"
    try:
        said = files.read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read it ({error.strerror}); give a Hugging Face folder") from error
    except UserError as error:
        raise UserError(f"{path}: not valid JSON; {tensorfiles.FETCH}") from error
    if not isinstance(said, dict):
        raise UserError(f"{path}: holds no keys; give a Hugging Face folder")
    return said


def describe(folder: Path) -> Architecture:
    """What a folder's config.json says.

    Raises:
        UserError: no config.json, or a network that ours isn't.
    """
    return families.describe(read_config(folder), folder / "config.json")


def check_architecture(folder: Path, asked: Mapping[str, Any], seq_length: int | None = None) -> Architecture:
    """`describe` a folder, of which the configuration says `asked`, see `Architecture.check`.

    Raises:
        UserError: it is another network, or too short for `seq_length`.
    """
    network = describe(folder)
    network.check(asked, folder / "config.json", seq_length)
    return network


def convert(
    *, folder: Path, tokenizer_path: str, output: Path, asked: Mapping[str, Any], device: str
) -> None:
    """Make the base folder `output` of a Hugging Face folder's weights, one tensor in memory at a time.

    The numbers get the device's dtype: float32 on a CPU; on Ascend bfloat16 stays, and else float16. `asked`
    is the configuration's model.*, whose nulls say nothing.

    Raises:
        UserError: the folder is not whole, not of this network, or too large for this machine.
    """
    network = check_architecture(folder, asked)
    network.for_tokenizer(tokenizer.load(tokenizer_path).vocab_size())
    found = tensorfiles.locate(folder)
    if network.tied and _has_own_head(found, network):
        print(f"{folder}: its head is not its embeddings, whatever tie_word_embeddings says: both are kept")
        network = replace(network, tied=False)
    sources = check_tensors(folder, found, network)
    dtype = DTYPES[str(DEVICES[device].model["param_init_type"])]
    if device == "Ascend" and {source.dtype for source in sources.values()} == {tensorfiles.BFLOAT16}:
        dtype = tensorfiles.BFLOAT16  # whose range float16 has not
    print(check_memory(folder, network.parameters().total, device, memory.limit()))
    wanted = network.shapes()

    def make(name: str) -> np.ndarray:
        return _cast(sources[name], dtype, name_of(name, network.family)).reshape(wanted[name])

    tensorfiles.write_safetensors(output / "model.safetensors", wanted, dtype, make)
    write_architecture(output, network)
    if families.FAMILIES[(said := read_config(folder))["model_type"]].native:
        files.write_json(output / CONFIG, said, indent=True)


def _has_own_head(found: Mapping[str, tensorfiles.Tensor], network: Architecture) -> bool:
    """Whether a head that should be the embeddings has other numbers: transformers keeps them."""
    head, embeddings = (found.get(name_of(name, network.family)) for name in (HEAD, EMBEDDINGS))
    if head is None or embeddings is None:
        return False
    return head.shape != embeddings.shape or not np.array_equal(
        tensorfiles.read(head), tensorfiles.read(embeddings)
    )


def check_tensors(
    folder: Path, found: Mapping[str, tensorfiles.Tensor], network: Architecture
) -> dict[str, tensorfiles.Tensor]:
    """For each of our names the tensor that holds its numbers, in their order.

    Raises:
        UserError: one is missing, has another shape, or belongs to no such network.
    """
    wanted: dict[str, int] = {}  # rows by their names
    shapes = network.shapes()
    for ours, shape in shapes.items():
        name = name_of(ours, network.family)
        wanted[name] = wanted.get(name, 0) + shape[0]
    missing = [name for name in wanted if name not in found]
    if missing:
        said = f"no tensor {_some(missing)}; the folder is not whole, or config.json another's"
        raise UserError(f"{folder}: {said}")
    sources = {}
    for ours, shape in shapes.items():
        name = name_of(ours, network.family)
        tensor, whole = found[name], (wanted[name], *shape[1:])
        if tensor.shape != whole:
            raise UserError(
                f"{tensor.file}: {name} has shape {list(tensor.shape)}, by config.json it has "
                f"{list(whole)}; they are of two networks"
            )
        fused = wanted[name] != shape[0]
        sources[ours] = Grouped.of(network).view(tensor, ours.rsplit(".", 2)[1]) if fused else tensor
    unknown = sorted(set(found) - set(wanted) - {name_of(HEAD, network.family)})
    if extra := [name for name in unknown if not name.endswith(RECOMPUTED)]:
        raise UserError(
            f"{found[extra[0]].file}: tensor {_some(extra)} is not of the network in config.json; a bias "
            "on q, k, v and o is attention_bias there, other additions cannot be converted"
        )
    return sources


def _some(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _cast(tensor: tensorfiles.Tensor, dtype: str, name: str) -> np.ndarray:
    array = tensorfiles.read(tensor)
    with np.errstate(over="ignore"):
        kept = np.dtype("f4") if dtype == tensorfiles.BFLOAT16 else tensorfiles.DTYPES[dtype]
        cast = array.astype(kept, copy=False)
    if not np.isfinite(cast).all():
        raise UserError(
            f"{tensor.file}: {name} holds numbers that are not finite as {dtype}; fetch it again, or take "
            "another base"
        )
    return cast


def check_memory(folder: Path, parameters: int, device: str, there: int) -> str:
    """A line on what the network takes of the `there` bytes of memory, which on a CPU must hold its weights.

    Raises:
        UserError: it cannot.
    """
    width = DEVICES[device].bytes_per_weight
    size = parameters * width
    line = f"{folder}: {parameters:,} parameters, {size / 1e9:.1f} GB as float{8 * width} in each worker"
    if device == "CPU" and size > there:
        has = f"this machine has {there / 1e9:.1f} GB"
        raise UserError(f"{line}, {has}; use a smaller base, or device: Ascend")
    return line
