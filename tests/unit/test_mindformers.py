"""The YAMLs of the report's evaluations; for golden files see test_finetune.py."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mcqlora import demo, files
from mcqlora.evaluate.forward import load
from mcqlora.interop import mindformers as yamls
from mcqlora.model.weights import only_lora, save
from mcqlora.tokens import mindrecord, tokenizer
from tests.helpers.networks import INTERNLM_7B
from tests.unit.test_finetune import GOLDEN, LORA, TESTS, TINY

MARKS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


def render(kind, device="Ascend"):
    return yamls.render(
        kind=kind,
        network=INTERNLM_7B,
        lora=LORA,
        device=device,
        seq_length=1_024,
        max_new_tokens=32 if kind == "squad" else 200,
        vocabulary=yamls.Vocabulary("results/internlm-7b/tokenizer.model", MARKS, 2, (2, 103_028)),
        load_checkpoint="results/internlm-7b/tuned",
    )


@pytest.mark.parametrize("kind", ["squad", "mcq"])
@pytest.mark.parametrize("device", ["Ascend", "CPU"])
def test_the_rendered_yaml(kind, device):
    path = GOLDEN / f"predict-{kind}-{device.lower()}.yaml"
    text = yaml.safe_dump(render(kind, device), sort_keys=False)
    if os.environ.get("REGENERATE"):
        files.write_text(path, text)
    assert text == path.read_text()


def test_squad_as_in_the_report():
    made = render("squad")
    model = made["model"]["model_config"]
    assert made["run_mode"] == "eval" and made["metric"] == {"type": "EmF1Metric"}
    assert made["runner_config"]["batch_size"] == model["batch_size"] == 8
    assert "max_new_tokens" not in model  # MindFormers would take rows one by one
    assert model["max_decode_length"] == model["seq_length"] == 1_056


def test_multiple_choice_as_in_the_report():
    made = render("mcq")
    model = made["model"]["model_config"]
    assert made["run_mode"] == "predict" and "metric" not in made
    assert model["max_new_tokens"] == 200 and model["do_sample"] is False
    assert model["seq_length"] == 1_232 >= 1_024 + 200


@pytest.mark.parametrize("kind", ["squad", "mcq"])
def test_lora_is_as_trained(kind):
    assert render(kind)["model"]["model_config"]["pet_config"] == {
        "pet_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "target_modules": ".*wq|.*wk|.*wv|.*wo",
    }


def test_the_cache_holds_a_whole_batch():
    model = render("squad")["model"]["model_config"]
    assert model["num_blocks"] * model["block_size"] == 8 * 1_056


@pytest.mark.integration
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_mindformers_own_class_loads_it(path):
    """Its network's configuration is built too: a key that it does not know would be lost without a word."""
    pytest.importorskip("mindformers")
    from mindformers import MindFormerConfig
    from mindformers.models.build_config import build_model_config

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step  # noqa: F401

    config = MindFormerConfig(str(path))
    written = yaml.safe_load(path.read_text())
    assert config.run_mode == written["run_mode"]
    assert config.runner_config.batch_size == written["runner_config"]["batch_size"]
    model = build_model_config(config.model.model_config)
    for key, value in written["model"]["model_config"].items():
        if key not in ("type", "pet_config") and not key.endswith(("dtype", "_type")):
            assert getattr(model, key) == value, key
    assert model.pet_config.lora_rank == 16
    assert model.qkv_has_bias is model.attn_proj_has_bias is True


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with both YAMLs for a tiny network, its random weights, a LoRA adapter and a tokenizer."""
    pytest.importorskip("mindformers")
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.models import build_network

    import mcqlora.model.decoder
    import mcqlora.train.callbacks
    import mcqlora.train.step  # noqa: F401

    folder = tmp_path_factory.mktemp("tuned")
    demo.write(folder / "data", seed=1, repeats=1)
    tokenizer.train(tokenizer.corpus_texts(folder / "data/corpus.jsonl"), folder / "tokenizer.model", 900)
    network = replace(TINY, n_kv_heads=2, vocab_size=900)
    before = os.getcwd()
    os.chdir(folder)  # the YAMLs' paths are relative to the run's folder
    try:
        yamls.write(
            tokenizer_path="tokenizer.model",
            evaluations={kind: yamls.Answers(Path(f"{kind}.yaml"), 8) for kind in ("squad", "mcq")},
            network=network,
            lora=LORA,
            device="CPU",
            seq_length=64,
            template=None,
            load_checkpoint="tuned",
        )
    finally:
        os.chdir(before)
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    model = network.model_config(72, 1, "CPU", 2, 2, LORA)
    arch = {"type": "InternLMForCausalLM"}
    made = build_network(MindFormerConfig(model={"model_config": model, "arch": arch}).model)
    random = np.random.default_rng(0)
    weights = {
        name: np.ones(parameter.shape, np.float32)
        if "norm" in name
        else random.normal(0, 0.3, parameter.shape).astype(np.float32)
        for name, parameter in made.parameters_dict().items()
    }
    lora = only_lora(weights)
    base = {name: weights[name] for name in weights.keys() - lora.keys()}
    save(base, folder / "tuned" / "model.safetensors")
    save(lora, folder / "tuned" / "checkpoint_5.safetensors")
    return folder, network, base, lora


def mindformers(folder, *arguments):
    """Run MindFormers alone on a YAML of the folder; returns what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(TESTS / "fixtures" / "mindformers_run.py"), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_mindformers_writes_what_our_evaluation_writes(tuned):
    """MindFormers' own network and loop with base and adapter side by side, ours with both folded."""
    from mcqlora.evaluate import generation
    from mcqlora.evaluate.engine import Engine
    from mcqlora.model import weights

    folder, network, base, lora = tuned
    prompts = ["Question: where is it?\nA.here\nB.there", "The river of Elm is", "What?", "\u6cb3\u6d41"]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    mindformers(folder, "mcq.yaml", "prompts.json", "out.json")
    theirs = json.loads((folder / "out.json").read_text())

    processor = tokenizer.load(folder / "tokenizer.model")
    model = network.model_config(72, 1, "CPU", 2, 2)
    merged = weights.merge(base, lora, LORA.alpha / LORA.rank)
    forward = load(model, "CPU", merged, "tuned")
    stop = {processor.eos_id(), processor.piece_to_id(tokenizer.EOA)}
    ids = [[processor.bos_id(), *processor.encode(text)] for text in prompts]
    ours = generation.generate(Engine(forward, 1, 72), ids, 8, stop)
    theirs = [text.removesuffix(tokenizer.EOA) for text in theirs]  # MindFormers shows what it stops at
    assert theirs == [text + processor.decode(made) for text, made in zip(prompts, ours, strict=True)]
    plain = generation.generate(Engine(load(model, "CPU", base, "base"), 1, 72), ids, 8, stop)
    assert plain != ours  # the adapter counts


@pytest.mark.slow
def test_mindformers_evaluates_squad_in_batches(tuned):
    folder, *_ = tuned
    processor = tokenizer.load(folder / "tokenizer.model")

    def rows():
        for number in range(10):  # a whole batch and a ragged one
            row = {name: np.full(72, processor.eos_id(), np.int32) for name in ("input_ids", "labels")}
            ids = [processor.bos_id(), *processor.encode(f"The river of Elm {number}")]
            row["input_ids"][: len(ids)] = ids
            row["labels"][:3] = processor.encode("Elm river")[:3]
            yield row

    batches = ({name: column[None] for name, column in row.items()} for row in rows())
    mindrecord.write_batches(batches, folder / "squad.mindrecord")
    made = yaml.safe_load((folder / "squad.yaml").read_text())
    made["eval_dataset"]["data_loader"]["dataset_dir"] = "squad.mindrecord"
    made["eval_dataset_task"]["dataset_config"] = made["eval_dataset"]
    (folder / "eval.yaml").write_text(yaml.safe_dump(made))
    said = mindformers(folder, "eval.yaml")
    assert re.search(r"F1 score: [\d.]+, Em score: [\d.]+, total_count: 10", said), said[-2_000:]
    assert "Step[2 / 2]" in said
