"""A base from a Hugging Face folder; that the numbers mean the same there is the parity suite's to show."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.interop import huggingface
from mcqlora.interop.names import name_of
from mcqlora.model import tensorfiles
from mcqlora.model.architecture import Architecture, read_architecture
from mcqlora.model.weights import read, save
from mcqlora.tokens import tokenizer
from tests.helpers.texts import TEXTS

ROOT = Path(__file__).parents[2]
VOCAB = 400
NETWORK = Architecture(
    vocab_size=None,
    hidden_size=16,
    num_layers=2,
    num_heads=4,
    n_kv_heads=2,
    intermediate_size=24,
    rms_norm_eps=1e-6,
    theta=10000.0,
    has_bias=True,
    init_std=0.02,
)
ASKED = {"hidden_size": 16, "num_layers": 2, "n_kv_heads": None, "vocab_size": None}
CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "vocab_size": VOCAB,
    "rms_norm_eps": 1e-6,
    "attention_bias": True,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    tokenizer.train(TEXTS, path, VOCAB)
    return path


def weights(seed=0):
    random = np.random.default_rng(seed)
    wanted = replace(NETWORK, vocab_size=VOCAB).shapes()
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in wanted.items()}


@pytest.fixture
def folder(tmp_path, model_file):
    """A Hugging Face folder of NETWORK."""
    place = tmp_path / "llama"
    write_weights(place, {name_of(name): value for name, value in weights().items()})
    write_config(place, {})
    return place


def write_config(place, changes):
    files.write_json(place / "config.json", {k: v for k, v in (CONFIG | changes).items() if v is not None})


def write_weights(place, tensors):
    save(tensors, place / "model.safetensors")


def convert(folder, model_file, device="CPU", **changes):
    output = folder.parent / "base"
    huggingface.convert(
        folder=folder,
        tokenizer_path=str(model_file),
        output=output,
        asked=ASKED | changes,
        device=device,
    )
    return read(output / "model.safetensors"), read_architecture(output)


def test_names_are_those_of_both_sides():
    names = {name_of(name) for name in replace(NETWORK, vocab_size=9).shapes()}
    assert {
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.o_proj.bias",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    } <= names
    assert len(names) == 3 + 2 * (7 + 4 + 2)


@pytest.mark.parametrize("has_bias", [True, False])
def test_shapes_add_up_to_the_count_of_parameters(has_bias):
    network = replace(NETWORK, vocab_size=VOCAB, has_bias=has_bias)
    total = sum(np.prod(shape) for shape in network.shapes().values())
    assert total == network.parameters().total


def test_a_conversion_copies_every_number(folder, model_file):
    made, network = convert(folder, model_file)
    assert made.keys() == weights().keys()
    for name, value in weights().items():
        np.testing.assert_array_equal(made[name], value)
    assert network == replace(NETWORK, vocab_size=VOCAB, max_positions=64)


def test_the_same_folder_gives_the_same_bytes(folder, model_file):
    convert(folder, model_file)
    first = (folder.parent / "base" / "model.safetensors").read_bytes()
    convert(folder, model_file)
    assert (folder.parent / "base" / "model.safetensors").read_bytes() == first


def test_tied_embeddings_become_the_head(folder, model_file):
    tensors = {name_of(name): value for name, value in weights().items()}
    del tensors["lm_head.weight"]
    write_weights(folder, tensors)
    write_config(folder, {"tie_word_embeddings": True})
    made, network = convert(folder, model_file)
    assert network.tied and "lm_head.weight" not in made
    assert sum(value.size for value in made.values()) == network.parameters().total


def test_a_head_of_other_numbers_is_kept_whatever_the_config_says(folder, model_file, capsys):
    """As transformers does, which says so too."""
    write_config(folder, {"tie_word_embeddings": True})
    made, network = convert(folder, model_file)
    assert not network.tied and "its head is not its embeddings" in capsys.readouterr().out
    np.testing.assert_array_equal(made["lm_head.weight"], weights()["lm_head.weight"])
    tensors = {name_of(name): value for name, value in weights().items()}
    write_weights(folder, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]})
    made, network = convert(folder, model_file)
    assert network.tied and "lm_head.weight" not in made


def test_ascend_gets_float16(folder, model_file):
    made, _ = convert(folder, model_file, "Ascend")
    assert {value.dtype for value in made.values()} == {np.dtype(np.float16)}
    np.testing.assert_array_equal(made["lm_head.weight"], weights()["lm_head.weight"].astype(np.float16))


@pytest.mark.parametrize(("value", "device"), [(1e6, "Ascend"), (np.nan, "CPU")])
def test_numbers_that_the_device_cannot_hold(folder, model_file, value, device):
    tensors = {name_of(name): array for name, array in weights().items()}
    tensors["model.norm.weight"][3] = value
    write_weights(folder, tensors)
    with pytest.raises(UserError, match=r"model\.safetensors: model\.norm\.weight holds numbers that"):
        convert(folder, model_file, device)
    assert not (folder.parent / "base" / "model.safetensors").exists()


def test_old_files_hold_a_table_of_frequencies_too(folder, model_file):
    tensors = {name_of(name): value for name, value in weights().items()}
    write_weights(folder, tensors | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)})
    made, _ = convert(folder, model_file)
    assert made.keys() == weights().keys()


def test_internlm_s_own_config(folder, model_file):
    rotary = {"base": 20000, "type": "dynamic"}
    changes = {"model_type": "internlm", "bias": True, "attention_bias": None, "rotary": rotary}
    write_config(folder, changes)
    _, network = convert(folder, model_file)
    assert network.has_bias and network.theta == 20000


def test_theta_stands_in_two_places(tmp_path):
    for said in ({"rope_theta": 5e5}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}):
        write_config(tmp_path, said)
        assert huggingface.describe(tmp_path).theta == 5e5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_layers": 3}, "model.num_layers is 3, there 2"),
        (
            {"hidden_size": 32, "has_bias": False},
            "hidden_size is 32, there 16; model.has_bias is False",
        ),
        ({"n_kv_heads": 4}, "model.n_kv_heads is 4, there 2"),
        ({"vocab_size": 300}, "model.vocab_size is 300, there 400"),
        ({"rms_norm_eps": 1e-5}, "model.rms_norm_eps is 1e-05, there 1e-06"),
        ({"theta": 5e5}, "model.theta is 500000.0, there 10000.0"),
    ],
)
def test_another_network_in_the_configuration_is_one_line(folder, model_file, changes, said):
    with pytest.raises(UserError) as error:
        convert(folder, model_file, **changes)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_fewer_ids_than_pieces(folder, model_file):
    write_config(folder, {"vocab_size": 300})
    with pytest.raises(
        UserError, match=r"the network has 300 ids, the tokenizer 400 pieces; give the base's"
    ):
        convert(folder, model_file)


def test_more_ids_than_pieces(folder, model_file):
    """Padding of the embeddings to a round number is usual."""
    write_config(folder, {"vocab_size": 448})
    tensors = {name_of(name): value for name, value in weights().items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.concatenate([tensors[name], np.zeros((48, 16), np.float32)])
    write_weights(folder, tensors)
    made, network = convert(folder, model_file)
    assert network.vocab_size == 448 and made["lm_head.weight"].shape == (448, 16)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gemma3"}, "model_type is gemma3; only dense ones of llama, Yi, internlm"),
        ({"model_type": "qwen3_moe", "num_experts": 8}, "num_experts is 8; a mixture of experts"),
        ({"model_type": "qwen2_vl", "vision_config": {"depth": 2}}, "vision_config is there; a multimodal"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"rope_scaling": {"type": "longrope", "factor": 2}}, "the rotation is longrope; known are default"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "the rotation yarn has no factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_parameters is"),
        ({"rope_parameters": "yarn"}, "rope_parameters is yarn; only one rotation"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is there; a quantised network"),
        ({"num_attention_heads": 3}, "num_attention_heads is 3"),
        ({"hidden_size": None}, "hidden_size is not there"),
    ],
)
def test_networks_that_ours_is_not(tmp_path, changes, said):
    write_config(tmp_path, changes)
    with pytest.raises(UserError, match=said):
        huggingface.describe(tmp_path)


def test_a_broken_file_is_to_be_fetched_again(folder, model_file):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 538\n"
    for name in ("model.safetensors", "model.safetensors.index.json", "config.json"):
        (folder / name).write_text(pointer)
        with pytest.raises(UserError, match=rf"{name}: .*; fetch it again \(git lfs pull\?\)$"):
            convert(folder, model_file)


def test_no_config(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: cannot read it"):
        huggingface.describe(tmp_path)


def test_a_missing_tensor_is_named(folder, model_file):
    tensors = {name_of(name): value for name, value in weights().items()}
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["model.layers.0.mlp.up_proj.weight"]
    write_weights(folder, tensors)
    with pytest.raises(UserError, match=r"no tensor model\.layers\.0\.mlp\.up_proj\.weight \(and 1 more\)"):
        convert(folder, model_file)


def test_an_extra_tensor_is_named(folder, model_file):
    write_config(folder, {"attention_bias": False})
    with pytest.raises(UserError, match=r"layers\.0\.self_attn\.k_proj\.bias \(and 7 more\) is not of"):
        convert(folder, model_file)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder, model_file):
    tensors = {name_of(name): value for name, value in weights().items()}
    tensors["model.layers.1.self_attn.k_proj.weight"] = np.zeros((16, 16), np.float32)
    write_weights(folder, tensors)
    with pytest.raises(UserError) as error:
        convert(folder, model_file)
    for part in ("model.safetensors", "model.layers.1.self_attn.k_proj.weight", "[16, 16]", "[8, 16]"):
        assert part in str(error.value)


def test_what_a_cpu_must_hold():
    line = huggingface.check_memory(Path("llama"), 7_321_948_160, "CPU", 64 * 10**9)
    assert "7,321,948,160 parameters, 29.3 GB as float32" in line
    assert "14.6 GB as float16" in huggingface.check_memory(Path("llama"), 7_321_948_160, "Ascend", 0)
    with pytest.raises(UserError, match=r"29\.3 GB as float32 .* this machine has 24\.0 GB"):
        huggingface.check_memory(Path("llama"), 7_321_948_160, "CPU", 24 * 10**9)


CONVERT = """
import sys
from pathlib import Path
from mcqlora.interop import huggingface
import safetensors  # imported before the measurement

