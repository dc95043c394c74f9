"""Families of networks in Hugging Face's layout: what their config.json says, and by which names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcqlora.errors import UserError
from mcqlora.model import rotary
from mcqlora.model.architecture import Architecture

Said = Mapping[str, Any]  # a config.json
NUMBERS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A `model_type`: what it adds to LLaMA, and what a config.json that leaves a key out means."""

    kv_heads: int | None = None  # None: as many as heads
    positions: int = 2048
    head_dim: int | None = None  # None: hidden_size shared among the heads
    biased: Callable[[Said], tuple[bool, bool]]  # whether q, k and v have one, and whether o has
    window: Callable[[Said], int | None] = lambda said: None
    qk_norm: bool = False
    fused: bool = False  # q, k and v are one matrix, grouped by key head, and other names: InternLM2
    native: bool = True  # transformers has it; else its network is exported as a LLaMA


def _same(key: str, default: bool) -> Callable[[Said], tuple[bool, bool]]:
    return lambda said: (bool(said.get(key, default)),) * 2


def _switched(said: Said) -> int | None:
    return said.get("sliding_window") if said.get("use_sliding_window") else None


_LLAMA = Family(biased=_same("attention_bias", False))
FAMILIES = {
    "llama": _LLAMA,  # with SmolLM2, TinyLlama, DeepSeek's dense ones and others
    "Yi": _LLAMA,
    "internlm": Family(
        biased=lambda said: (bool(said.get("attention_bias", said.get("bias", True))),) * 2, native=False
    ),
    "internlm2": Family(biased=_same("bias", True), fused=True),
    "internlm3": Family(
        positions=32768,
        biased=lambda said: (bool(said.get("qkv_bias", False)), bool(said.get("bias", False))),
    ),
    "mistral": Family(
        kv_heads=8,
        positions=131072,
        biased=lambda said: (False, False),
        window=lambda said: said.get("sliding_window", 4096),
    ),
    "qwen2": Family(kv_heads=32, positions=32768, biased=lambda said: (True, False), window=_switched),
    "qwen3": Family(
        kv_heads=32,
        positions=32768,
        head_dim=128,
        biased=_same("attention_bias", False),
        window=_switched,
        qk_norm=True,
    ),
}
KNOWN = "dense ones of " + ", ".join(FAMILIES)
# Why no decoder of ours is in such a folder, by keys that say so, and the remedy.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_intermediate_size")
PARTS = ("text_config", "vision_config", "audio_config", "thinker_config")


def describe(said: Said, path: Path) -> Architecture:
    """The network of a config.json, the content of `path`; what it leaves out has transformers' default.

    Raises:
        UserError: a network that ours isn't; names the key.
    """

    def refuse(key: str, why: str) -> UserError:
        return UserError(f"{path}: {key} is {said.get(key, 'not there')}; {why}")

    for keys, why in (
        (PARTS, "a multimodal network; give one of text alone"),
        (EXPERTS, "a mixture of experts; give a dense network"),
        (("quantization_config",), "a quantised network; give one in float16 or wider"),
    ):
        for key in keys:
            if said.get(key):
                shown = "there" if isinstance(said[key], dict) else said[key]
                raise UserError(f"{path}: {key} is {shown}; {why}")
    kind = str(said.get("model_type"))
    if kind not in FAMILIES:
        raise refuse("model_type", f"only {KNOWN} can be read")
    family = FAMILIES[kind]
    for key in NUMBERS:
        if type(said.get(key)) is not int or said[key] < 1:
            raise refuse(key, "fetch the folder again")
    for key, wanted in (("hidden_act", "silu"), ("mlp_bias", False)):
        if said.get(key, wanted) != wanted:
            raise refuse(key, f"only {wanted} can be read")
    bias, output_bias = family.biased(said)
    if kind == "internlm3" and output_bias:
        raise refuse("bias", "only feed-forward parts without one can be read")
    if output_bias and not bias:
        raise refuse("bias", "only with qkv_bias can be read")
    heads, hidden = said["num_attention_heads"], said["hidden_size"]
    head_dim = said.get("head_dim") or family.head_dim
    kv_heads = said.get("num_key_value_heads") or family.kv_heads or heads
    if heads % kv_heads or (head_dim is None and hidden % heads):
        raise refuse("num_attention_heads", "its keys or its width cannot be shared among so many")
    theta, scaling = _rotation(said, path)
    return Architecture(
        vocab_size=said["vocab_size"],
        hidden_size=hidden,
        num_layers=said["num_hidden_layers"],
        num_heads=heads,
        n_kv_heads=kv_heads,
        intermediate_size=said["intermediate_size"],
        rms_norm_eps=said.get("rms_norm_eps", 1e-6),
        theta=theta,
        has_bias=bias,
        init_std=said.get("initializer_range", 0.02),
        max_positions=said.get("max_position_embeddings", family.positions),
        bare_output=bias and not output_bias,
        head_dim=None if head_dim is None or head_dim * heads == hidden else head_dim,
        qk_norm=family.qk_norm,
        tied=bool(said.get("tie_word_embeddings")),
        rope_scaling=scaling,
        window=family.window(said),
        family=kind if family.native and kind != "Yi" else "llama",
    )


def _rotation(said: Said, path: Path) -> tuple[float, rotary.Scaling | None]:
    """Theta and the scaling, which stand in three ways: transformers 5, transformers 4, InternLM v1."""
    new, old, internlm = (said.get(key) or {} for key in ("rope_parameters", "rope_scaling", "rotary"))
    for key, value in (("rope_parameters", new), ("rope_scaling", old), ("rotary", internlm)):
        if not isinstance(value, dict) or any(isinstance(item, dict) for item in value.values()):
            raise UserError(f"{path}: {key} is {value}; only one rotation for all layers can be read")
    scaling = new or old
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    plain = internlm.get("type", "origin") in ("origin", "dynamic")
    if kind not in rotary.KINDS or not plain:
        known = ", ".join(rotary.KINDS)
        raise UserError(f"{path}: the rotation is {kind if plain else internlm['type']}; known are {known}")
    theta = new.get("rope_theta") or internlm.get("base") or said.get("rope_theta", 10000.0)
    if kind in ("default", "dynamic"):
        return theta, None
    positions = {"original_max_position_embeddings": said.get("max_position_embeddings")}
    numbers = positions | {key: value for key, value in scaling.items() if value is not None}
    kept = {key: numbers[key] for key in numbers if key not in ("rope_type", "type", "rope_theta")}
    if lacking := [key for key in rotary.KINDS[kind] if not isinstance(kept.get(key), int | float)]:
        raise UserError(f"{path}: the rotation {kind} has no {lacking[0]}; fetch the folder again")
    wanted = {key: value for key, value in kept.items() if key in rotary.KINDS[kind] or kind == "yarn"}
    return theta, {"rope_type": kind} | wanted
