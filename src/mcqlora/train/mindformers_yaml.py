"""The MindFormers YAML of a training. A CPU's and an Ascend NPU's differ in the keys of `DEVICES` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcqlora.files import Json
from mcqlora.model.architecture import DEVICES, context
from mcqlora.model.attention import fused
from mcqlora.tokens.layout import COLUMNS, Layout
from mcqlora.train.schedule import Schedule, evaluation_batch, validation_padding
from mcqlora.train.settings import Settings

Paths = Sequence[str]
OUTPUT = "./output"  # where MindFormers writes, in the folder of the training


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What MindFormers' YAML says about a training, except for the files that it reads."""

    name: str  # in MindFormers' logs
    settings: Settings
    schedule: Schedule
    pad: int  # its id
    eos: int  # its id
    layout: Layout  # of the training rows; validation rows are padded
    valid_rows: int = 0


def render(training: Training, train: Paths, valid: Paths, load_checkpoint: str = "", start: int = 0) -> Json:
    """The MindFormers YAML of one training, as a dict.

    Without `valid` shards nothing is evaluated during training. `load_checkpoint` is what it starts from,
    random weights where that is empty. With `start` it goes on after so many steps.
    """
    settings, schedule = training.settings, training.schedule
    optimization, size, device = settings.optimization, settings.size, DEVICES[settings.device]
    dataset = _dataset(train, training.layout, optimization.seed, shuffle=True)
    if not schedule.whole:
        dataset["data_loader"]["num_samples"] = schedule.rows
    model = settings.network.model_config(
        settings.seq_length, size.batch_size, settings.device, training.pad, training.eos, settings.lora
    )
    model |= _computing(settings)
    if settings.lora:
        model["pet_config"]["param_init_type"] = settings.lora_dtype
    monitor = {"type": "MFLossMonitor", "per_print_times": max(1, schedule.steps // 100)}
    callback = {
        "type": "ScheduleCallback",
        "directory": OUTPUT,
        "evaluations": list(schedule.evaluated) if valid else [],
        "checkpoints": list(schedule.checkpoints),
        "delivered": len(schedule.delivered),
        "patience": size.patience,
        "start": start,
        "steps_per_epoch": schedule.steps_per_epoch,
    }
    scale = {"type": "DynamicLossScaleUpdateCell", "loss_scale_value": optimization.loss_scale}
    config: Json = {
        "seed": optimization.seed,
        "output_dir": OUTPUT,
        "load_checkpoint": load_checkpoint,
        "src_strategy_path_or_dir": "",
        "auto_trans_ckpt": size.divided and bool(load_checkpoint),  # it is whole: every worker takes its part
        "only_save_strategy": False,
        "resume_training": start > 0,
        "resume_by_last_timestamp_ckpt": True,  # there is one, which no record of MindFormers' own names
        "use_parallel": size.workers > 1,
        "run_mode": "finetune",
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": training.name},
        "runner_config": {
            "epochs": size.epochs,
            "batch_size": size.batch_size,
            "sink_mode": device.sink_mode,
            "sink_size": device.sink_size,
        },
        "optimizer": {
            "type": "AdamW",
            "betas": list(optimization.betas),
            "eps": optimization.eps,
            "weight_decay": optimization.weight_decay,
        },
        "lr_schedule": {
            "type": "CosineWithWarmUpLR",
            "learning_rate": optimization.learning_rate,
            "lr_end": 0,
            "warmup_ratio": optimization.warmup_ratio,
            "total_steps": -1,
        },
        "train_dataset": dataset,
        "train_dataset_task": {"type": "CausalLanguageModelDataset", "dataset_config": dataset},
        "do_eval": bool(valid),
        "eval_step_interval": schedule.evaluation_interval,
        "eval_epoch_interval": -1,
        "parallel_config": {
            "data_parallel": size.replicas,
            "model_parallel": size.tensor,
            "pipeline_stage": 1,
            "micro_batch_num": 1,
            "vocab_emb_dp": True,
            "gradient_aggregation_group": 4,
        },
        "micro_batch_interleave_num": 1,
        "recompute_config": {"recompute": size.recompute},
        "callbacks": [monitor, callback],
        "context": context(settings.device),
        "parallel": {
            # 0, data parallel: each worker has the whole network; 1, semi-automatic: MindSpore divides it.
            "parallel_mode": 1 if size.divided else 0,
            "gradients_mean": not size.divided,  # there each gradient is already that of the whole batch
            "full_batch": False,
            "dataset_strategy": [[size.replicas, 1] for _ in COLUMNS[training.layout]],  # a share for each
            "enable_parallel_optimizer": size.shard_optimizer,
        },
        "model": {"model_config": model, "arch": {"type": "InternLMForCausalLM"}},
        "processor": {"return_tensors": "ms", "type": "LlamaProcessor"},
        "metric": {"type": "TokenLoss"},
        "runner_wrapper": {
            "type": "PortableTrainOneStepCell",
            "scale_sense": scale | {"scale_factor": 2, "scale_window": 1000},
            "use_clip_grad": True,
            "max_grad_norm": optimization.max_grad_norm,
        },
    }
    if size.divided:
        config["load_ckpt_format"] = "safetensors"  # of which MindFormers reads each worker's part alone
        # What MindSpore has not written down how it divides, is not read: the frozen base by default.
        config["parallel"]["strategy_ckpt_config"] = {"only_trainable_params": False}
    if valid:
        batch = evaluation_batch(training.valid_rows, size)
        padding = validation_padding(training.valid_rows, size.replicas, batch)
        row = {"input_ids": training.pad, "labels": model["ignore_token_id"]}
        evaluated = _dataset(valid, "padded", optimization.seed, shuffle=False) | {
            "planned_batch_size": batch,
            "padding": {"rows": padding, "length": settings.seq_length, **row},
        }
        config["eval_dataset"] = evaluated
        config["eval_dataset_task"] = {"type": "ValidationRows", "dataset_config": evaluated}
    return config


def _computing(settings: Settings) -> Json:
    """The keys of `model_config` for attention, and for the numbers that the network computes in."""
    flash = fused(settings.attention, settings.device, settings.network, settings.seq_length)
    kind = settings.dtype and {"compute_dtype": settings.dtype, "param_init_type": settings.dtype}
    return {"use_flash_attention": flash} | (kind or {})


def _dataset(files: Paths, layout: Layout, seed: int, shuffle: bool) -> Json:
    """Rows of shards; those that are shuffled are trained on, without a partial batch."""
    return {
        "data_loader": {"type": "MindDataset", "dataset_files": list(files), "shuffle": shuffle},
        "input_columns": list(COLUMNS[layout]),
        "num_parallel_workers": 1,
        "python_multiprocessing": False,
        "drop_remainder": shuffle,
        "repeat": 1,
        "numa_enable": False,
        "prefetch_size": 1,
        "seed": seed,
    }
