"""Networks of the families by their config.json, as their authors publish it, in numbers alone."""

from pathlib import Path

import numpy as np
import pytest

from mcqlora.errors import UserError
from mcqlora.interop import families, names
from mcqlora.model import tensorfiles, weights
from mcqlora.model.rotary import tables

PLACE = Path("folder/config.json")


def said(kind, hidden, layers, heads, kv_heads, inner, ids, **others):
    """A config.json."""
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": ids,
        **others,
    }


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA_3_2_1B = said(
    "llama", 2048, 16, 32, 8, 8192, 128256, head_dim=64, rope_scaling=LLAMA3, tie_word_embeddings=True
)
QWEN2_5_0_5B = said("qwen2", 896, 24, 14, 2, 4864, 151936, sliding_window=32768, tie_word_embeddings=True)
QWEN3_0_6B = said("qwen3", 1024, 28, 16, 8, 3072, 151936, head_dim=128, tie_word_embeddings=True)
MISTRAL_7B = said("mistral", 4096, 32, 32, 8, 14336, 32000)
DYNAMIC = {"type": "dynamic", "factor": 2.0}
INTERNLM2_7B = said("internlm2", 4096, 32, 32, 8, 14336, 92544, bias=False, rope_scaling=DYNAMIC)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (LLAMA_3_2_1B, 1_235_814_400),
        (QWEN2_5_0_5B, 494_032_768),
        (QWEN3_0_6B, 596_049_920),
        (MISTRAL_7B, 7_241_732_096),
        (INTERNLM2_7B, 7_737_708_544),
    ],
)
def test_parameters_are_as_many_as_published(config, total):
    """Those that the networks' pages on the Hub count in their safetensors."""
    assert families.describe(config, PLACE).parameters().total == total


def test_what_families_add():
    llama, qwen2, qwen3, mistral = (
        families.describe(one, PLACE) for one in (LLAMA_3_2_1B, QWEN2_5_0_5B, QWEN3_0_6B, MISTRAL_7B)
    )
    assert llama.rope_scaling == LLAMA3 and llama.tied and llama.head_dim is None
    assert qwen2.biased == ("wq", "wk", "wv") and qwen2.window is None and not qwen2.qk_norm
    assert qwen3.qk_norm and qwen3.head_dim == 128 and qwen3.q_width == 2048 and not qwen3.biased
    assert mistral.window == 4096 and not mistral.tied


def test_a_window_counts_where_it_is_switched_on():
    assert families.describe(QWEN2_5_0_5B | {"use_sliding_window": True}, PLACE).window == 32768
    assert families.describe(MISTRAL_7B | {"sliding_window": None}, PLACE).window is None


def test_internlm3_with_biases_in_its_feed_forward_is_refused():
    config = MISTRAL_7B | {"model_type": "internlm3", "qkv_bias": True}
    assert families.describe(config, PLACE).biased == ("wq", "wk", "wv")
    with pytest.raises(UserError, match="bias is True; only feed-forward parts without one"):
        families.describe(config | {"bias": True}, PLACE)


def test_a_fused_matrix_is_taken_apart_and_joined(tmp_path):
    grouped = names.Grouped(kv_heads=2, queries=3, width=4)
    whole = np.arange(2 * 5 * 4 * 6, dtype=np.float32).reshape(40, 6)
    weights.save({"wqkv": whole}, tmp_path / "model.safetensors")
    fused = tensorfiles.locate(tmp_path)["wqkv"]
    parts = {name: tensorfiles.read(grouped.view(fused, name)).reshape(-1, 6) for name in names.FUSED}
    assert [len(part) for part in parts.values()] == [24, 8, 8]
    np.testing.assert_array_equal(parts["wk"][:4], whole[12:16])  # after the queries of the first group
    np.testing.assert_array_equal(parts["wv"][4:], whole[36:])
    np.testing.assert_array_equal(grouped.join(parts), whole)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_a_scaling_stretches_the_slowest_turns_by_its_factor(kind):
    numbers = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling = {"rope_type": kind, "original_max_position_embeddings": 64, "attention_factor": 1.0} | numbers
    _, plain = tables(32, 9, 1e4, None)
    _, scaled = tables(32, 9, 1e4, scaling)
    np.testing.assert_allclose(scaled[8, 15], plain[1, 15], rtol=1e-5)  # after 8 times as many positions
    assert np.allclose(scaled[:, 0], plain[:, 0], rtol=1e-6) == (kind != "linear")  # fast ones are left alone
