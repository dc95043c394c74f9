"""What MindFormers makes of the rendered YAMLs: the report's, a CPU's, a base's, and each key of `train`.

MindFormers' own loader and trainer build network, optimizer, data and step from them, as in workers under
msrun, but of a small network and on a CPU. The golden files are documents; what holds is asserted here.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import yaml

from mcqlora.launch.msrun import Workers
from mcqlora.model.architecture import DEVICES, context
from mcqlora.tokens import mindrecord
from mcqlora.tokens.layout import COLUMNS
from mcqlora.train.schedule import evaluation_batch, plan_steps
from tests.unit.test_finetune import LORA, OPTIMIZATION, SMALL, TESTS, TINY, ascend, cpu, rendered

pytest.importorskip("mindformers")

ROWS, VALID = 102, 20
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
    return [[str(path)] for path in paths]


def made_of(training, folder, valid=True):
    """The objects that MindFormers makes of its YAML in each worker."""
    train, validation = shards(folder, training.settings.seq_length, training.layout)
    config = rendered(training, train, validation if valid else [])
    config |= {"load_checkpoint": "", "context": context("CPU")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    workers = training.settings.size.workers
    script = TESTS / "fixtures" / "training_objects.py"
    Workers(script, folder / "config.yaml", workers, folder / "logs", 300).run()
    return [json.loads((folder / f"made-{rank}.json").read_text()) for rank in range(workers)]


def rates(peak, warmup_ratio, steps):
    """Linear warm-up over the first steps, then half a cosine down to 0, at `RATES_AT`."""
    warm = int(steps * warmup_ratio)
    return [
        peak * step / warm
        if step < warm
        else peak * 0.5 * (1 + math.cos(math.pi * (min(step, steps) - warm) / (steps - warm)))
        for step in RATES_AT
    ]


def small(training):
    """The same of a small network and few rows, with the steps that these give."""
    size = training.settings.size
    network = replace(TINY, vocab_size=500)
    schedule = plan_steps(ROWS, size, 0.03, 5, DEVICES[training.settings.device].sink_size)
    settings = replace(training.settings, network=network, seq_length=64)
    return replace(training, settings=settings, schedule=schedule, valid_rows=VALID)


@pytest.fixture(scope="module", params=["CPU", "Ascend"])
def recipe(request, tmp_path_factory):
    """The report's training: on a CPU with two workers, and as on Ascend with four."""
    training = small({"CPU": cpu, "Ascend": ascend}[request.param]())
    return training, made_of(training, tmp_path_factory.mktemp(request.param))


def test_the_recipe_s_optimizer(recipe):
    """AdamW with decay on every trained matrix; 3 % warm-up and a cosine to 0 over the planned steps."""
    training, (made, *_) = recipe
    found, steps = made["optimizer"], training.schedule.steps
    assert (found["type"], found["betas"]) == ("AdamW", pytest.approx([0.9, 0.999]))
    assert found["eps"] == pytest.approx(1e-8)
    assert found["decay"] == {"0.01": ["mindpet_delta_lora_a", "mindpet_delta_lora_b"]}
    assert found["rates"] == pytest.approx(rates(5e-5, 0.03, steps), rel=1e-4, abs=1e-12)
    assert found["trained"] == TINY.parameters(LORA).trainable == 2 * 4 * 16 * (32 + 32)


def test_the_recipe_s_dtypes(recipe):
    training, (made, *_) = recipe
    kind = {"CPU": "Float32", "Ascend": "Float16"}[training.settings.device]
    norms = {"Float32"}  # RMSNorm's weights, on both
    assert set(made["optimizer"]["dtypes"]["frozen"]) == {kind} | norms
    assert made["optimizer"]["dtypes"]["trained"] == ["Float32"]  # LoRA's, see train.lora_dtype
    assert made["optimizer"]["dtypes"]["moments"] == ["Float32"]


