"""The rendered YAML is compared with files under tests/golden.

After a wanted change write them anew, and read the difference before it is committed:

    REGENERATE=1 .venv/bin/python -m pytest tests/unit/test_finetune.py
"""

import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.launch import msrun
from mcqlora.model import weights
from mcqlora.model.architecture import DEVICES, Lora, of_base, write_architecture
from mcqlora.provenance.fingerprint import closure
from mcqlora.train import checkpoints, history, workplace
from mcqlora.train.mindformers_yaml import Training, render
from mcqlora.train.schedule import plan_steps
from mcqlora.train.settings import Optimization, Settings, Size
from mcqlora.train.workplace import Launch, fingerprint_of
from tests.helpers.networks import INTERNLM_7B

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden"
LORA = Lora(rank=16, alpha=32, dropout=0.05, target_modules=".*wq|.*wk|.*wv|.*wo")
OPTIMIZATION = Optimization(
    learning_rate=5e-5,
    warmup_ratio=0.03,
    weight_decay=0.01,
    loss_scale=16384,
    max_grad_norm=1.0,
    seed=0,
)
TINY = replace(INTERNLM_7B, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=88, vocab_size=500)
RECIPE = Size(rows=None, workers=4, batch_size=4, epochs=4, evaluations=20, checkpoints=10)
SMALL = Size(rows=None, workers=2, batch_size=4, epochs=1, evaluations=4, checkpoints=5)
TRAIN, VALID = (
    ["train/shard-0-of-2.mindrecord", "train/shard-1-of-2.mindrecord"],
    ["valid/shard-0-of-1.mindrecord"],
)


def cpu(rows=100, layout="padded", valid_rows=20, size=SMALL, **changes):
    """A training of a tiny network; `changes` are of its settings."""
    asked = Settings(
        network=TINY, lora=LORA, optimization=OPTIMIZATION, size=size, seq_length=64, device="CPU"
    )
    asked = replace(asked, **changes)
    return Training(
        name="lora",
        settings=asked,
        schedule=plan_steps(rows, size, asked.optimization.warmup_ratio, 5),
        pad=2,
        eos=2,
        layout=layout,
        valid_rows=valid_rows,
    )


def ascend():
    asked = Settings(
        network=INTERNLM_7B,
        lora=LORA,
        optimization=OPTIMIZATION,
        size=RECIPE,
        seq_length=1024,
        device="Ascend",
    )
    schedule = plan_steps(138_020, RECIPE, 0.03, 5, sink_size=2)
    return Training(
        name="lora", settings=asked, schedule=schedule, pad=2, eos=2, layout="padded", valid_rows=2_480
    )


def test_a_fused_kernel_where_the_device_has_it():
    def flash(**changes):
        return rendered(cpu(network=INTERNLM_7B, **changes))["model"]["model_config"]["use_flash_attention"]

    assert flash(device="Ascend") is True and flash(device="CPU") is False
    assert flash(device="Ascend", attention="plain") is False
    assert flash(device="Ascend", seq_length=1_000) is False


def test_precision():
    """LoRA's weights are float32 whatever the network computes in; the base's own or the device's."""

    def kinds(**changes):
        model = rendered(cpu(network=INTERNLM_7B, **changes))["model"]["model_config"]
        return model["compute_dtype"], model["param_init_type"], model["pet_config"]["param_init_type"]

    assert kinds(device="CPU") == ("float32",) * 3
    assert kinds(device="Ascend") == ("float16", "float16", "float32")
    assert kinds(device="Ascend", dtype="bfloat16") == ("bfloat16", "bfloat16", "float32")
    assert kinds(device="Ascend", lora_dtype="float16") == ("float16",) * 3


