"""A small InternLM with random weights, for tests that need a network and not what it says."""

import numpy as np

from mcqlora.model.architecture import Architecture

TINY = Architecture(
    vocab_size=50,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    n_kv_heads=None,
    intermediate_size=24,
    rms_norm_eps=1e-6,
    theta=1e4,
    has_bias=True,
    init_std=0.02,
)
INTERNLM_7B = Architecture(
    vocab_size=103_168,
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    n_kv_heads=None,
    intermediate_size=11008,
    rms_norm_eps=1e-6,
    theta=10000.0,
    has_bias=True,
    init_std=0.01,
)


def random_weights(network, seed=0):
    """float32 tensors by MindSpore's names, far enough from zero for scores to differ."""
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in network.shapes().items()}
