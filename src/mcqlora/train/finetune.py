"""LoRA training of a base: check what it takes, train, and deliver what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mcqlora import files, hashing
from mcqlora.errors import UserError
from mcqlora.model import weights
from mcqlora.model.architecture import DEVICES
from mcqlora.tokens import mindrecord, prompt, tokenizer
from mcqlora.tokens.layout import Layout
from mcqlora.train import history
from mcqlora.train.mindformers_yaml import Training
from mcqlora.train.schedule import evenly, plan_steps
from mcqlora.train.settings import Settings
from mcqlora.train.workplace import Launch, fingerprint_of, workplace


@dataclass(frozen=True, slots=True)
class Shards:
    """The MindRecord shards of a part, in order, and the JSON of each: `packing.shard_summary`, `sha256`."""

    files: Sequence[str]
    stats: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a training delivers."""

    adapters: Sequence[Path]  # in the order of their steps
    csv: Path  # losses
    tensorboard: Path  # losses
    config: Path  # MindFormers' YAML
    facts: Path  # training.json


def finetune(
    *,
    base: Path,
    tokenizer_path: str,
    template: str | None,
    layout: Layout,
    train: Shards,
    valid: Shards,
    settings: Settings,
    launch: Launch,
    outputs: Outputs,
) -> None:
    """Train LoRA on `base`, the weights of `settings.network`; write `outputs`.

    It works in `runs/<fingerprint>/`, see `workplace.fingerprint_of`.

    Raises:
        UserError: a shard is not as its stats say, another training works there, or a worker failed.
    """
    turns = prompt.template(tokenizer.load(tokenizer_path), template)
    size, delivered = settings.size, len(outputs.adapters)
    available, validated = mindrecord.count_rows(train.files), mindrecord.count_rows(valid.files)
    warmup, sink = settings.optimization.warmup_ratio, DEVICES[settings.device].sink_size
    schedule = plan_steps(available, size, warmup, delivered, sink)
    encoded, checked = ([files.read_json(path) for path in part.stats] for part in (train, valid))
    start = base / "model.safetensors"
    settings.network.check_parts(size.tensor)
    settings = replace(settings, dtype=weights.computes_in(start, settings.device))
    inputs = (
        hashing.sha256(start),
        mindrecord.verified(train.files, [part["sha256"] for part in encoded]),
        mindrecord.verified(valid.files, [part["sha256"] for part in checked]),
    )
    training = Training(
        name="lora",
        settings=settings,
        schedule=schedule,
        pad=turns.pad,
        eos=turns.eos,
        layout=layout,
        valid_rows=validated,
    )
    parameters = settings.network.parameters(settings.lora)
    with workplace(launch.runs / fingerprint_of(training, launch.worker, *inputs)) as place:
        taken = place.run(training, launch, start, train.files, valid.files)
        named = list(zip(outputs.adapters, evenly(taken, delivered), strict=True))
        for path, step in named:
            adapter = weights.only_lora(place.checkpoint(step))
            trained = sum(value.size for value in adapter.values())
            if trained != parameters.trainable:
                said = f"{trained:,} parameters were trained, not the {parameters.trainable:,} counted"
                raise UserError(f"train.target_modules: {said}; name the matrices (.*wq|.*wv)")
            weights.save(adapter, path)
        losses = place.history()
        history.write_csv(losses, outputs.csv)
        history.write_tensorboard(losses, outputs.tensorboard)
        files.write_bytes(outputs.config, place.config.read_bytes())
    cells = sum(part["rows"] * part["size"] for part in encoded)
    made = {
        "steps": taken[-1],
        "workers": size.workers,
        "tokens": taken[-1] * schedule.global_batch * settings.seq_length,
        "useful_token_fraction": sum(part["ids"] for part in encoded) / cells,
        "valid_rows": validated,
        "history": losses,
        "checkpoints": [{"name": path.stem, "step": step} for path, step in named],
    }
    files.write_json(outputs.facts, {"parameters": asdict(parameters), "training": made}, indent=True)
