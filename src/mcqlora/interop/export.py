"""A Hugging Face folder of a base, or of a base with an adapter folded in, with its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mcqlora import files, hashing
from mcqlora.interop.names import CONFIG, DTYPES, theirs
from mcqlora.model import tensorfiles, weights
from mcqlora.model.architecture import Architecture, read_architecture
from mcqlora.tokens import prompt, tokenizer, tokenizer_config

SHARD_BYTES = 5 * 10**9  # larger networks are split into files of about this size


def export_network(
    *,
    base: Path,
    adapter: Path | None,
    tokenizer_path: str,
    output: Path,
    scaling: float,
    seq_length: int,
    template: str | None,
    shard_bytes: int = SHARD_BYTES,
) -> str | None:
    """Write a folder of the base's own family: the base, with `adapter` folded in if there is one.

    `scaling` is what the adapter's update is multiplied by. One tensor at a time is in memory; numbers keep
    the base's dtype.

    Returns:
        What a reader of the folder should know, or None.

    Raises:
        UserError: the adapter is of another network.
    """
    processor = tokenizer.load(tokenizer_path)
    turns = prompt.template(processor, template)
    network = read_architecture(base)
    positions = network.max_positions or seq_length
    merged = weights.Merged(base / "model.safetensors", weights.read(adapter) if adapter else {}, scaling)
    dtype = next(iter(merged.tensors.values())).dtype
    shapes = {name: merged.tensors[name].shape for name in merged}
    write_shards(output, *theirs(shapes, network, merged.__getitem__), dtype, shard_bytes)
    write_tokenizer(Path(tokenizer_path), processor, turns, output, positions)
    stops = list(turns.stop)  # where our own generation ends
    generation = {"bos_token_id": processor.bos, "eos_token_id": stops, "pad_token_id": turns.pad}
    files.write_json(output / "generation_config.json", generation | {"do_sample": False}, indent=True)
    if adapter:
        source = {"checkpoint": adapter.stem, "sha256": hashing.sha256(adapter)}
        files.write_json(output / "merged_from.json", source, indent=True)
    marks = {"bos_token_id": processor.bos, "eos_token_id": turns.eos, "pad_token_id": turns.pad}
    made = llama_config(network, marks, dtype, positions)
    if (base / CONFIG).exists():
        made = own_config(files.read_json(base / CONFIG), network, made)
    files.write_json(output / "config.json", made, indent=True)
    return differs(processor)


def own_config(said: files.Json, network: Architecture, made: files.Json) -> files.Json:
    """A given base's config.json, with what `made` says of the numbers and ids of this folder.

    Ids of marks stay the base's; generation_config.json has those at which our own generation ends.
    """
    kept = {key: value for key, value in said.items() if key != "dtype"}
    return kept | {"torch_dtype": made["torch_dtype"], "tie_word_embeddings": network.tied}


def llama_config(
    network: Architecture, marks: Mapping[str, int | None], dtype: str, positions: int
) -> files.Json:
    """config.json of a `LlamaForCausalLM`, with theta where old and where new transformers look for it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": network.vocab_size,
        "hidden_size": network.hidden_size,
        "intermediate_size": network.intermediate_size,
        "num_hidden_layers": network.num_layers,
        "num_attention_heads": network.num_heads,
        "num_key_value_heads": network.kv_heads,
        "hidden_act": "silu",
        "attention_bias": network.has_bias,
        "mlp_bias": False,
        "rms_norm_eps": network.rms_norm_eps,
        "rope_theta": network.theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": network.theta},
        "max_position_embeddings": positions,
        "tie_word_embeddings": network.tied,
        **marks,
        "torch_dtype": next(ours for ours, name in DTYPES.items() if name == dtype),
    }


def write_shards(
    output: Path,
    shapes: Mapping[str, tuple[int, ...]],
    make: Callable[[str], np.ndarray],
    dtype: str,
    shard_bytes: int = SHARD_BYTES,
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


def write_tokenizer(
    path: Path, given: tokenizer.Tokenizer, turns: prompt.Template, output: Path, positions: int
) -> None:
    """The tokenizer's own files; a SentencePiece model that came alone gets a `LlamaTokenizer`'s config.

    With them transformers gives our ids, but where `differs` says so.
    """
    files.write_bytes(output / f"tokenizer{path.suffix}", path.read_bytes())
    config = dict(given.config) or _llama_tokenizer(given, turns, positions)
    if config.pop("auto_map", None):  # code of its authors' that is not here
        config["tokenizer_class"] = "LlamaTokenizer" if path.suffix == ".model" else "PreTrainedTokenizerFast"
    files.write_json(output / tokenizer_config.CONFIG, config, indent=True)


def _llama_tokenizer(given: tokenizer.Tokenizer, turns: prompt.Template, positions: int) -> files.Json:
    piece = given.id_to_piece
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    named = {"bos_token": given.bos, "eos_token": turns.eos, "unk_token": given.unk, "pad_token": turns.pad}
    marks = {index for index in (given.bos, given.unk, *turns.stop) if index is not None}
    marks |= {part for part in turns.before + turns.after if isinstance(part, int)} - set(turns.line_ends)
    return {
        "tokenizer_class": "LlamaTokenizer",
        **{role: piece(index) for role, index in named.items() if index is not None},
        "add_bos_token": bool(turns.start),
        "add_eos_token": False,
        "add_prefix_space": isinstance(given, tokenizer.SentencePiece)
        and tokenizer.settings(given).dummy_prefix,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": positions,
        "added_tokens_decoder": {str(index): {"content": piece(index), **plain} for index in sorted(marks)},
    }


def differs(given: tokenizer.Tokenizer) -> str | None:
    """Why transformers gives other ids than the model, if it does: its LLaMA class knows merges alone."""
    if not isinstance(given, tokenizer.SentencePiece):
        return None
    said = tokenizer.settings(given)
    reasons = {
        "is no BPE model": not said.is_bpe,
        "normalises characters": said.maps_characters,
        "removes spaces": said.remove_extra_whitespaces,
    }
    found = " and ".join(reason for reason, is_so in reasons.items() if is_so)
    return found and f"tokenizer.model {found}: transformers gives other ids; encode with sentencepiece"
