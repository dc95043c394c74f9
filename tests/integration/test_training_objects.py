"""What MindFormers makes of the YAMLs that are compared with golden files, and of each key of `train`.

A golden file only says that the same YAML comes again. Here MindFormers' own loader and trainer build
network, optimizer, data and step from it, as in a worker, but scaled down to a CPU.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml

from mcqlora.model.architecture import DEVICES
from mcqlora.tokens import mindrecord
from mcqlora.tokens.layout import COLUMNS
from tests.unit.test_finetune import GOLDEN, LORA, OPTIMIZATION, SMALL, TESTS, TINY, cpu, rendered

pytest.importorskip("mindformers")

ROWS, VALID = 102, 6
RATES_AT = (0, 1, 2, 3, 10, 25, 40, 49)
SITES = ("wq", "wk", "wv", "wo")


def shards(folder, length, layout):
    """A training and a validation shard, whose rows begin with their number."""
    paths = []
    for name, count, size, of in (("train", ROWS, length + 1, layout), ("valid", VALID, length, "padded")):
        columns = {column: np.full((count, size), 7, np.int32) for column in COLUMNS[of]}
        columns["input_ids"][:, 0] = np.arange(count)
        if "document_ids" in columns:
            columns["document_ids"][:] = 1
        paths.append(folder / f"{name}.mindrecord")
        mindrecord.write_batches([columns], paths[-1], COLUMNS[of])
    return paths


def made_of(config, folder, layout="padded"):
    """The objects that MindFormers makes of a YAML, given as a dict, on one CPU worker."""
    train, valid = shards(folder, config["model"]["model_config"]["seq_length"], layout)
    config["train_dataset"]["data_loader"]["dataset_files"] = [str(train)]
    config["eval_dataset"]["data_loader"]["dataset_files"] = [str(valid)]
    config |= {"load_checkpoint": "", "use_parallel": False}
    config["parallel_config"]["data_parallel"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    code = [sys.executable, str(TESTS / "fixtures" / "training_objects.py"), "config.yaml", "made.json"]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent / "src")}
    done = subprocess.run(code, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads((folder / "made.json").read_text())


def scaled_down(config):
    """The same for a small network on a CPU: its dimensions, and the keys that a device decides."""
    model = config["model"]["model_config"]
    tiny = TINY.model_config(64, model["batch_size"], "CPU", 2, 2)
    sizes = ("hidden_size", "num_layers", "num_heads", "intermediate_size", "vocab_size", "seq_length")
    model |= {key: tiny[key] for key in (*sizes, *DEVICES["CPU"].model)}
    config["context"]["device_target"] = "CPU"
    config["runner_config"] |= {"sink_mode": False, "sink_size": 1}
    return config


def rates(peak, warmup_ratio, steps):
    """Linear warm-up over the first steps, then half a cosine down to 0, at `RATES_AT`."""
    warm = int(steps * warmup_ratio)
    return [
        peak * step / warm
        if step < warm
        else peak * 0.5 * (1 + math.cos(math.pi * (min(step, steps) - warm) / (steps - warm)))
        for step in RATES_AT
    ]


@pytest.fixture(scope="module", params=["training-cpu", "training-ascend"])
def golden(request, tmp_path_factory):
    written = yaml.safe_load((GOLDEN / f"{request.param}.yaml").read_text())
    config = scaled_down(json.loads(json.dumps(written)))
    return written, made_of(config, tmp_path_factory.mktemp(request.param))


def test_the_recipe_s_optimizer(golden):
    """AdamW with decay on every trained matrix; 3 % warm-up and a cosine to 0 over all steps."""
    written, made = golden
    steps = ROWS // 4 * written["runner_config"]["epochs"]
    found = made["optimizer"]
    assert (found["type"], found["betas"]) == ("AdamW", pytest.approx([0.9, 0.999]))
    assert (found["eps"], found["decay"]) == (pytest.approx(1e-8), pytest.approx([0.01]))
    assert found["rates"] == pytest.approx(rates(5e-5, 0.03, steps), rel=1e-4, abs=1e-12)
    assert found["names"] == ["mindpet_delta_lora_a", "mindpet_delta_lora_b"]
    assert found["trained"] == TINY.parameters(LORA).trainable == 2 * 4 * 16 * (32 + 32)


def test_the_recipe_s_network(golden):
    _, made = golden
    assert made["lora"].keys() == {f"{layer}.attention.{name}" for layer in (0, 1) for name in SITES}
    assert all(site["rank"] == 16 and site["scaling"] == 2 for site in made["lora"].values())
    assert [site["dropout"] for site in made["lora"].values()] == pytest.approx([1 / 0.95] * 8, rel=1e-3)
    assert made["bias"] is True and made["recomputed"] == []


def test_the_recipe_s_step(golden):
    written, made = golden
    assert made["step"] == {
        "type": "PortableTrainOneStepCell",
        "clip": True,
        "max_norm": 1.0,
        "scale": [16384.0, 2, 1000],
    }
    (_, schedule) = written["callbacks"]
    assert made["schedule"] == {key: schedule[key] for key in made["schedule"]}
    assert (made["seed"], made["epochs"]) == (0, written["runner_config"]["epochs"])


def test_the_recipe_s_rows(golden):
    _, made = golden
    data, evaluation = made["dataset"], made["evaluation"]
    assert data["columns"] == ["input_ids", "labels"] and data["batches"] == ROWS // 4
    assert data["shapes"] == {"input_ids": [4, 65], "labels": [4, 65]}
    assert data["first"] != [0, 1, 2, 3]  # shuffled
    assert evaluation["order"] == list(range(VALID))  # neither shuffled nor dropped
    assert evaluation["metrics"] == ["TokenLoss"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A training in which every key differs from the recipe's."""
    size = replace(SMALL, workers=1, batch_size=2, epochs=2, rows=50, patience=3, recompute=True)
    optimization = replace(
        OPTIMIZATION,
        learning_rate=2e-3,
        warmup_ratio=0.2,
        weight_decay=0.1,
        loss_scale=512,
        max_grad_norm=0.5,
        seed=7,
        betas=(0.8, 0.95),
        eps=1e-6,
    )
    lora = replace(LORA, rank=3, alpha=12, dropout=0.2, target_modules=".*wk|.*w2")
    training = cpu(
        rows=ROWS,
        layout="packed",
        size=size,
        optimization=optimization,
        lora=lora,
        network=replace(TINY, num_layers=3, has_bias=False),
        seq_length=48,
    )
    return training, made_of(rendered(training), tmp_path_factory.mktemp("other"), "packed")


