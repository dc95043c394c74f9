"""Hugging Face formats; the parity suite shows that transformers and peft compute our numbers from them."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.evaluate import selection
from mcqlora.interop import export, huggingface, peft
from mcqlora.interop.names import name_of
from mcqlora.model import tensorfiles, weights
from mcqlora.model.architecture import Lora, write_architecture
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.networks import TINY
from tests.helpers.texts import TEXTS

NETWORK = replace(TINY, vocab_size=400, hidden_size=8, intermediate_size=12, rms_norm_eps=1e-5, theta=20000.0)
LORA = Lora(rank=2, alpha=6, dropout=0.1, target_modules=".*wq|.*wv")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a base, an adapter and a tokenizer as a run leaves them."""
    folder, random = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    tokenizer.train(TEXTS, folder / "tokenizer.model", 400)
    shapes = NETWORK.shapes()
    weights.save(
        {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()},
        folder / "base" / "model.safetensors",
    )
    write_architecture(folder / "base", NETWORK)
    lora = {}
    for layer in (0, 1):
        for module in ("wq", "wv"):
            stem = f"model.layers.{layer}.attention.{module}.mindpet_delta_lora_"
            lora[f"{stem}a"] = random.normal(size=(2, 8)).astype(np.float32)
            lora[f"{stem}b"] = random.normal(size=(8, 2)).astype(np.float32)
    weights.save(lora, folder / "checkpoint_3.safetensors")
    return folder


def exported(run, output, adapter=None, **changes):
    arguments = {"scaling": LORA.alpha / LORA.rank, "seq_length": 64, "template": None} | changes
    export.export_network(
        base=run / "base",
        adapter=adapter,
        tokenizer_path=str(run / "tokenizer.model"),
        output=output,
        **arguments,
    )
    return output


def to_peft(run, output, **changes):
    adapter, given = run / "checkpoint_3.safetensors", {"base": "export/base", "lora": LORA}
    peft.export_adapter(adapter=adapter, output=output, network=run / "base", **given | changes)