def test_a_network_over_several_devices():
    """Semi-automatic parallelism: rows are divided among the groups that share a network."""
    size = replace(SMALL, workers=8, tensor=4, batch_size=2)
    made = rendered(cpu(rows=100, network=INTERNLM_7B, device="Ascend", size=size, layout="packed"))
    assert made["parallel_config"] | {"data_parallel": 2, "model_parallel": 4} == made["parallel_config"]
    assert made["parallel"]["parallel_mode"] == 1 and made["auto_trans_ckpt"] is True
    assert made["parallel"]["dataset_strategy"] == [[2, 1]] * 3
    assert made["parallel"]["enable_parallel_optimizer"] is False
    # Gradients are already those of the whole batch, and the base is frozen and read all the same.
    assert made["parallel"]["gradients_mean"] is False and made["load_ckpt_format"] == "safetensors"
    assert made["parallel"]["strategy_ckpt_config"] == {"only_trainable_params": False}
    assert plan_steps(100, size, 0.03, 5).steps_per_epoch == 25 == 100 // (2 * 2)
    divided = rendered(cpu(device="Ascend", size=replace(size, tensor=1, shard_optimizer=True)))["parallel"]
    assert (divided["parallel_mode"], divided["enable_parallel_optimizer"]) == (1, True)


def rendered(training, train=TRAIN, valid=VALID, **arguments):
    return render(training, train, valid, "base.ckpt", **arguments)


def report():
    return rendered(ascend(), [f"train/shard-{i}-of-4.mindrecord" for i in range(4)])


@pytest.mark.parametrize(("name", "made"), [("training-cpu", rendered(cpu())), ("training-ascend", report())])
def test_the_rendered_yaml(name, made):
    path = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump(made, sort_keys=False)
    if os.environ.get("REGENERATE"):
        files.write_text(path, text)
    assert text == path.read_text()


def test_cpu_and_ascend_differ_in_the_devices_table_alone():
    made = {}
    for name, device in DEVICES.items():
        made[name] = rendered(cpu(device=name))
        assert made[name]["context"].pop("device_target") == name
        for key, value in device.context.items():
            assert made[name]["context"].pop(key) == value
        for key, value in device.model.items():
            assert made[name]["model"]["model_config"].pop(key) == value
        for key in ("sink_size", "sink_mode"):
            assert made[name]["runner_config"].pop(key) == getattr(device, key)
    assert made["CPU"] == made["Ascend"]
    assert DEVICES["CPU"].model.keys() == DEVICES["Ascend"].model.keys()


def test_ascend_is_set_as_in_mindformers_template():
    """The one that its wheel has for training a dense network; a CPU has no such keys."""
    name = "configs/general/llm_finetune_dense_template.yaml"
    template = next(path for path in metadata.files("mindformers") if str(path) == name)
    theirs = yaml.safe_load(Path(template.locate()).read_text(encoding="utf-8"))["context"]
    ours = report()["context"]
    assert ours["jit_config"] == theirs["jit_config"] == {"jit_level": "O0"}
    assert ours["max_device_memory"] == theirs["max_device_memory"] == "58GB"
    assert not {"jit_config", "max_device_memory"} & rendered(cpu())["context"].keys()


def test_the_recipe_on_ascend():
    made = report()
    assert made["optimizer"] == {
        "type": "AdamW",
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.01,
    }
    assert made["lr_schedule"]["type"] == "CosineWithWarmUpLR"
    assert (made["lr_schedule"]["learning_rate"], made["lr_schedule"]["lr_end"]) == (5e-5, 0)
    assert made["lr_schedule"]["warmup_ratio"] == 0.03
    assert made["eval_step_interval"] == 1_726
    (schedule,) = [c for c in made["callbacks"] if c["type"] == "ScheduleCallback"]
    assert schedule["evaluations"] == [*range(1_726, 34_504, 1_726), 34_504]
    assert schedule["checkpoints"] == [*range(3_452, 34_504, 3_452), 34_504]
    assert made["runner_config"] == {"epochs": 4, "batch_size": 4, "sink_mode": True, "sink_size": 2}
    assert made["runner_wrapper"]["scale_sense"]["loss_scale_value"] == 16384
    assert made["runner_wrapper"]["max_grad_norm"] == 1.0
    model = made["model"]["model_config"]
    assert model["compute_dtype"] == "float16"
    assert model["layernorm_compute_type"] == model["softmax_compute_type"] == "float32"
    assert model["pet_config"]["lora_rank"] == 16


