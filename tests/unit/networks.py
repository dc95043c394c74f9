"""A small InternLM with random weights, for tests that need a network and not what it says."""

import numpy as np

TINY = {
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "n_kv_heads": None,
    "intermediate_size": 24,
    "vocab_size": 50,
    "rms_norm_eps": 1e-6,
    "theta": 1e4,
    "has_bias": True,
    "init_std": 0.02,
}


def random_weights(network, seed=0):
    """float32 tensors by MindSpore's names, far enough from zero for scores to differ."""
    random = np.random.default_rng(seed)
    hidden, wide = network["hidden_size"], network["intermediate_size"]
    shapes = {
        "model.tok_embeddings.embedding_weight": (network["vocab_size"], hidden),
        "model.norm_out.weight": (hidden,),
        "lm_head.weight": (network["vocab_size"], hidden),
    }
    for layer in range(network["num_layers"]):
        name = f"model.layers.{layer}."
        for part in ("wq", "wk", "wv", "wo"):
            shapes[f"{name}attention.{part}.weight"] = (hidden, hidden)
            if network["has_bias"]:
                shapes[f"{name}attention.{part}.bias"] = (hidden,)
        shapes |= {f"{name}feed_forward.{part}.weight": (wide, hidden) for part in ("w1", "w3")}
        shapes[f"{name}feed_forward.w2.weight"] = (hidden, wide)
        shapes |= {f"{name}{part}.weight": (hidden,) for part in ("attention_norm", "ffn_norm")}
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