def test_an_adapter_in_peft_s_names(run, tmp_path):
    to_peft(run, tmp_path)
    ours, theirs = (
        weights.read(p) for p in (run / "checkpoint_3.safetensors", tmp_path / "adapter_model.safetensors")
    )
    assert len(theirs) == len(ours) == 8
    for kind, theirs_kind in (("a", "lora_A"), ("b", "lora_B")):
        np.testing.assert_array_equal(
            theirs[f"base_model.model.model.layers.1.self_attn.v_proj.{theirs_kind}.weight"],
            ours[f"model.layers.1.attention.wv.mindpet_delta_lora_{kind}"],
        )
    config = files.read_json(tmp_path / "adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 6, 0.1)
    assert config["target_modules"] == ["q_proj", "v_proj"]
    assert config["base_model_name_or_path"] == "export/base"


def test_an_adapter_s_card_names_its_base_and_says_how_to_load_both(run, tmp_path):
    for name, shown in ((None, "export/base"), ("s3://bucket/net", "s3://bucket/net")):
        to_peft(run, tmp_path, name=name)
        card = (tmp_path / "README.md").read_text()
        assert yaml.safe_load(card.split("---")[1]) == {"base_model": shown, "library_name": "peft"}
        assert f"of rank 2 for {shown}." in card and "looks for the base at `export/base`" in card
        assert "PeftModel.from_pretrained(base, " in card


def test_a_base_comes_out_as_it_is_and_could_go_in_again(run, tmp_path):
    folder = exported(run, tmp_path)
    asked = {"hidden_size": 8, "n_kv_heads": None, "vocab_size": 400}
    given = huggingface.check_architecture(folder, asked)
    assert given == replace(NETWORK, n_kv_heads=2, max_positions=64)
    assert huggingface.check_architecture(folder, asked, 64) == given
    with pytest.raises(UserError, match=r"config\.json: has 64 positions, encode\.seq_length is 65; lower"):
        huggingface.check_architecture(folder, asked, 65)
    base = weights.read(run / "base" / "model.safetensors")
    found = huggingface.check_tensors(folder, tensorfiles.locate(folder), given)
    for name, value in base.items():
        np.testing.assert_array_equal(tensorfiles.read(found[name]), value)
    assert not (folder / "merged_from.json").exists()


def test_merged_is_what_we_evaluate(run, tmp_path):
    adapter = run / "checkpoint_3.safetensors"
    folder = exported(run, tmp_path, adapter)
    base, lora = weights.read(run / "base" / "model.safetensors"), weights.read(adapter)
    merged = weights.merge(base, lora, LORA.alpha / LORA.rank)
    found = weights.read(folder / "model.safetensors")
    assert len(found) == len(merged)
    for name, value in merged.items():
        np.testing.assert_array_equal(found[name_of(name)], value)
    assert files.read_json(folder / "merged_from.json") == {
        "checkpoint": "checkpoint_3",
        "sha256": hashing.sha256(adapter),
    }


def test_exports_repeat_byte_by_byte(run, tmp_path):
    adapter = run / "checkpoint_3.safetensors"
    one, two = (exported(run, tmp_path / name, adapter) for name in ("one", "two"))
    names = {path.name for path in one.iterdir()}
    assert names == {path.name for path in two.iterdir()} and len(names) == 6
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_large_network_is_split(run, tmp_path):
    whole = weights.read(exported(run, tmp_path / "whole") / "model.safetensors")
    folder = exported(run, tmp_path / "split", shard_bytes=5000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2 and shards[0].name == f"model-00001-of-{len(shards):05}.safetensors"
    assert all(sum(v.nbytes for v in weights.read(s).values()) <= 5000 for s in shards[2:])
    found = tensorfiles.locate(folder)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(tensorfiles.read(found[name]), value)


def test_split_keeps_the_order_and_the_limit():
    sizes = {"a": 3, "b": 3, "c": 9, "d": 1, "e": 4}
    assert export.split(sizes, 6) == [["a", "b"], ["c"], ["d", "e"]]
    assert export.split(sizes, 100) == [["a", "b", "c", "d", "e"]]


def test_an_adapter_of_a_deeper_network(run, tmp_path):
    lora = weights.read(run / "checkpoint_3.safetensors")
    other = {name.replace("layers.1", "layers.5"): value for name, value in lora.items()}
    weights.save(other, tmp_path / "checkpoint_1.safetensors")
    with pytest.raises(UserError, match=r"layers\.5.* does not fit the base"):
        exported(run, tmp_path / "merged", tmp_path / "checkpoint_1.safetensors")


def test_the_tokenizer_says_what_ours_does(run, tmp_path):
    folder = exported(run, tmp_path)
    processor = tokenizer.load(run / "tokenizer.model")
    template = prompt.template(processor)
    config = files.read_json(folder / "tokenizer_config.json")
    assert (folder / "tokenizer.model").read_bytes() == (run / "tokenizer.model").read_bytes()
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == ("<s>", "</s>", "</s>")
    assert config["add_bos_token"] and not config["add_eos_token"] and not config["add_prefix_space"]
    assert config["added_tokens_decoder"][str(template.stop[1])]["content"] == "<eoa>"
    generation = files.read_json(folder / "generation_config.json")
    assert generation["eos_token_id"] == list(template.stop)
    assert generation["pad_token_id"] == template.pad


CHECKPOINTS = [{"name": f"checkpoint_{k}", "step": 2 * k} for k in range(1, 6)]


def valid(name, right):
    return {"model": name, "items": [{"correct": i < right} for i in range(8)]}


@pytest.mark.parametrize(
    ("losses", "right", "wanted", "name"),
    [
        ({2: 3.0, 4: 1.0, 6: 2.0, 8: 1.0, 10: 5.0}, [], "valid_loss", "checkpoint_2"),
        ({3: 0.1, 8: 4.0, 10: 5.0}, [], "valid_loss", "checkpoint_4"),
        ({}, [], "valid_loss", "checkpoint_5"),
        ({2: 3.0, 4: 1.0}, [], "checkpoint_3", "checkpoint_3"),
        ({2: 3.0, 4: 1.0, 8: 2.0}, [3, 4, 6, 2, 5], "valid_accuracy", "checkpoint_3"),
        ({2: 3.0, 4: 1.0, 8: 2.0}, [6, 4, 6, 6, 5], "valid_accuracy", "checkpoint_4"),  # of equals the loss's
        ({}, [4, 6, 6, 2, 5], "valid_accuracy", "checkpoint_2"),
        ({2: 3.0, 4: 1.0}, [3, 4, 6, 2, 5], "valid_loss", "checkpoint_2"),
    ],
)
def test_the_chosen_checkpoint(losses, right, wanted, name):
    history = [{"step": step, "train_loss": 1.0} for step in range(1, 11)]
    for row in history:
        if row["step"] in losses:
            row["valid_loss"] = losses[row["step"]]
    validated = [valid(f"checkpoint_{k}", n) for k, n in enumerate(right, 1)]
    assert selection.chosen({"history": history, "checkpoints": CHECKPOINTS}, wanted, validated) == name
