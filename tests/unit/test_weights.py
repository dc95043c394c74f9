from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.errors import UserError
from mcqlora.model import tensorfiles, weights
from mcqlora.model.architecture import Lora, Parameters
from tests.helpers.networks import INTERNLM_7B

LORA = Lora(rank=16, alpha=32, dropout=0.05, target_modules=".*wq|.*wk|.*wv|.*wo")
WQ = "model.layers.0.attention.wq."


def tensors():
    random = np.random.default_rng(0)
    base = {
        WQ + "weight": random.normal(size=(6, 4)).astype(np.float32),
        WQ + "bias": np.ones(6, np.float32),
        "lm_head.weight": np.ones((3, 4), np.float16),
    }
    lora = {
        WQ + "mindpet_delta_lora_a": random.normal(size=(2, 4)).astype(np.float32),
        WQ + "mindpet_delta_lora_b": random.normal(size=(6, 2)).astype(np.float32),
    }
    return base, lora


def test_saved_and_read_again(tmp_path):
    base, _ = tensors()
    base["transposed"] = np.arange(6, dtype=np.int32).reshape(2, 3).T  # not contiguous
    weights.save(base, tmp_path / "base.safetensors")
    found = weights.read(tmp_path / "base.safetensors")
    assert found.keys() == base.keys()
    for name, value in base.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    base, _ = tensors()
    weights.save(base, tmp_path / "one")
    weights.save(dict(reversed(base.items())), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file(tmp_path, keep):
    path = tmp_path / "base.safetensors"
    weights.save(tensors()[0], path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UserError, match=r"base.safetensors: not a whole safetensors file .*run again"
    ) as error:
        weights.read(path)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        weights.read(tmp_path / "gone.safetensors")


def test_only_lora():
    base, lora = tensors()
    moments = {f"adam_{m}.{name}": value for m in "mv" for name, value in lora.items()}
    assert weights.only_lora(base | lora | moments) == lora


def test_merge_adds_the_scaled_product():
    base, lora = tensors()
    merged = weights.merge(base, lora, 2.0)
    a, b = lora.values()
    # The folded weight gives what the two paths give: x W' = x W + scaling (x A) B.
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    two_paths = x @ base[WQ + "weight"].T + 2.0 * (x @ a.T) @ b.T
    np.testing.assert_allclose(x @ merged[WQ + "weight"].T, two_paths, rtol=1e-4, atol=1e-5)
    assert merged.keys() == base.keys()
    for name in (WQ + "bias", "lm_head.weight"):
        assert merged[name] is base[name]


def test_merge_has_the_same_bits_however_the_product_is_divided():
    """As among the threads of a BLAS: with `@` 1 and 2 of them gave other weights on an AMD EPYC."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape).astype(np.float32) for shape in ((16, 192), (192, 16)))

    def merged(b, a):
        lora = {WQ + "mindpet_delta_lora_a": a, WQ + "mindpet_delta_lora_b": b}
        base = {WQ + "weight": np.zeros((len(b), a.shape[1]), np.float32)}
        return weights.merge(base, lora, 1.0)[WQ + "weight"]

    whole = merged(b, a)
    for place in range(2, 191):
        assert np.array_equal(np.concatenate([merged(b[:place], a), merged(b[place:], a)]), whole)
        halves = [merged(b, np.ascontiguousarray(part)) for part in (a[:, :place], a[:, place:])]
        assert np.array_equal(np.concatenate(halves, 1), whole)


def test_merge_leaves_the_base_alone():
    base, lora = tensors()
    before = base[WQ + "weight"].copy()
    weights.merge(base, lora, 2.0)
    np.testing.assert_array_equal(base[WQ + "weight"], before)


def test_merge_with_a_zero_b_changes_nothing():
    base, lora = tensors()
    lora[WQ + "mindpet_delta_lora_b"][:] = 0
    np.testing.assert_array_equal(weights.merge(base, lora, 2.0)[WQ + "weight"], base[WQ + "weight"])


def test_merge_sums_in_float32_and_keeps_the_weights_type():
    """2048 + 40 * 0.5 is 2068 in float32; added one by one in float16, where the step is 2, it stays 2048."""
    base = {"wq.weight": np.full((1, 1), 2048, np.float16)}
    lora = {
        "wq.mindpet_delta_lora_a": np.full((40, 1), 0.5, np.float16),
        "wq.mindpet_delta_lora_b": np.ones((1, 40), np.float16),
    }
    merged = weights.merge(base, lora, 1.0)["wq.weight"]
    assert merged.dtype == np.float16
    assert merged.item() == 2068


def test_merged_gives_each_tensor_as_merge_does(tmp_path):
    base, lora = tensors()
    weights.save(base, tmp_path / "base.safetensors")
    found, expected = (
        weights.Merged(tmp_path / "base.safetensors", lora, 2.0),
        weights.merge(base, lora, 2.0),
    )
    assert found.keys() == expected.keys() and len(found) == 3
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name])
    with pytest.raises(UserError, match=r"^adapter: model\.layers\.7.* does not fit the base"):
        weights.Merged(tmp_path / "base.safetensors", {"model.layers.7.mindpet_delta_lora_a": lora}, 2.0)


@pytest.mark.parametrize("change", ["no weight", "no b", "another width", "another height"])
def test_an_adapter_of_another_network(change):
    base, lora = tensors()
    if change == "no weight":
        del base[WQ + "weight"]
    elif change == "no b":
        del lora[WQ + "mindpet_delta_lora_b"]
    elif change == "another width":
        base[WQ + "weight"] = np.zeros((6, 5), np.float32)
    else:
        base[WQ + "weight"] = np.zeros((1, 4), np.float32)
    with pytest.raises(UserError, match=r"^adapter: .*wq.mindpet_delta_lora_a does not fit the base"):
        weights.merge(base, lora, 2.0)


def test_the_reports_parameter_count():
    found = INTERNLM_7B.parameters(LORA)
    assert found.total == 7_321_948_160
    assert found.trainable == 16_777_216
    assert found.ratio == 16_777_216 / 7_321_948_160
    assert round(found.ratio, 5) == 0.00229


def test_full_training_trains_everything():
    assert INTERNLM_7B.parameters() == Parameters(7_321_948_160, 7_321_948_160, 1.0)


def test_the_bias_is_one_on_q_k_v_and_o():
    without = replace(INTERNLM_7B, has_bias=False).parameters(LORA)
    assert INTERNLM_7B.parameters(LORA).total - without.total == 32 * 4 * 4096


@pytest.mark.parametrize(
    ("target", "width"),
    [
        (".*wq", 2 * 4096),
        (".*wq|.*wv", 4 * 4096),
        (".*w1", 4096 + 11008),
        (".*w2|wk", 3 * 4096 + 11008),
        (".*w.*", 8 * 4096),  # feed_forward has a w, and is passed over whole
        (".*", 0),
        ("q", 0),
    ],
)
def test_only_targets_are_tuned(target, width):
    found = INTERNLM_7B.parameters(replace(LORA, target_modules=target))
    assert found.trainable == 32 * 16 * width


@given(
    heads=st.sampled_from([1, 2, 4]),
    groups=st.sampled_from([1, 2, None]),
    width=st.integers(1, 6),
    layers=st.integers(1, 3),
    bias=st.booleans(),
    rank=st.integers(1, 5),
)
def test_count_is_the_sum_over_all_shapes(heads, groups, width, layers, bias, rank):
    hidden, kv = heads * width, (min(groups, heads) if groups else heads) * width
    network = replace(
        INTERNLM_7B,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        n_kv_heads=min(groups, heads) if groups else None,
        intermediate_size=3 * width,
        vocab_size=11,
        has_bias=bias,
    )
    projections = {"wq": (hidden, hidden), "wk": (kv, hidden), "wv": (kv, hidden), "wo": (hidden, hidden)}
    shapes = [(11, hidden), (11, hidden), (hidden,)]  # embedding, head, last norm
    tuned = []
    for _ in range(layers):
        shapes += [*projections.values(), (hidden,), (hidden,)]
        shapes += [(3 * width, hidden), (3 * width, hidden), (hidden, 3 * width)]
        shapes += [(out,) for out, _ in projections.values()] if bias else []
        tuned += [shape for out, into in projections.values() for shape in ((rank, into), (out, rank))]
    assert network.kv_width == kv
    found = network.parameters(replace(LORA, rank=rank))
    assert found.total == sum(map(np.prod, shapes))
    assert found.trainable == sum(map(np.prod, tuned))


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b"[]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "object", "shape": [2], "data_offsets": [0, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}',
        b'{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 8]}}',
        b'{"a": ' * 2000,
    ],
)
@pytest.mark.parametrize("length", [None, 0, 1 << 62])
def test_a_forged_header_is_one_line(tmp_path, header, length):
    said = len(header) if length is None else length
    (tmp_path / "adapter.safetensors").write_bytes(said.to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(UserError, match=r"adapter.safetensors: not a whole safetensors file") as error:
        weights.read(tmp_path / "adapter.safetensors")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("BF16", "Ascend", "bfloat16"),
        ("F16", "Ascend", None),
        ("BF16", "CPU", None),
    ],
)
def test_a_bfloat16_network_keeps_its_numbers_where_the_device_has_them(tmp_path, dtype, device, expected):
    path = tmp_path / "model.safetensors"
    tensorfiles.write_safetensors(path, {"w": (2,)}, dtype, lambda _: np.ones(2, np.float32))
    assert weights.computes_in(path, device) == expected
