"""Training with MindFormers: render its YAML, launch it, go on after a stop, collect what it leaves.

`render` is the one template for CPU and Ascend: `DEVICES` holds every key in which they differ.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import adapters, checkpoints, fingerprint, history, io, packing, tensorfiles
from mcqlora.errors import UserError
from mcqlora.launch import exclusive, launch, next_attempt
from mcqlora.schedule import Schedule, evenly, plan_steps

# What a CPU lacks (left), and what the report's recipe uses on Ascend (right). docs/devices.md says why.
DEVICES: dict[str, dict[str, Any]] = {
    "CPU": {
        "model": {
            "compute_dtype": "float32",
            "param_init_type": "float32",
            "use_flash_attention": False,
            "use_rope_slice": True,
            "fused_rms_norm": False,
        },
        "sink_size": 1,
        "sink_mode": False,
    },
    "Ascend": {
        "model": {
            "compute_dtype": "float16",
            "param_init_type": "float16",
            "use_flash_attention": False,  # its mask is one row's; documents are isolated in plain operators
            "use_rope_slice": False,
            "fused_rms_norm": True,
        },
        "sink_size": 2,
        "sink_mode": True,
    },
}


def sink_size(device: str) -> int:
    """Steps between two calls of the callbacks: evaluations and checkpoints fire on its multiples only."""
    return DEVICES[device]["sink_size"]


def model_config(
    network: dict, seq_length: int, batch_size: int, device: str, pad: int, eos: int, lora: dict | None
) -> dict:
    """MindFormers' `model_config` of our registered InternLM.

    `network` has the architecture (`hidden_size`, `num_layers`, `num_heads`, `n_kv_heads`,
    `intermediate_size`, `vocab_size`, `rms_norm_eps`, `theta`, `has_bias`, `init_std`); `lora` has `rank`,
    `alpha`, `dropout`, `target_modules`, or is None for full training.
    """
    config = {
        "type": "InternLMConfig",
        "batch_size": batch_size,
        "seq_length": seq_length,
        "hidden_size": network["hidden_size"],
        "num_layers": network["num_layers"],
        "num_heads": network["num_heads"],
        "n_kv_heads": network["n_kv_heads"],
        "intermediate_size": network["intermediate_size"],
        "vocab_size": network["vocab_size"],
        "rms_norm_eps": network["rms_norm_eps"],
        "theta": network["theta"],
        "has_bias": network["has_bias"],
        "init_method_std": network["init_std"],
        "bos_token_id": 1,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "ignore_token_id": -100,
        "layernorm_compute_type": "float32",
        "softmax_compute_type": "float32",
        "rotary_dtype": "float32",
        "use_past": False,
        "scaling_factor": 1.0,
        "extend_method": "None",
        "offset": 0,
        "checkpoint_name_or_path": "",
        **DEVICES[device]["model"],
    }
    if lora:
        config["pet_config"] = {
            "pet_type": "lora",
            "lora_rank": lora["rank"],
            "lora_alpha": lora["alpha"],
            "lora_dropout": lora["dropout"],
            "target_modules": lora["target_modules"],
        }
    return config


def context(device: str) -> dict[str, Any]:
    """MindFormers' `context`: graph mode on `device`."""
    return {
        "mode": 0,
        "device_target": device,
        "max_call_depth": 10000,
        "save_graphs": False,
        "device_id": 0,
    }


def _dataset(
    files: list[str],
    columns: Sequence[str],
    shuffle: bool,
    seed: int,
    drop_remainder: bool,
    rows: int | None = None,
) -> dict:
    some = {} if rows is None else {"num_samples": rows}
    return {
        "data_loader": {"type": "MindDataset", "dataset_files": files, "shuffle": shuffle, **some},
        "input_columns": list(columns),
        "num_parallel_workers": 1,
        "python_multiprocessing": False,
        "drop_remainder": drop_remainder,
        "repeat": 1,
        "numa_enable": False,
        "prefetch_size": 1,
        "seed": seed,
    }