def test_without_validation_nothing_is_evaluated():
    made = rendered(cpu(), valid=[])
    assert made["do_eval"] is False
    assert "eval_dataset" not in made


def test_full_training_has_no_adapter():
    made = rendered(cpu(lora=None, size=replace(SMALL, workers=1)))
    assert "pet_config" not in made["model"]["model_config"]
    assert made["use_parallel"] is False


def test_validation_rows_are_neither_shuffled_nor_dropped():
    made = rendered(cpu())
    train, valid = made["train_dataset"], made["eval_dataset"]
    assert (train["data_loader"]["shuffle"], train["drop_remainder"]) == (True, True)
    assert (valid["data_loader"]["shuffle"], valid["drop_remainder"]) == (False, False)
    assert made["train_dataset_task"]["dataset_config"] == train


def test_rows_limit_the_training_alone():
    made = rendered(cpu(size=replace(SMALL, rows=40)))
    assert made["train_dataset"]["data_loader"]["num_samples"] == 40
    assert "num_samples" not in made["eval_dataset"]["data_loader"]
    assert "num_samples" not in rendered(cpu())["train_dataset"]["data_loader"]


def test_recomputation():
    assert rendered(cpu(size=replace(SMALL, recompute=True)))["recompute_config"] == {"recompute": True}
    assert rendered(cpu())["recompute_config"] == {"recompute": False}