def test_other_keys_reach_the_optimizer(other):
    training, made = other
    found = made["optimizer"]
    assert (found["betas"], found["eps"]) == (pytest.approx([0.8, 0.95]), pytest.approx(1e-6))
    assert found["decay"] == pytest.approx([0.1])
    assert training.schedule.steps == 50 and training.schedule.warmup == 10
    assert found["rates"] == pytest.approx(rates(2e-3, 0.2, 50), rel=1e-4, abs=1e-12)


def test_other_keys_reach_the_network(other):
    training, made = other
    names = {"attention.wk", "feed_forward.w2"}
    assert made["lora"].keys() == {f"{layer}.{name}" for layer in range(3) for name in names}
    assert all(site["rank"] == 3 and site["scaling"] == 4 for site in made["lora"].values())
    assert [site["dropout"] for site in made["lora"].values()] == pytest.approx([1 / 0.8] * 6, rel=1e-3)
    network = training.settings.network.parameters(training.settings.lora)
    assert made["optimizer"]["trained"] == network.trainable
    assert made["bias"] is False


def test_recompute_marks_the_layers(other, golden):
    """What only a golden file or a loss compares would pass where the key is ignored."""
    layers = {name.split("layers.")[1].split(".")[0] for name in other[1]["recomputed"]}
    assert layers == {"0", "1", "2"}
    assert golden[1]["recomputed"] == []


def test_other_keys_reach_step_and_schedule(other):
    training, made = other
    assert (made["step"]["max_norm"], made["step"]["scale"]) == (0.5, [512.0, 2, 1000])
    assert (made["seed"], made["epochs"]) == (7, 2)
    assert made["schedule"] == {
        "evaluations": list(training.schedule.evaluated),
        "checkpoints": list(training.schedule.checkpoints),
        "delivered": 5,
        "patience": 3,
    }


def test_other_keys_reach_the_rows(other):
    _, made = other
    assert made["dataset"]["columns"] == ["input_ids", "labels", "document_ids"]
    assert set(map(tuple, made["dataset"]["shapes"].values())) == {(2, 49)}
    assert made["dataset"]["batches"] == 25  # of `rows`, not of the shard's 102
    assert made["evaluation"]["columns"] == ["input_ids", "labels"]
