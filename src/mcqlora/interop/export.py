"""Networks and adapters in Hugging Face's formats: a LLaMA folder with its tokenizer, and PEFT adapters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcqlora import files, hashing
from mcqlora.interop.huggingface import DTYPES, name_of
from mcqlora.model import tensorfiles, weights
from mcqlora.tokens import prompt, tokenizer

SHARD_BYTES = 5 * 10**9  # larger networks are split into files of about this size
PEFT = dict(zip(weights.LORA, ("lora_A.weight", "lora_B.weight"), strict=True))


def export_adapter(adapter: Path, output: Path, lora: Mapping[str, Any], base: str | None) -> None:
    """Write the PEFT folder `output` of an adapter's file; `base` is where PEFT looks for the network.

    Both sides hold A as [rank, in] and B as [out, rank] and scale by alpha / rank, so only names differ.
    """
    tensors = {_peft_name(name): value for name, value in weights.read(adapter).items()}
    modules = sorted({name.split(".")[-3] for name in tensors})
    weights.save(tensors, output / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora["rank"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    files.write_json(output / "adapter_config.json", config, indent=True)


def _peft_name(ours: str) -> str:
    stem, _, kind = ours.rpartition(".")
    return f"base_model.model.{name_of(f'{stem}.weight').removesuffix('weight')}{PEFT[kind]}"


def export_network(
    *,
    base: Path,
    adapter: Path | None,
    tokenizer_path: str,
    output: Path,
    lora: Mapping[str, Any] | None,
    seq_length: int,
    reference_template: bool,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the Hugging Face LLaMA folder `output`: the base, with `adapter` folded in if there is one.

    `lora` is the adapter's; None without one.

    One tensor at a time is in memory; numbers keep the base's dtype.

    Raises:
        UserError: the adapter is of another network.
    """
    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    network = files.read_json(base / "config.json")
    positions = network.get("max_positions", seq_length)
    scaling = lora["alpha"] / lora["rank"] if lora else 1.0
    merged = weights.Merged(base / "model.safetensors", weights.read(adapter) if adapter else {}, scaling)
    dtype = next(iter(merged.tensors.values())).dtype
    ours = {name_of(name): name for name in merged}
    shapes = {theirs: merged.tensors[name].shape for theirs, name in ours.items()}
    write_shards(output, shapes, dtype, lambda theirs: merged[ours[theirs]], shard_bytes)
    write_tokenizer(processor, template, output, positions)
    files.write_json(
        output / "generation_config.json",
        {
            "bos_token_id": template.bos,
            "eos_token_id": [template.eos, template.eoa],  # where our own generation stops
            "pad_token_id": template.pad,
            "do_sample": False,
        },
        indent=True,
    )
    if adapter:
        made = {"checkpoint": adapter.stem, "sha256": hashing.sha256(adapter)}
        files.write_json(output / "merged_from.json", made, indent=True)
    files.write_json(output / "config.json", llama_config(network, template, dtype, positions), indent=True)


def llama_config(
    network: Mapping[str, Any], template: prompt.Template, dtype: str, positions: int
) -> dict[str, Any]:
    """config.json of a `LlamaForCausalLM`, with theta where old and where new transformers look for it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": network["vocab_size"],
        "hidden_size": network["hidden_size"],
        "intermediate_size": network["intermediate_size"],
        "num_hidden_layers": network["num_layers"],
        "num_attention_heads": network["num_heads"],
        "num_key_value_heads": network["n_kv_heads"] or network["num_heads"],
        "hidden_act": "silu",
        "attention_bias": network["has_bias"],
        "mlp_bias": False,
        "rms_norm_eps": network["rms_norm_eps"],
        "rope_theta": network["theta"],
        "rope_parameters": {"rope_type": "default", "rope_theta": network["theta"]},
        "max_position_embeddings": positions,
        "tie_word_embeddings": False,
        "bos_token_id": template.bos,
        "eos_token_id": template.eos,
        "pad_token_id": template.pad,
        "torch_dtype": next(ours for ours, name in DTYPES.items() if name == dtype),
    }


def write_shards(
    output: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, make, shard_bytes: int = SHARD_BYTES
) -> None:
    """model.safetensors, or numbered parts of it with an index where it is larger than `shard_bytes`."""
    width = tensorfiles.DTYPES[dtype].itemsize
    sizes = {name: math.prod(shape) * width for name, shape in shapes.items()}
    shards = split(sizes, shard_bytes)
    names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    for file, part in zip(names, shards, strict=True):
        # Releases 4 of transformers ask which framework the file is for.
        said = {"format": "pt"}
        tensorfiles.write_safetensors(output / file, {n: shapes[n] for n in part}, dtype, make, said)
    if len(shards) > 1:
        where = {name: file for file, part in zip(names, shards, strict=True) for name in part}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(where.items()))}
        files.write_json(output / "model.safetensors.index.json", index, indent=True)


def split(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    """Names in order, in groups whose sizes add up to at most `limit`; a larger one stands alone."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name in sorted(sizes):
        if groups[-1] and filled + sizes[name] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += sizes[name]
    return groups


def write_tokenizer(processor: Any, template: prompt.Template, output: Path, positions: int) -> None:
    """tokenizer.model and the tokenizer_config.json with which `LlamaTokenizer` gives our ids."""
    told = tokenizer.settings(processor)

    def piece(index: int) -> str:
        return processor.id_to_piece(index)

    special = {template.bos, template.eos, processor.unk_id(), template.eoh, template.eoa}
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": piece(template.bos),
        "eos_token": piece(template.eos),
        "unk_token": piece(processor.unk_id()),
        "pad_token": piece(template.pad),
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": told.dummy_prefix,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": positions,
        "added_tokens_decoder": _added(piece, sorted(special)),
    }
    files.write_bytes(output / "tokenizer.model", processor.serialized_model_proto())
    files.write_json(output / "tokenizer_config.json", config, indent=True)


def _added(piece: Any, ids: Iterable[int]) -> dict[str, dict[str, Any]]:
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {str(index): {"content": piece(index), **plain} for index in ids}