def test_the_recipe_s_network(recipe):
    training, (made, *_) = recipe
    assert made["lora"].keys() == {f"{layer}.attention.{name}" for layer in (0, 1) for name in SITES}
    assert all(site["rank"] == 16 and site["scaling"] == 2 for site in made["lora"].values())
    assert [site["dropout"] for site in made["lora"].values()] == pytest.approx([1 / 0.95] * 8, rel=1e-3)
    assert made["bias"] is True and made["recomputed"] == []
    on_cpu = training.settings.device == "CPU"  # which has no kernel of RmsNorm, nor of rotary's BatchMatMul
    assert (made["rotary_sliced"], made["norm"]) == (on_cpu, {"eps": 1e-6, "fused": not on_cpu})


def test_the_recipe_s_step(recipe):
    _, (made, *_) = recipe
    assert made["step"] == {
        "type": "PortableTrainOneStepCell",
        "clip": True,
        "max_norm": 1.0,
        "scale": [16384.0, 2, 1000],
    }
    assert made["seed"] == 0


def test_the_recipe_s_steps_are_those_planned(recipe):
    """MindSpore runs `epochs` times as many steps as the data has, or `sink_size` in sink mode."""
    training, workers = recipe
    schedule, size = training.schedule, training.settings.size
    for made in workers:
        per_epoch = made["sink_size"] if made["sink_mode"] else made["dataset"]["batches"]
        assert made["epochs"] * per_epoch == schedule.steps
        assert made["dataset"]["batches"] == schedule.steps_per_epoch == ROWS // size.global_batch
        assert made["sink_mode"] is (training.settings.device == "Ascend")
        assert made["sink_size"] == (2 if made["sink_mode"] else -1)  # -1 is MindFormers' own
        assert made["schedule"] == {
            "evaluations": list(schedule.evaluated),
            "checkpoints": list(schedule.checkpoints),
            "delivered": 5,
            "patience": None,
            "steps_per_epoch": schedule.steps_per_epoch,
        }


def test_the_recipe_s_rows(recipe):
    _, workers = recipe
    for made in workers:
        data = made["dataset"]
        assert data["columns"] == ["input_ids", "labels"] and data["shapes"] == [[4, 65]]
    seen = [row for made in workers for row in made["dataset"]["order"]]
    assert len(set(seen)) == len(seen) and seen != sorted(seen)  # shuffled, each row one worker's


def test_every_validation_row_is_seen_once_in_batches_as_planned(recipe):
    """MindFormers would take the training's batch, and twice a row to make the workers' shares equal."""
    training, workers = recipe
    batch = evaluation_batch(VALID, training.settings.size)
    seen = []
    for made in workers:
        found = made["evaluation"]
        assert found["columns"] == ["input_ids", "labels"] and made["metrics"] == ["TokenLoss"]
        assert found["shapes"] == [[batch, 64]]  # no ragged one
        assert found["interval"] == training.schedule.evaluation_interval
        assert found["batches"] == math.ceil(VALID / len(workers) / batch)
        seen += [row for row, told in zip(found["order"], found["labelled"], strict=True) if told]
    assert sorted(seen) == list(range(VALID))


def test_the_recipe_is_data_parallel(recipe):
    training, workers = recipe
    count = training.settings.size.workers
    assert len(workers) == count
    for made in workers:
        assert made["parallel"] == {
            "parallel_mode": "data_parallel",
            "device_num": count,
            "gradients_mean": True,
            "full_batch": False,
            "dataset_strategy": [[count, 1], [count, 1]],
        }


OTHER = {"rms_norm_eps": 1e-5, "theta": 500_000.0}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A training in which every key differs from the recipe's, of a part of the rows."""
    size = replace(SMALL, batch_size=2, epochs=8, rows=100, patience=3, recompute=True)
    size = replace(size, evaluation_batch_size=3)
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
        valid_rows=VALID,
        size=size,
        optimization=optimization,
        lora=lora,
        network=replace(TINY, num_layers=3, n_kv_heads=2, has_bias=False, init_std=0.2, **OTHER),
        seq_length=48,
    )
    training = replace(training, pad=5, eos=6)
    return training, made_of(training, tmp_path_factory.mktemp("other"))