def test_write_history(tmp_path):
    rows = [
        {"step": 1, "train_loss": 3.0, "learning_rate": 1e-5},
        {"step": 2, "train_loss": 0.1, "learning_rate": 2e-5, "valid_loss": 1.0, "gradient_norm": 0.5},
    ]
    history.write_csv(rows, tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == (
        "step,train_loss,valid_loss,learning_rate,gradient_norm\n1,3.0,,1e-05,\n2,0.1,1.0,2e-05,0.5\n"
    )


def test_the_architecture_is_the_bases(tmp_path):
    write_architecture(tmp_path, TINY)
    assert "max_positions" not in files.read_json(tmp_path / "config.json")
    asked = {"vocab_size": None, "hidden_size": 32, "theta": None}
    assert of_base(asked, tmp_path, 64) == TINY
    with pytest.raises(UserError, match=r"model.hidden_size is 64, there 32; leave these keys out"):
        of_base(asked | {"hidden_size": 64}, tmp_path, 64)
    for limit, said in (({"max_positions": 64}, "positions"), ({"window": 64}, "ids in its sliding window")):
        write_architecture(tmp_path, limited := replace(TINY, **limit))
        assert of_base(asked, tmp_path, 64) == limited
        with pytest.raises(UserError, match=rf"has 64 {said}, encode.seq_length is 65; lower it"):
            of_base(asked, tmp_path, 65)


def test_what_other_families_add_stands_in_a_base_s_config_only_where_it_is(tmp_path):
    added = replace(TINY, head_dim=24, qk_norm=True, tied=True, bare_output=True, family="qwen3")
    scaled = replace(added, rope_scaling={"rope_type": "linear", "factor": 2.0})
    for network, keys in ((TINY, 10), (added, 15), (scaled, 16)):
        write_architecture(tmp_path, network)
        assert len(files.read_json(tmp_path / "config.json")) == keys
        assert of_base({}, tmp_path, 64) == network


def test_the_vocabulary_is_the_tokenizers():
    assert replace(TINY, vocab_size=None).for_tokenizer(500) == TINY == TINY.for_tokenizer(500)
    assert TINY.for_tokenizer(499) == TINY  # ids beyond the pieces are usual, and never asked
    with pytest.raises(UserError, match=r"^model.vocab_size: the network has 500 ids, the tokenizer 501"):
        TINY.for_tokenizer(501)


def test_one_training_a_directory(tmp_path):
    with workplace.workplace(tmp_path / "run"):
        with (
            pytest.raises(UserError, match="run: another training runs there; wait for it or stop it"),
            workplace.workplace(tmp_path / "run"),
        ):
            raise AssertionError("two at once")
        with workplace.workplace(tmp_path / "another"):
            pass
    with workplace.workplace(tmp_path / "run"):
        pass


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom mcqlora.train import workplace\n"
        "with workplace.workplace(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TESTS.parent / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError), workplace.workplace(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with workplace.workplace(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a worker, its configuration and a Python beside which msrun is the fake one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "bin" / "msrun").symlink_to(TESTS / "fixtures" / "msrun")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "config.yaml").write_text("a: 1\n")
    return tmp_path


def launch(place, body, workers=2):
    (place / "worker.py").write_text(
        "import os, sys\nprint('mcqlora: process', os.getpid(), flush=True)\n"
        "rank = os.environ.get('RANK_ID', '0')\n" + body
    )
    msrun.Workers(place / "worker.py", place / "config.yaml", workers, place / "logs", 60).run()


@pytest.mark.parametrize("workers", [1, 2])
def test_launch_runs_the_workers_in_the_configurations_folder(place, workers):
    launch(place, "print(open(sys.argv[1]).read(), file=open(f'said-{rank}', 'w'))", workers)
    assert sorted(path.name for path in place.glob("said-*")) == [f"said-{rank}" for rank in range(workers)]
    assert (place / "said-0").read_text().strip() == "a: 1"
    assert (place / "logs" / "worker_0.log").exists()
    assert (place / "logs" / "msrun.log").exists() == (workers > 1)


def test_launch_finds_the_package_and_says_how_many_workers(place):
    launch(place, "import mcqlora.errors; print(mcqlora.errors.__file__)")
    assert (place / "logs" / "worker_1.log").read_text().strip().endswith("src/mcqlora/errors.py")
    said = (place / "logs" / "msrun.log").read_text()
    assert "--worker_num=2 --local_worker_num=2" in said
    assert f"--log_dir={place / 'logs'}" in said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_worker_is_one_line_that_names_its_log(place, workers):
    failing = workers - 1
    body = f"if rank == '{failing}':\n    print('[ERROR] ERROR_LEVEL 3')\n    raise ValueError('loss is nan')"
    with pytest.raises(UserError) as error:
        launch(place, body, workers)
    log = place / "logs" / f"worker_{failing}.log"
    assert str(error.value) == f"training failed: ValueError: loss is nan (see {log})"
    assert "Traceback" in log.read_text()


def test_a_worker_that_fails_without_a_word(place):
    with pytest.raises(UserError) as error:
        launch(place, "sys.exit(7)", 1)
    assert str(error.value) == f"training failed: exit code 7 (see {place / 'logs' / 'worker_0.log'})"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker(place, workers):
    with pytest.raises(UserError) as error:
        launch(place, f"if rank == '{workers - 1}':\n    os.kill(os.getpid(), 9)", workers)
    log = place / "logs" / f"worker_{workers - 1}.log"
    assert str(error.value) == f"training failed: killed by signal 9 (see {log})"


def test_no_msrun(place):
    (place / "bin" / "msrun").unlink()
    with pytest.raises(UserError, match="bin/msrun: no such program; install MindSpore"):
        launch(place, "")


def test_msrun_itself_fails(place):
    (place / "msrun-mode").write_text("refuse")
    with pytest.raises(UserError) as error:
        launch(place, "")
    log = place / "logs" / "msrun.log"
    assert str(error.value) == f"training failed: RuntimeError: port taken (see {log})"


def test_a_worker_that_others_waited_for(place):
    waited = "'Failed to initialize distributed job cluster because some are not spawned. See:\\n1. x'"
    with pytest.raises(UserError) as error:
        launch(place, f"if rank == '0':\n    raise RuntimeError({waited})")
    said = "not all workers joined in time; see what kept one, or raise train.rendezvous_timeout"
    assert str(error.value) == f"training failed: {said} (see {place / 'logs' / 'worker_1.log'})"


def test_our_own_errors_go_without_their_name(place):
    with pytest.raises(UserError) as error:
        launch(place, "from mcqlora.errors import UserError\nraise UserError('no space')", 1)
    assert str(error.value) == f"training failed: no space (see {place / 'logs' / 'worker_0.log'})"


def test_a_long_error_is_cut(place):
    with pytest.raises(UserError) as error:
        launch(place, "raise ValueError('x' * 5000)", 1)
    assert len(str(error.value)) < 600


STEPS = cpu().schedule
WORKER = (
    f"import os, sys; sys.path += {sys.path!r}"
    + """
from pathlib import Path
import numpy as np, yaml
from mcqlora import files
from mcqlora.train import checkpoints
if os.environ.get("RANK_ID", "0") == "0":
    config = yaml.safe_load(open(sys.argv[1]))
    schedule = next(c for c in config["callbacks"] if c["type"] == "ScheduleCallback")
    every = config["runner_config"]["sink_size"]
    for step in range(schedule["start"] + every, schedule["checkpoints"][-1] + 1, every):
        last = os.path.exists("stop-at-" + str(step))  # where patience would
        row = {"step": step, "train_loss": 1 / step, "learning_rate": 0.5}
        files.append_jsonl("output/history.jsonl", row)
        if step in schedule["checkpoints"] or last:
            checkpoints.write(Path("output/checkpoints"), step, {"scale_sense": np.float32(step)}, last)
        if os.path.exists("die-at-" + str(step)):
            os.remove("die-at-" + str(step))
            raise RuntimeError("killed")
        if last:
            break
"""
)


def train(work, place, base=None, training=None):
    training = training or cpu(size=replace(SMALL, evaluation_batch_size=3))
    launch = Launch(worker=place / "worker.py", runs=place / "runs")
    return work.run(training, launch, base, [str(place / "train_files")], [str(place / "valid_files")])


def test_a_workplace_renders_launches_and_collects(place):
    (place / "worker.py").write_text(WORKER)
    with workplace.workplace(place / "runs" / "key") as work:
        work.output.mkdir()
        (work.output / "leftover").write_text("of an attempt that failed before its first checkpoint")
        train(work, place)
        assert train(work, place) == STEPS.checkpoints  # complete: nothing is launched
        assert not (work.output / "leftover").exists()
        assert [row["step"] for row in work.history()] == list(range(1, STEPS.steps + 1))
        assert work.checkpoint(STEPS.steps) == {"scale_sense": np.float32(STEPS.steps)}
        rendered = yaml.safe_load(work.config.read_text())
        attempts = sorted(path.name for path in work.directory.glob("attempt-*"))
    assert rendered["load_checkpoint"] == ""
    assert rendered["train_dataset"]["data_loader"]["dataset_files"] == ["../../train_files"]
    assert rendered["eval_dataset"]["data_loader"]["dataset_files"] == ["../../valid_files"]
    assert rendered["eval_dataset"]["planned_batch_size"] == 3
    assert rendered["eval_dataset"]["padding"] == {"rows": 4, "length": 64, "input_ids": 2, "labels": -100}
    assert str(place) not in yaml.safe_dump(rendered)  # the same in every checkout
    assert attempts == ["attempt-1"]


@pytest.mark.integration
def test_what_a_training_starts_from_is_gone_when_it_has_ended(place):
    """At 7 B it takes 14.6 GB. A kill may leave it; the next run, which trains nothing, removes it."""
    pytest.importorskip("mindspore")
    (place / "worker.py").write_text(
        "import os\nrank = os.environ['RANK_ID']\n"
        "assert os.path.exists(f'start/rank_{rank}/start.ckpt'), 'nothing to start from'\n" + WORKER
    )
    weights.save({"w": np.ones(3, np.float32)}, place / "base.safetensors")
    second, start = STEPS.checkpoints[1], place / "runs" / "key" / "start"
    with workplace.workplace(place / "runs" / "key") as work:
        (work.directory / f"die-at-{second}").touch()
        with pytest.raises(UserError, match="killed"):
            train(work, place, place / "base.safetensors")
        assert not start.exists()
        train(work, place, place / "base.safetensors")
        assert not start.exists()
        start.mkdir()  # left by a kill after the last checkpoint
        assert train(work, place, place / "base.safetensors") == STEPS.checkpoints
        assert not start.exists() and len(list(work.directory.glob("attempt-*"))) == 2


def test_a_workplace_goes_on_after_the_last_complete_checkpoint(place):
    (place / "worker.py").write_text(WORKER)
    first, second, *_ = STEPS.checkpoints
    with workplace.workplace(place / "runs" / "key") as work:
        (work.directory / f"die-at-{second}").touch()
        with pytest.raises(UserError, match="killed"):
            train(work, place)
        whole = yaml.safe_load(work.config.read_text())
        damaged = checkpoints.file(work.output / "checkpoints", second)
        damaged.write_bytes(damaged.read_bytes()[:-1])  # as a full disk leaves it
        train(work, place)
        assert [row["step"] for row in work.history()] == list(range(1, STEPS.steps + 1))
        assert work.checkpoint(second) == {"scale_sense": np.float32(second)}
        resumed = yaml.safe_load((work.directory / "resumed.yaml").read_text())
        assert yaml.safe_load(work.config.read_text()) == whole
    assert resumed["resume_training"] is True
    assert resumed["callbacks"][1]["start"] == first


def test_a_training_of_other_steps_than_planned_delivers_nothing(place):
    """Here the workers take twice the steps, as those of MindFormers 1.9.0 do with `rows` and no strategy."""
    taken = 'schedule["checkpoints"][-1] + 1'
    (place / "worker.py").write_text(WORKER.replace(taken, f"2 * {taken}"))
    most = 2 * STEPS.steps
    said = rf"history.jsonl has {most} steps up to {most}, not the {STEPS.steps} up to {STEPS.steps} planned"
    with workplace.workplace(place / "runs" / "key") as work:
        for _ in range(2):  # nothing is launched the second time
            with pytest.raises(UserError, match=said):
                train(work, place)
        assert len(list(work.directory.glob("attempt-*"))) == 1


def sunk():
    """Three epochs of 13 steps: a call of two steps goes over an epoch's end, the last step is not taken."""
    size = replace(SMALL, epochs=3)
    training = replace(
        cpu(rows=104, size=size, device="Ascend"), schedule=plan_steps(104, size, 0.03, 5, sink_size=2)
    )
    assert (training.schedule.steps_per_epoch, training.schedule.steps) == (13, 38)
    return training


@pytest.mark.parametrize("early", [False, True], ids=["whole", "early"])
def test_sink_mode_s_history_has_every_second_step(place, early):
    """After a kill, too, and where patience ends the training between two planned checkpoints."""
    (place / "worker.py").write_text(WORKER)
    training = sunk()
    planned = training.schedule.checkpoints
    second = planned[1]
    end = planned[3] + 2 if early else 38
    with workplace.workplace(place / "runs" / "key") as work:
        (work.directory / f"die-at-{second + 2}").touch()
        (work.directory / f"stop-at-{end}").touch()
        with pytest.raises(UserError, match="killed"):
            train(work, place, training=training)
        assert train(work, place, training=training) == ((*planned[:4], end) if early else planned)
        resumed = yaml.safe_load((work.directory / "resumed.yaml").read_text())
        assert resumed["callbacks"][1]["start"] == second
        assert [row["step"] for row in work.history()] == list(range(2, end + 1, 2))
        assert train(work, place, training=training)[-1] == end  # nothing is launched
        assert len(list(work.directory.glob("attempt-*"))) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("files.append_jsonl", "step == 12 or files.append_jsonl"), "has 18 steps up to 38 without step 12"),
        (("every = config", "every = 1 or config"), "has 38 steps up to 38"),
    ],
    ids=["a pair is missing", "every step"],
)
def test_in_sink_mode_too_other_steps_than_planned_are_named(place, change, said):
    (place / "worker.py").write_text(WORKER.replace(*change))
    with workplace.workplace(place / "runs" / "key") as work:
        for _ in range(2):  # nothing is launched the second time
            with pytest.raises(UserError, match=f"history.jsonl {said}, not the 19 up to 38 planned; see"):
                train(work, place, training=sunk())
        assert len(list(work.directory.glob("attempt-*"))) == 1


