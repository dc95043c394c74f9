"""Hugging Face's names of our tensors and number formats, by family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mcqlora.model import tensorfiles
from mcqlora.model.architecture import EMBEDDINGS, HEAD, Architecture

LLAMA = {
    EMBEDDINGS: "model.embed_tokens.weight",
    "model.norm_out.weight": "model.norm.weight",
    HEAD: "lm_head.weight",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
# Layers have our names there, but for q, k and v, which are one matrix.
INTERNLM2 = {
    EMBEDDINGS: "model.tok_embeddings.weight",
    "model.norm_out.weight": "model.norm.weight",
    HEAD: "output.weight",
}
FUSED = ("wq", "wk", "wv")
WQKV = "wqkv"
CONFIG = "huggingface.json"  # in a base folder: a given base's own config.json, beside ours
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # MindFormers' names and safetensors'


def name_of(ours: str, family: str = "llama") -> str:
    """Hugging Face's name of one of our tensors, such as `model.layers.0.attention.wq.weight`."""
    table = INTERNLM2 if family == "internlm2" else LLAMA
    if ours in table:
        return table[ours]
    _, _, layer, rest = ours.split(".", 3)
    module, _, kind = rest.rpartition(".")
    named = table.get(module, module)
    if family == "internlm2" and module.endswith((*FUSED, WQKV)):
        named = f"attention.{WQKV}"
    return f"model.layers.{layer}.{named}.{kind}"


class Grouped(NamedTuple):
    """InternLM2's fused matrix: for each key head its query heads, then the key, then the value.

    As [key heads, queries of one + 2, head width, inputs]. Source: modeling_internlm2.py of
    https://huggingface.co/internlm/internlm2-7b, `rearrange("b q (h gs d) -> b q h gs d")`.
    """

    kv_heads: int
    queries: int
    width: int

    @classmethod
    def of(cls, network: Architecture) -> Grouped:
        return cls(network.kv_heads, network.num_heads // network.kv_heads, network.head_width)

    def part(self, name: str) -> tuple[int, int]:
        """Where the matrix begins in each group, and how many heads of a group it has."""
        return {"wq": (0, self.queries), "wk": (self.queries, 1), "wv": (self.queries + 1, 1)}[name]

    def view(self, fused: tensorfiles.Tensor, name: str) -> tensorfiles.Tensor:
        """q, k or v as it lies in the fused tensor: [key heads, heads of a group, width, ...]."""
        start, heads = self.part(name)
        row, *columns = fused.strides
        step = tensorfiles.DTYPES[fused.dtype].itemsize
        return fused._replace(
            shape=(self.kv_heads, heads, self.width, *fused.shape[1:]),
            offset=fused.offset + start * self.width * row * step,
            strides=((self.queries + 2) * self.width * row, self.width * row, row, *columns),
        )

    def join(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The fused matrix of wq, wk and wv, each [heads * width, ...]."""
        inputs = parts["wq"].shape[1:]
        shaped = [
            parts[name].reshape(self.kv_heads, self.part(name)[1], self.width, *inputs) for name in FUSED
        ]
        return np.concatenate(shaped, 1).reshape(-1, *inputs)


def theirs(
    shapes: Mapping[str, tuple[int, ...]], network: Architecture, get: Callable[[str], np.ndarray]
) -> tuple[dict[str, tuple[int, ...]], Callable[[str], np.ndarray]]:
    """Shapes by Hugging Face's names, and a function that makes a tensor; `shapes` and `get` are by ours."""
    ours: dict[str, list[str]] = {}
    for name in shapes:
        ours.setdefault(name_of(name, network.family), []).append(name)
    found = {name: (sum(shapes[one][0] for one in of), *shapes[of[0]][1:]) for name, of in ours.items()}

    def make(name: str) -> np.ndarray:
        parts = {one.rsplit(".", 2)[1]: get(one) for one in ours[name]}
        return Grouped.of(network).join(parts) if len(parts) > 1 else next(iter(parts.values()))

    return found, make
