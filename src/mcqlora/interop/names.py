"""Hugging Face's names of our tensors and number formats."""

from __future__ import annotations

OUTER = {
    "model.tok_embeddings.embedding_weight": "model.embed_tokens.weight",
    "model.norm_out.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
MODULES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # MindFormers' names and safetensors'


def name_of(ours: str) -> str:
    """Hugging Face's name of one of our tensors, such as `model.layers.0.attention.wq.weight`."""
    if ours in OUTER:
        return OUTER[ours]
    _, _, layer, rest = ours.split(".", 3)
    module, _, kind = rest.rpartition(".")
    return f"model.layers.{layer}.{MODULES[module]}.{kind}"