def render(
    *,
    name: str,
    model: dict,
    schedule: Schedule,
    optimization: dict,
    workers: int,
    batch_size: int,
    epochs: int,
    train_files: list[str],
    valid_files: list[str],
    load_checkpoint: str,
    output: str,
    device: str,
    columns: Sequence[str] = packing.COLUMNS["padded"],
    rows: int | None = None,
    patience: int | None = None,
    start: int = 0,
    recompute: bool = False,
) -> dict:
    """The MindFormers YAML of one training, as a dict.

    `optimization` has `learning_rate`, `warmup_ratio`, `betas`, `eps`, `weight_decay`, `max_grad_norm`,
    `loss_scale` and `seed`. Without `valid_files` nothing is evaluated during training. `rows` limits the
    training rows to so many of a random order. `columns` are those of the training rows; validation rows are
    padded. With `start` it goes on after so many steps. With `recompute` a layer's activations are made a
    second time in the backward pass instead of kept.
    """
    train = _dataset(train_files, columns, True, optimization["seed"], True, rows)
    config = {
        "seed": optimization["seed"],
        "output_dir": output,
        "load_checkpoint": load_checkpoint,
        "src_strategy_path_or_dir": "",
        "auto_trans_ckpt": False,
        "only_save_strategy": False,
        "resume_training": start > 0,
        "use_parallel": workers > 1,
        "run_mode": "finetune",
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": name},
        "runner_config": {
            "epochs": epochs,
            "batch_size": batch_size,
            "sink_mode": DEVICES[device]["sink_mode"],
            "sink_size": DEVICES[device]["sink_size"],
        },
        "optimizer": {
            "type": "AdamW",
            "betas": list(optimization["betas"]),
            "eps": optimization["eps"],
            "weight_decay": optimization["weight_decay"],
        },
        "lr_schedule": {
            "type": "CosineWithWarmUpLR",
            "learning_rate": optimization["learning_rate"],
            "lr_end": 0,
            "warmup_ratio": optimization["warmup_ratio"],
            "total_steps": -1,
        },
        "train_dataset": train,
        "train_dataset_task": {"type": "CausalLanguageModelDataset", "dataset_config": train},
        "do_eval": bool(valid_files),
        "eval_step_interval": schedule.evaluation_interval,
        "eval_epoch_interval": -1,
        "parallel_config": {
            "data_parallel": workers,
            "model_parallel": 1,
            "pipeline_stage": 1,
            "micro_batch_num": 1,
            "vocab_emb_dp": True,
            "gradient_aggregation_group": 4,
        },
        "micro_batch_interleave_num": 1,
        "recompute_config": {"recompute": recompute},
        "callbacks": [
            {"type": "MFLossMonitor", "per_print_times": max(1, schedule.steps // 100)},
            {
                "type": "ScheduleCallback",
                "directory": output,
                "evaluations": list(schedule.evaluated) if valid_files else [],
                "checkpoints": list(schedule.checkpoints),
                "delivered": len(schedule.delivered),
                "patience": patience,
                "start": start,
            },
        ],
        "context": context(device),
        "parallel": {
            "parallel_mode": 0,  # data parallel: each worker has the whole network
            "gradients_mean": True,
            "full_batch": False,
            "enable_parallel_optimizer": False,
        },
        "model": {"model_config": model, "arch": {"type": "InternLMForCausalLM"}},
        "processor": {"return_tensors": "ms", "type": "LlamaProcessor"},
        "metric": {"type": "TokenLoss"},
        "runner_wrapper": {
            "type": "PortableTrainOneStepCell",
            "scale_sense": {
                "type": "DynamicLossScaleUpdateCell",
                "loss_scale_value": optimization["loss_scale"],
                "scale_factor": 2,
                "scale_window": 1000,
            },
            "use_clip_grad": True,
            "max_grad_norm": optimization["max_grad_norm"],
        },
    }
    if valid_files:
        evaluation = _dataset(valid_files, packing.COLUMNS["padded"], False, optimization["seed"], False)
        config["eval_dataset"] = evaluation
        config["eval_dataset_task"] = {"type": "CausalLanguageModelDataset", "dataset_config": evaluation}
    return config


def evaluation_batch(rows: int, workers: int, batch_size: int, asked: int | None = None) -> int:
    """The largest batch up to `batch_size` that divides a worker's validation rows: no ragged last batch.

    A ragged one would compile the network a second time and, in sink mode, be dropped without a word.

    Raises:
        UserError: the batch `asked` for leaves one.
    """
    share = math.ceil(rows / workers)
    if asked is not None:
        if share % asked:
            raise UserError(
                f"train.evaluation_batch_size: {share} validation rows a worker in batches of {asked} leave "
                f"{share % asked}, which would be passed over; set it to a divisor of {share}"
            )
        return asked
    return max(size for size in range(1, batch_size + 1) if share % size == 0)


def finetune(
    *,
    base: Path,
    tokenizer_path: str,
    train_files: list[str],
    valid_files: list[str],
    train_stats: list[str],
    valid_stats: list[str],
    worker: Path,
    runs: Path,
    delivered: list[Path],
    csv: Path,
    tensorboard: Path,
    config: Path,
    facts: Path,
    network: dict,
    lora: dict,
    optimization: dict,
    rows: int | None,
    workers: int,
    batch_size: int,
    epochs: int,
    evaluations: int,
    checkpoints: int,
    patience: int | None,
    evaluation_interval: int | None,
    checkpoint_interval: int | None,
    evaluation_batch_size: int | None,
    recompute: bool,
    seq_length: int,
    device: str,
    layout: packing.Layout,
    reference_template: bool,
    timeout: int,
    nodes: int,
) -> None:
    """LoRA training of `base`; writes `delivered` adapters, the loss history, the YAML and the run's facts.

    Works in `runs/<fingerprint>/`, where the fingerprint is of everything that decides the result.

    Raises:
        UserError: a shard is not as its stats say, the base is of another network, another training works
            there, or a worker failed.
    """
    from mcqlora import prompt, records, tokenizer

    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    network = network_of(base, network, seq_length)
    available = records.count_rows(train_files)
    used = min(rows or available, available)
    schedule = plan_steps(
        used,
        workers,
        batch_size,
        epochs,
        optimization["warmup_ratio"],
        evaluations,
        checkpoints,
        len(delivered),
        sink_size(device),
        evaluation_interval,
        checkpoint_interval,
        whole=used == available,
    )
    model = model_config(network, seq_length, batch_size, device, template.pad, template.eos, lora)
    encoded, checked = ([io.read_json(path) for path in stats] for stats in (train_stats, valid_stats))
    inputs = [
        io.sha256(base / "model.safetensors"),
        *records.verified(train_files, [part["sha256"] for part in encoded]),
        *records.verified(valid_files, [part["sha256"] for part in checked]),
    ]
    validated = records.count_rows(valid_files)
    batch = evaluation_batch(validated, workers, batch_size, evaluation_batch_size)
    settings = (model, optimization, workers, epochs, list(schedule), patience, batch, device)
    key = io.digest(settings, sorted(inputs), code(worker))[:16]
    with workplace(runs / key, "lora") as place:
        place.run(
            worker,
            workers,
            model=model,
            schedule=schedule,
            optimization=optimization,
            batch_size=batch_size,
            epochs=epochs,
            train_files=train_files,
            valid_files=valid_files,
            evaluation_batch=batch,
            recompute=recompute,
            base=base / "model.safetensors",
            rows=None if used == available else used,
            device=device,
            patience=patience,
            columns=packing.COLUMNS[layout],
            timeout=timeout,
            nodes=nodes,
        )
        losses = place.history()
        taken = place.taken(schedule)
        steps = evenly(taken, len(delivered))
        parameters = adapters.count(network, lora)
        for path, step in zip(delivered, steps, strict=True):
            weights = adapters.only_lora(place.checkpoint(step))
            trained = sum(value.size for value in weights.values())
            if trained != parameters["trainable"]:
                raise UserError(
                    f"train.target_modules: {trained:,} parameters were trained, not the "
                    f"{parameters['trainable']:,} counted; name the matrices (.*wq|.*wv)"
                )
            adapters.save(weights, path)
        history.write_csv(losses, csv)
        history.write_tensorboard(losses, tensorboard)
        io.write_bytes(config, place.config.read_bytes())
    useful = sum(part["ids"] for part in encoded)
    io.write_json(
        facts,
        {
            "parameters": parameters,
            "training": {
                "steps": taken[-1],
                "workers": workers,
                "tokens": taken[-1] * schedule.global_batch * seq_length,
                "useful_token_fraction": useful / sum(part["rows"] * part["size"] for part in encoded),
                "valid_rows": validated,
                "history": losses,
                "checkpoints": [
                    {"name": path.stem, "step": step} for path, step in zip(delivered, steps, strict=True)
                ],
            },
        },
        indent=True,
    )


def code(worker: Path, *others: Path) -> list[str]:
    """What decides a training besides its settings and files: our code, and the versions of what it runs on.

    Part of the name of a training's folder in `runs/`: other code does not take what this one has trained.
    `others` are files that a training of its own kind depends on, too.
    """
    versions = [version(name) for name in ("mindspore", "mindformers")]
    return [fingerprint.fingerprint(worker, Path(__file__), *others), *versions]


def network_of(base: Path, network: dict, seq_length: int) -> dict:
    """The architecture that `base` was made with.

    Raises:
        UserError: the configuration asks for another one, or for rows longer than it has positions for.
    """
    made = io.read_json(base / "config.json")
    for key, value in network.items():
        if key != "vocab_size" and made[key] != value:
            raise UserError(f"model.{key} is {value}, but {base} has {made[key]}; make them the same")
    if seq_length > made.get("max_positions", seq_length):
        raise UserError(
            f"encode.seq_length is {seq_length}, but {base} has {made['max_positions']} positions; lower it"
        )
    return made


class Workplace:
    """The directory of one training: `config.yaml`, `output/` and the logs of every attempt."""

    def __init__(self, directory: Path, name: str):
        self.directory = directory
        self.name = name
        self.config = directory / "config.yaml"
        self.output = directory / "output"

    def run(
        self,
        worker: Path,
        workers: int,
        *,
        schedule: Schedule,
        base: Path | None,
        evaluation_batch: int = 1,
        timeout: int = 300,
        nodes: int = 1,
        **settings: Any,
    ) -> None:
        """Render the YAML, with paths relative to this directory, and train `base`, or random weights.

        Goes on after the last complete checkpoint of an earlier attempt. `config.yaml` is that of the whole
        training, `resumed.yaml` that of an attempt that goes on.
        """
        import yaml

        for key in ("train_files", "valid_files"):
            settings[key] = [os.path.relpath(path, self.directory) for path in settings[key]]
        start = self._start(schedule)
        weights = self.directory / "start.ckpt" if base else None

        def rendered(start: int) -> str:
            config = render(
                name=self.name,
                workers=workers,
                output="./output",
                schedule=schedule,
                load_checkpoint=weights.name if weights else "",
                start=start,
                **settings,
            )
            if "eval_dataset" in config:
                config["eval_dataset"]["batch_size"] = evaluation_batch
            return yaml.safe_dump(config, sort_keys=False)

        io.write_text(self.config, rendered(0))
        if start == self.taken(schedule)[-1]:
            return
        if base:
            write_start(base, weights, schedule, start, settings["device"], self.output)
        config = self.config if start == 0 else self.directory / "resumed.yaml"
        io.write_text(config, rendered(start))
        attempt = next_attempt(self.directory)
        launch(worker.resolve(), config.resolve(), workers, attempt, timeout, nodes=nodes)

    def _start(self, schedule: Schedule) -> int:
        """Where to go on; what was written after it is forgotten."""
        start = checkpoints.last_complete(self.output / "checkpoints", self.taken(schedule))
        path = self.output / "history.jsonl"
        rows = [row for row in io.read_appended_jsonl(path) if row["step"] <= start]
        if start and rows and rows[-1]["step"] == start:
            io.write_jsonl(path, rows)
            return start
        shutil.rmtree(self.output, ignore_errors=True)
        return 0

    def taken(self, schedule: Schedule) -> tuple[int, ...]:
        """Steps of the training's checkpoints: the schedule's, or fewer if it has ended early."""
        last = checkpoints.stopped(self.output / "checkpoints")
        return (
            schedule.checkpoints if last is None else (*(s for s in schedule.checkpoints if s < last), last)
        )

    def history(self) -> list[dict]:
        return list(io.read_jsonl(self.output / "history.jsonl"))

    def checkpoint(self, step: int) -> dict[str, np.ndarray]:
        return adapters.read(checkpoints.file(self.output / "checkpoints", step))


def write_start(base: Path, path: Path, schedule: Schedule, start: int, device: str, output: Path) -> None:
    """The .ckpt that MindFormers loads: the base's weights, and where the training stood after `start` steps.

    Several workers can load one whole .ckpt; of safetensors MindFormers wants a file for each of them. What
    the training had changed by then is put in by `network.ScheduleCallback`.
    """
    import mindspore as ms

    stood = {}
    if start:
        size = sink_size(device)
        epoch = start // size if DEVICES[device]["sink_mode"] else math.ceil(start / schedule.steps_per_epoch)
        state = adapters.read(checkpoints.file(output / "checkpoints", start))
        stood = {"step_num": start, "epoch_num": epoch, "loss_scale": float(state["scale_sense"])}
    tensors = tensorfiles.index_safetensors(base)
    ms.save_checkpoint(
        [{"name": n, "data": ms.Tensor.from_numpy(tensorfiles.mapped(tensors[n]))} for n in sorted(tensors)],
        str(path),
        append_dict=stood or None,
    )


@contextlib.contextmanager
def workplace(directory: Path, name: str) -> Iterator[Workplace]:
    with exclusive(directory):
        yield Workplace(directory, name)