def test_without_its_history_a_training_starts_again(place):
    (place / "worker.py").write_text(WORKER)
    with workplace.workplace(place / "runs" / "key") as work:
        train(work, place)
        (work.output / "history.jsonl").unlink()
        train(work, place)
        assert [row["step"] for row in work.history()] == list(range(1, STEPS.steps + 1))
        assert len(list(work.directory.glob("attempt-*"))) == 2


def key(place, training=None, base="b", train=("1", "2"), valid=("3",), worker="worker.py"):
    return fingerprint_of(training or cpu(), place / worker, base, train, valid)


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "worker.py").write_text("from mcqlora.train.worker import run_worker\n")
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        {"train": ("1", "4")},
        {"train": ("2", "1")},  # rows are read in the order of the shards
        {"train": ("1", "2", "3"), "valid": ()},
        {"valid": ("4",)},
        {"base": "c"},
        {"base": ""},
        {"training": cpu(rows=101 + 8)},
        {"training": cpu(layout="packed")},
        {"training": cpu(size=replace(SMALL, evaluation_batch_size=2))},  # rounds the losses of history.csv
        {"training": cpu(size=replace(SMALL, patience=3))},
        {"training": cpu(size=replace(SMALL, evaluations=12))},  # other steps have a validation loss
        {"training": cpu(size=replace(SMALL, rows=90))},
        {"training": cpu(size=replace(SMALL, workers=1, batch_size=8))},
        {"training": cpu(size=replace(SMALL, recompute=True))},  # another graph may round otherwise
        {"training": cpu(optimization=replace(OPTIMIZATION, seed=1))},
        {"training": cpu(optimization=replace(OPTIMIZATION, betas=(0.9, 0.99)))},
        {"training": cpu(lora=replace(LORA, alpha=16))},
        {"training": cpu(lora=None)},
        {"training": cpu(network=replace(TINY, theta=5e5))},
        {"training": cpu(seq_length=65)},
        {"training": replace(cpu(), pad=0)},
        {"training": replace(cpu(), name="base")},
    ],
)
def test_what_decides_a_training_is_in_the_name_of_its_folder(worker, change):
    assert key(worker, **change) != key(worker)


