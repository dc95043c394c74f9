"""The MindFormers YAML of a training, for CPU and Ascend alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mcqlora.errors import UserError
from mcqlora.model.architecture import DEVICES, context
from mcqlora.tokens import packing
from mcqlora.train.schedule import Schedule


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
