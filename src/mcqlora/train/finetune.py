"""Training with MindFormers: render its YAML, launch it, go on after a stop, collect what it leaves.

`render` is the one template for CPU and Ascend: `DEVICES` holds every key in which they differ.
"""

from __future__ import annotations

from pathlib import Path

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import architecture
from mcqlora.model.architecture import model_config, network_of, sink_size
from mcqlora.model.weights import only_lora, save
from mcqlora.tokens import packing
from mcqlora.train import history
from mcqlora.train.mindformers_yaml import evaluation_batch
from mcqlora.train.schedule import evenly, plan_steps
from mcqlora.train.workplace import code, workplace


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
    from mcqlora.tokens import mindrecord, prompt, tokenizer

    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    network = network_of(base, network, seq_length)
    available = mindrecord.count_rows(train_files)
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
    encoded, checked = ([files.read_json(path) for path in stats] for stats in (train_stats, valid_stats))
    inputs = [
        hashing.sha256(base / "model.safetensors"),
        *mindrecord.verified(train_files, [part["sha256"] for part in encoded]),
        *mindrecord.verified(valid_files, [part["sha256"] for part in checked]),
    ]
    validated = mindrecord.count_rows(valid_files)
    batch = evaluation_batch(validated, workers, batch_size, evaluation_batch_size)
    settings = (model, optimization, workers, epochs, list(schedule), patience, batch, device)
    key = hashing.digest(settings, sorted(inputs), code(worker))[:16]
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
        parameters = architecture.count(network, lora)
        for path, step in zip(delivered, steps, strict=True):
            weights = only_lora(place.checkpoint(step))
            trained = sum(value.size for value in weights.values())
            if trained != parameters["trainable"]:
                raise UserError(
                    f"train.target_modules: {trained:,} parameters were trained, not the "
                    f"{parameters['trainable']:,} counted; name the matrices (.*wq|.*wv)"
                )
            save(weights, path)
        history.write_csv(losses, csv)
        history.write_tensorboard(losses, tensorboard)
        files.write_bytes(config, place.config.read_bytes())
    useful = sum(part["ids"] for part in encoded)
    files.write_json(
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