def high_water():
    return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmHWM"))

folder, model_file = sys.argv[1:]
arguments = dict(tokenizer_path=model_file, asked={}, device="CPU")
before = high_water()
huggingface.convert(folder=Path(folder), output=Path(folder) / "base", **arguments)
print(high_water() - before)
"""


def test_a_conversion_needs_the_memory_of_a_tensor_not_of_the_network(tmp_path, model_file):
    network = replace(
        NETWORK, hidden_size=1024, num_heads=8, n_kv_heads=8, intermediate_size=4096, num_layers=3
    )
    wanted = replace(network, vocab_size=VOCAB).shapes()
    shapes = {name_of(name): shape for name, shape in wanted.items()}
    tensorfiles.write_safetensors(
        tmp_path / "model.safetensors", shapes, "BF16", lambda name: np.full(shapes[name], 0x3F80, "<u2")
    )
    sizes = {"hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8, "num_hidden_layers": 3}
    write_config(tmp_path, sizes | {"intermediate_size": 4096})
    result = subprocess.run(
        [sys.executable, "-c", CONVERT, tmp_path, model_file],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    used, largest = int(result.stdout.splitlines()[-1]), 4096 * 1024 * 4
    total = (tmp_path / "base" / "model.safetensors").stat().st_size
    assert total > 10 * largest
    assert used < 3 * largest, f"{used / 1e6:.0f} MB for tensors of at most {largest / 1e6:.0f} MB"