def test_what_comes_to_the_same_training_is_not_in_the_name_of_its_folder(worker):
    named = replace(SMALL, evaluation_interval=3, checkpoint_interval=STEPS.checkpoint_interval)
    assert plan_steps(100, named, 0.03, 5) == STEPS
    assert key(worker, cpu(size=named)) == key(worker)
    assert key(worker, cpu(size=replace(SMALL, evaluation_batch_size=4))) == key(worker)
    assert key(worker, cpu(size=replace(SMALL, rows=1_000))) == key(worker)  # there are no more than 100


def test_the_code_that_trains_is_in_the_name_of_its_folder_and_no_other(worker):
    """A training that resumes, or is shared, was made by the code that would make it now."""
    (worker / "other.py").write_text((worker / "worker.py").read_text() + "print()\n")
    assert key(worker, worker="other.py") != key(worker)
    source = TESTS.parent / "src"
    trains = {path.stem for path in closure(worker / "worker.py", source=source)}
    assert {"decoder", "step", "callbacks", "checkpoints"} <= trains
    assert not {"finetune", "pretrain", "history", "schedule", "workplace", "mindrecord", "names"} & trains


def test_versions_are_in_the_name_of_the_folder(worker, monkeypatch):
    before = key(worker)
    monkeypatch.setattr(workplace, "version", lambda name: f"another {name}")
    assert key(worker) != before