def test_other_keys_reach_the_optimizer(other):
    training, (made, *_) = other
    found = made["optimizer"]
    assert (found["betas"], found["eps"]) == (pytest.approx([0.8, 0.95]), pytest.approx(1e-6))
    assert found["decay"].keys() == {"0.1"}
    assert training.schedule.steps == 200 and training.schedule.warmup == 40
    assert found["rates"] == pytest.approx(rates(2e-3, 0.2, 200), rel=1e-4, abs=1e-12)


def test_other_keys_reach_the_network(other):
    training, (made, *_) = other
    names = {"attention.wk", "feed_forward.w2"}
    assert made["lora"].keys() == {f"{layer}.{name}" for layer in range(3) for name in names}
    assert all(site["rank"] == 3 and site["scaling"] == 4 for site in made["lora"].values())
    assert [site["dropout"] for site in made["lora"].values()] == pytest.approx([1 / 0.8] * 6, rel=1e-3)
    network = training.settings.network.parameters(training.settings.lora)
    assert made["optimizer"]["trained"] == network.trainable
    assert made["bias"] is False
    assert made["norm"]["eps"] == 1e-5
    assert list(made["deviation"].values()) == pytest.approx([0.2, 0.2], rel=0.05)


def test_other_keys_reach_the_network_s_configuration(other):
    assert other[1][0]["config"] == {
        "batch_size": 2,
        "seq_length": 48,
        "hidden_size": 32,
        "num_layers": 3,
        "num_heads": 4,
        "n_kv_heads": 2,
        "theta": 500_000,
        "pad_token_id": 5,
        "eos_token_id": 6,
    }


def test_recompute_marks_the_layers(other):
    """A loss alone would pass where the key is ignored. Those of the recipe are not: see its network."""
    recomputed = other[1][0]["recomputed"]
    assert {name.split("layers.")[1].split(".")[0] for name in recomputed} == {"0", "1", "2"}


def test_other_keys_reach_step_and_schedule(other):
    training, (made, *_) = other
    assert (made["step"]["max_norm"], made["step"]["scale"]) == (0.5, [512.0, 2, 1000])
    assert (made["seed"], made["seed_of_rows"], made["epochs"]) == (7, 7, 8)
    assert made["loss_printed"] == 2  # of 200 steps; the recipe's few are all printed
    assert made["schedule"] == {
        "evaluations": list(training.schedule.evaluated),
        "checkpoints": list(training.schedule.checkpoints),
        "delivered": 5,
        "patience": 3,
        "steps_per_epoch": 25,
    }


def test_other_keys_reach_the_rows(other):
    _, workers = other
    seen = []
    for made in workers:
        assert made["dataset"]["columns"] == ["input_ids", "labels", "document_ids"]
        assert made["dataset"]["shapes"] == [[2, 49]]
        assert made["dataset"]["batches"] == 25  # of half of `rows`, not of all 102, and not of all `rows`
        assert made["evaluation"]["columns"] == ["input_ids", "labels"]
        assert made["evaluation"]["shapes"] == [[3, 48]] and made["evaluation"]["batches"] == 4
        seen += made["dataset"]["order"]
    assert len(set(seen)) == len(seen) == 100


def test_a_base_trains_all_weights_and_decays_the_matrices_alone(tmp_path):
    size = replace(SMALL, workers=1)
    training = cpu(rows=ROWS, layout="packed", size=size, lora=None)
    (made,) = made_of(training, tmp_path, valid=False)
    found = made["optimizer"]
    assert found["trained"] == TINY.parameters().total and found["dtypes"]["frozen"] == []
    assert found["decay"] == {"0.01": ["embedding_weight", "weight"], "0": ["bias", "weight"]}
    assert made["evaluation"] is None and made["lora"] == {}
