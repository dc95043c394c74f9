"""LLaMA and InternLM (v1) folders in Hugging Face's layout: what network they hold, and a base made of one.

The networks are one: a `LlamaConfig` with `attention_bias` is InternLM. Only names and places of numbers
differ, so a conversion copies; q and k need no permutation, since both sides rotate halves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.interop.names import DTYPES, OUTER, name_of
from mcqlora.model import tensorfiles
from mcqlora.model.architecture import DEVICES, Architecture, write_architecture
from mcqlora.tokens import tokenizer

RECOMPUTED = "rotary_emb.inv_freq"  # a table that old files hold beside the weights


@dataclass(frozen=True, slots=True)
class Described:
    """A network by the config.json of a Hugging Face folder; `tied` where the head is the embeddings."""

    network: Architecture
    tied: bool


def describe(folder: Path) -> Described:
    """What a folder's config.json says; what the file leaves out has transformers' default.

    Raises:
        UserError: no config.json, or a network that ours isn't.
    """
    path = folder / "config.json"
    try:
        said = files.read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read it ({error.strerror}); give a Hugging Face folder") from error
    if not isinstance(said, dict):
        raise UserError(f"{path}: holds no keys; give a Hugging Face folder")
    rope, rotary = said.get("rope_parameters") or {}, said.get("rotary") or {}
    for key, value in (("rope_parameters", rope), ("rotary", rotary)):
        if not isinstance(value, dict) or any(isinstance(item, dict) for item in value.values()):
            raise UserError(f"{path}: {key} is {value}; only one plain rotation can be converted")
    numbers = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    unlike = {
        "model_type": said.get("model_type") not in ("llama", "internlm"),
        "hidden_act": said.get("hidden_act", "silu") != "silu",
        "mlp_bias": bool(said.get("mlp_bias")),
        "rope_scaling": bool(said.get("rope_scaling")),
        "rope_parameters": rope.get("rope_type", "default") != "default",
        # InternLM's "dynamic" is the plain rotation up to max_position_embeddings.
        "rotary": rotary.get("type", "origin") not in ("origin", "dynamic"),
        "quantization_config": bool(said.get("quantization_config")),
    } | {key: not isinstance(said.get(key), int) or said[key] < 1 for key in numbers}
    hidden, heads = said.get("hidden_size", 0), said.get("num_attention_heads", 0)
    if not any(unlike.values()):
        unlike["head_dim"] = (said.get("head_dim") or hidden // heads) * heads != hidden
    wrong = next((key for key, differs in unlike.items() if differs), None)
    if wrong:
        value = said.get(wrong, "not there")
        raise UserError(f"{path}: {wrong} is {value}; only LLaMA and InternLM (v1) networks can be converted")
    network = Architecture(
        vocab_size=said["vocab_size"],
        hidden_size=hidden,
        num_layers=said["num_hidden_layers"],
        num_heads=heads,
        n_kv_heads=said.get("num_key_value_heads") or heads,
        intermediate_size=said["intermediate_size"],
        rms_norm_eps=said.get("rms_norm_eps", 1e-6),
        theta=rope.get("rope_theta") or rotary.get("base") or said.get("rope_theta", 10000.0),
        has_bias=bool(said.get("attention_bias", said.get("bias", False))),
        init_std=said.get("initializer_range", 0.02),
        max_positions=said.get("max_position_embeddings", 2048),
    )
    return Described(network, bool(said.get("tie_word_embeddings")))


def check_architecture(
    folder: Path, network: Architecture, vocab_size: int, seq_length: int | None = None
) -> Described:
    """`describe` a folder that holds the configured network, for a tokenizer of `vocab_size` pieces.

    A `seq_length` must be one that the network has positions for: beyond them its rotation is another.

    Raises:
        UserError: it is another; names every key that differs.
    """
    described, path = describe(folder), folder / "config.json"
    given, asked = asdict(described.network), asdict(replace(network, n_kv_heads=network.kv_heads))
    differ = [
        f"model.{key} is {asked[key]}, there {given[key]}"
        for key in given
        if key not in ("vocab_size", "init_std", "max_positions") and asked[key] != given[key]
    ]
    if differ:
        raise UserError(f"{path}: {'; '.join(differ)}; make them the same")
    if given["vocab_size"] != vocab_size:
        raise UserError(
            f"{path}: vocab_size is {given['vocab_size']}, the tokenizer has {vocab_size} pieces; let "
            "tokenizer.path name the tokenizer.model of this folder"
        )
    if seq_length is not None and seq_length > given["max_positions"]:
        raise UserError(
            f"{path}: max_position_embeddings is {given['max_positions']}, encode.seq_length {seq_length}; "
            "lower encode.seq_length"
        )
    return described


def convert(*, folder: Path, tokenizer_path: str, output: Path, network: Architecture, device: str) -> None:
    """Make the base folder `output` of a Hugging Face folder's weights, one tensor in memory at a time.

    The numbers get the device's dtype: float32 on a CPU; on Ascend bfloat16 stays, and else float16. Tied
    embeddings become two equal matrices, as our network has two.

    Raises:
        UserError: the folder is not whole, not of this network, or too large for this machine.
    """
    network = network.for_tokenizer(tokenizer.load(tokenizer_path).vocab_size())
    given = check_architecture(folder, network, network.vocabulary)
    wanted = network.shapes()
    sources = check_tensors(folder, tensorfiles.locate(folder), wanted, given.tied)
    dtype = DTYPES[str(DEVICES[device].model["param_init_type"])]
    if device == "Ascend" and {source.dtype for source in sources.values()} == {tensorfiles.BFLOAT16}:
        dtype = tensorfiles.BFLOAT16  # whose range float16 has not
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    print(check_memory(folder, network.parameters().total, device, memory))
    tensorfiles.write_safetensors(
        output / "model.safetensors", wanted, dtype, lambda name: _cast(sources[name], dtype, name_of(name))
    )
    write_architecture(output, replace(network, max_positions=given.network.max_positions))


def check_tensors(
    folder: Path, found: Mapping[str, tensorfiles.Tensor], wanted: Mapping[str, tuple[int, ...]], tied: bool
) -> dict[str, tensorfiles.Tensor]:
    """For each of our names in `wanted` the tensor that holds its numbers; a `tied` head is the embeddings.

    Raises:
        UserError: one is missing, has another shape, or belongs to no such network.
    """
    names = {ours: name_of(ours) for ours in wanted}
    if tied:
        names["lm_head.weight"] = OUTER["model.tok_embeddings.embedding_weight"]
    missing = [name for name in names.values() if name not in found]
    if missing:
        said = f"no tensor {_some(missing)}; the folder is not whole, or config.json another's"
        raise UserError(f"{folder}: {said}")
    for ours, name in names.items():
        tensor = found[name]
        if tensor.shape != wanted[ours]:
            raise UserError(
                f"{tensor.file}: {name} has shape {list(tensor.shape)}, by config.json it has "
                f"{list(wanted[ours])}; they are of two networks"
            )
    unknown = sorted(set(found) - set(names.values()) - {"lm_head.weight"})
    if extra := [name for name in unknown if not name.endswith(RECOMPUTED)]:
        raise UserError(
            f"{found[extra[0]].file}: tensor {_some(extra)} is not of the network in config.json; a bias "
            "on q, k, v and o is attention_bias there, other additions cannot be converted"
        )
    return {ours: found[name] for ours, name in names.items()}


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


def check_memory(folder: Path, parameters: int, device: str, memory: int) -> str:
    """A line on what the network takes of `memory` bytes, which on a CPU must hold its weights.

    Raises:
        UserError: it cannot.
    """
    width = DEVICES[device].bytes_per_weight
    size = parameters * width
    line = f"{folder}: {parameters:,} parameters, {size / 1e9:.1f} GB as float{8 * width} in each worker"
    if device == "CPU" and size > memory:
        has = f"this machine has {memory / 1e9:.1f} GB"
        raise UserError(f"{line}, {has}; use a smaller base, or device: Ascend")
    return line
