"""What a training would take, before any of it is made: steps, parameters, tokens, hours, disk and memory.

Everything is arithmetic on row counts and on the architecture; no MindSpore, no weights. docs/plan.md has the
formulas in one table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcqlora.errors import UserError
from mcqlora.model import architecture
from mcqlora.model.architecture import DEVICES, count, sink_size
from mcqlora.tokens import mindrecord, tokenizer
from mcqlora.train.mindformers_yaml import evaluation_batch
from mcqlora.train.schedule import plan_steps

DELIVERED = 5  # checkpoints
GB = 1e9


class Part(NamedTuple):
    """A part as rows of a fixed size: what the network will see of it."""

    rows: int
    size: int  # ids of a row
    ids: int  # that are no padding, of all rows
    longest: int  # ids of the longest record, whether it got into a row or not
    dropped: int  # records that are in no row
    padded: int  # rows it would take with a row a record
    packed: int  # rows it would take packed

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Part:
        """One part of packing.json."""
        own, padded = summary[summary["layout"]], summary["padded"]["rows"]
        kept = padded if summary["layout"] == "padded" else summary["documents"] - summary["dropped"]
        return cls(
            rows=own["rows"],
            size=summary["size"],
            ids=round(own["useful_fraction"] * own["rows"] * summary["size"]),
            longest=summary["longest"],
            dropped=summary["documents"] - kept,
            padded=padded,
            packed=summary["packed"]["rows"],
        )


def reckon(
    *,
    run: str,
    recipe: str,
    layouts: Mapping[str, Any],
    test: int,
    vocabulary: int,
    network: Mapping[str, Any],
    lora: Mapping[str, Any],
    device: str,
    seq_length: int,
    shards: int,
    rows: int | None,
    workers: int,
    batch_size: int,
    epochs: int,
    warmup_ratio: float,
    evaluations: int,
    checkpoints: int,
    evaluation_interval: int | None,
    checkpoint_interval: int | None,
    evaluation_batch_size: int | None,
    recompute: bool,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """plan.json.

    Args:
        layouts: packing.json, see `packing.summary`.
        test: rows of the test part.
        vocabulary: pieces of the tokenizer; `network["vocab_size"]` is the network's, None for as many.
        shards: MindRecord shards of the training part; validation has one.
        machine: `devices`, `tokens_per_second` (a device, padding included) with its `source`, `memory_gb` of
            a device and `disk_gb`, each null when not known.

    Raises:
        UserError: no training comes of it: too few rows, an interval at which nothing would happen, a
            validation batch that leaves a ragged last one.
    """
    train, valid = (Part.of(layouts[part]) for part in ("train", "valid"))
    layout = layouts["train"]["layout"]
    used = min(rows or train.rows, train.rows)
    steps = plan_steps(
        used,
        workers,
        batch_size,
        epochs,
        warmup_ratio,
        evaluations,
        checkpoints,
        DELIVERED,
        sink_size(device),
        evaluation_interval,
        checkpoint_interval,
        whole=used == train.rows,
    )
    unpacked = train.padded * used // train.rows // steps.global_batch  # steps of an epoch, a row a record
    architecture = dict(network) | {"vocab_size": network["vocab_size"] or vocabulary}
    parameters = count(architecture, lora)
    tokens = steps.steps * steps.global_batch * seq_length
    useful_fraction = train.ids / (train.rows * train.size)
    width = 2 if DEVICES[device]["model"]["param_init_type"] == "float16" else 4
    plan = {
        "run": run,
        "recipe": recipe,
        "layout": layout,
        "device": device,
        "workers": workers,
        "global_batch": steps.global_batch,
        "rows": {"train": used, "valid": valid.rows, "test": test},
        "row_length": {"train": train.size, "valid": valid.size},
        "dropped": {"train": train.dropped, "valid": valid.dropped},
        "longest": {"train": train.longest, "valid": valid.longest},
        "epochs": epochs,
        "steps_per_epoch": steps.steps_per_epoch,
        "steps": steps.steps,
        "warmup_steps": steps.warmup,
        "evaluation_interval": steps.evaluation_interval,
        "evaluations": list(steps.evaluations),
        "evaluation_at_end": steps.evaluated[-1],
        "evaluated": list(steps.evaluated),
        "evaluation_batch": evaluation_batch(valid.rows, workers, batch_size, evaluation_batch_size),
        "checkpoint_interval": steps.checkpoint_interval,
        "checkpoints": list(steps.checkpoints),
        "delivered": list(steps.delivered),
        "parameters": parameters,
        "vocabulary": {"tokenizer": vocabulary, "network": architecture["vocab_size"]},
        "tokens": {
            "total": tokens,
            "useful": round(tokens * useful_fraction),
            "useful_fraction": useful_fraction,
        },
        "epoch_speedup_over_padding": unpacked / steps.steps_per_epoch,
        "hours": hours(
            tokens, len(steps.evaluated) * valid.rows * seq_length, workers, machine["tokens_per_second"]
        )
        | {key: machine[key] for key in ("tokens_per_second", "source")},
        "disk_bytes": disk_bytes(
            parameters,
            width,
            len(steps.checkpoints),
            mindrecord_bytes(train, vocabulary, shards, layout == "packed")
            + mindrecord_bytes(valid, vocabulary, 1),
        ),
        "device_memory_bytes": memory_bytes(
            architecture, lora, parameters, batch_size, seq_length, width, recompute
        ),
        "machine": {key: machine[key] for key in ("devices", "memory_gb", "disk_gb")},
    }
    return plan | {
        "refusals": refusals(plan, seq_length),
        "notices": notices(plan, None if layout == "packed" else train.packed),
    }


def hours(tokens: int, validation_tokens: int, workers: int, tokens_per_second: float) -> dict[str, float]:
    """Hours of a training whose devices take `tokens_per_second` each; evaluation of the test is not in it.

    A token of validation counts half: of the two passes of a LoRA step, forward and backward to the
    activations (frozen weights have no gradient), it has the first.
    """
    training = tokens / tokens_per_second / 3600
    validation = validation_tokens / 2 / tokens_per_second / 3600
    return {
        "npu_training": training,
        "npu_validation": validation,
        "npu": training + validation,
        "wall": (training + validation) / workers,
    }


def mindrecord_bytes(part: Part, vocabulary: int, shards: int, packed: bool = False) -> int:
    """Bytes of a part's shards and their indexes, at most.

    MindRecord stores a number in 1, 2 or 4 bytes, as it needs, and a quarter for which (measured with
    MindSpore 2.7.0, see tests/unit/test_plan.py): padding, ignored labels and documents' numbers take 1. Rows
    stand whole in pages; the index has about 45 bytes a row.
    """
    width = 1 if vocabulary <= 1 << 7 else 2 if vocabulary <= 1 << 15 else 4
    useful, cells = 2 * part.ids, (3 if packed else 2) * part.rows * part.size
    raw = useful * (width + 0.25) + (cells - useful) * 1.25
    return round(shards * (mindrecord.HEADER + mindrecord.PAGE) + 1.04 * raw + 45 * part.rows)


def disk_bytes(
    parameters: Mapping[str, int], width: int, checkpoints: int, mindrecord: int
) -> dict[str, int]:
    """Bytes that a run writes after the plan: shards, the base and the copy that training starts from,
    checkpoints (trained weights and two float32 moments; the last has no moments), delivered adapters.

    `width` is the bytes of a weight: 2 for float16.
    """
    trainable = parameters["trainable"]
    made = {
        "mindrecord": mindrecord,
        "base": 2 * width * parameters["total"],
        "checkpoints": checkpoints * width * trainable + (checkpoints - 1) * 8 * trainable,
        "adapters": DELIVERED * width * trainable,
    }
    return made | {"total": sum(made.values())}


def memory_bytes(
    network: Mapping[str, Any],
    lora: Mapping[str, Any],
    parameters: Mapping[str, int],
    batch: int,
    seq_length: int,
    width: int,
    recompute: bool,
) -> dict[str, int]:
    """Bytes on a device in a training step, an estimate.

    Weights; of what is trained two float32 moments and a gradient; and what the backward pass needs of the
    forward pass. With frozen weights that is, of a token and a layer, where e is `width`, h the hidden width,
    F the feed-forward width, a the heads and s the tokens of a row: both norms' inputs in float32 (8 h); of
    each tuned projection its dropped input and mask (2 e times its inputs); queries, keys and values of all
    heads (3 e h); the attention weights in float32 and in e bytes ((4 + e) a s), as attention runs in plain
    operators; three of the feed-forward's (3 e F). With recomputation a layer's input (e h) is kept, and all
    the rest of one layer at a time. Of the head: logits in e bytes and in float32, their log-softmax and
    their gradient ((e + 12) V). Counted as in Korthikanti et al. 2022, arXiv 2205.05198, section 4.
    """
    tokens, hidden = batch * seq_length, network["hidden_size"]
    layer = tokens * (
        8 * hidden
        + 2 * width * sum(inputs for inputs, _ in architecture.tuned(network, lora))
        + 3 * width * hidden
        + (4 + width) * network["num_heads"] * seq_length
        + 3 * width * network["intermediate_size"]
    )
    layers = network["num_layers"]
    made = {
        "weights": width * (parameters["total"] + parameters["trainable"]),
        "optimizer": 8 * parameters["trainable"],
        "gradients": width * parameters["trainable"],
        "activations": layers * tokens * width * hidden + layer if recompute else layers * layer,
        "logits": tokens * network["vocab_size"] * (width + 12),
    }
    return made | {"total": sum(made.values())}


def refusals(plan: Mapping[str, Any], seq_length: int, free: float | None = None) -> list[str]:
    """What would fail hours later, a line each.

    `free` is the disk's free bytes where the plan does not say how much there is.
    """
    found = []
    pieces, ids = plan["vocabulary"]["tokenizer"], plan["vocabulary"]["network"]
    try:
        tokenizer.network_vocabulary(pieces, ids)
    except UserError as error:
        found.append(str(error))
    for part, wanted in (("train", seq_length + 1), ("valid", seq_length)):
        if plan["row_length"][part] != wanted:
            found.append(
                f"encode: {part} rows hold {plan['row_length'][part]} ids, the network wants {wanted}: it "
                "slices the last one off in training, and not in evaluation"
            )
    devices = plan["machine"]["devices"]
    if devices is not None and plan["workers"] > devices:
        found.append(f"train.workers is {plan['workers']}, but there are {devices} devices; lower it")
    room = plan["machine"]["disk_gb"] and plan["machine"]["disk_gb"] * GB
    room = free if room is None else room
    needed = plan["disk_bytes"]["total"]
    if room is not None and needed > room:
        found.append(f"disk: {needed / GB:.1f} GB are needed, {room / GB:.1f} GB are free; make room")
    return found


def notices(plan: Mapping[str, Any], packable: int | None) -> list[str]:
    """What fails nothing but is worth knowing, a line each.

    `packable` is the rows that packing would make of padded training rows.
    """
    found = []
    for part, dropped in plan["dropped"].items():
        if dropped:
            found.append(f"{dropped} {part} records are longer than a row and left out (encode.on_long)")
    if packable:
        shorter = plan["steps_per_epoch"] / max(1, packable // plan["global_batch"])
        if shorter >= 2:
            found.append(
                f"{1 - plan['tokens']['useful_fraction']:.1%} of the compute is padding: packed, an epoch "
                f"would be {shorter:.2f} times shorter (encode.layout: packed)"
            )
    share, batch = math.ceil(plan["rows"]["valid"] / plan["workers"]), plan["evaluation_batch"]
    if share * plan["workers"] != plan["rows"]["valid"]:
        extra = share * plan["workers"] - plan["rows"]["valid"]
        found.append(f"{extra} validation rows count twice, so that all workers have as many")
    if batch == 1 and share > 1:
        found.append(f"validation goes row by row: {share} rows a worker have no divisor up to a batch")
    memory, device = plan["device_memory_bytes"]["total"], plan["machine"]["memory_gb"]
    if device and memory > device * GB:
        found.append(
            f"a step is estimated at {memory / GB:.0f} GB, a device has {device:g} GB: set train.recompute, "
            "or lower train.batch_size"
        )
    return found


def table(plan: Mapping[str, Any]) -> str:
    """The plan as text for a terminal, a fact a line, refusals last."""
    rows, size, took = plan["rows"], plan["row_length"], plan["hours"]
    disk, memory = plan["disk_bytes"], plan["device_memory_bytes"]
    parts = [f"{rows[part]:,} {part}" for part in ("train", "valid", "test")]
    parameters, tokens = plan["parameters"], plan["tokens"]
    every = f"every {plan['evaluation_interval']:,} steps"
    if more := sorted({*plan["evaluated"]} - {*plan["evaluations"]}):
        every += f", and with checkpoints at {' / '.join(f'{step:,}' for step in more)}"
    lines = {
        "run": f"{plan['run']} ({plan['recipe']}) on {plan['workers']} x {plan['device']}",
        "rows": ", ".join(parts) + f"; {plan['layout']}",
        "row length": f"{size['train']:,} train, {size['valid']:,} valid",
        "steps an epoch": f"{plan['steps_per_epoch']:,} of {plan['global_batch']} rows",
        "steps": f"{plan['steps']:,} in {plan['epochs']} epochs, {plan['warmup_steps']:,} of them warm-up",
        "evaluations": f"{len(plan['evaluations'])}, {every}",
        "checkpoints": f"{len(plan['checkpoints'])}, every {plan['checkpoint_interval']:,} steps",
        "delivered": " / ".join(f"{step:,}" for step in plan["delivered"]),
        "parameters": f"{parameters['trainable']:,} trainable of {parameters['total']:,}, "
        f"ratio {parameters['ratio']:.5f}",
        "tokens": f"{tokens['total']:,}, {tokens['useful_fraction']:.1%} of them useful",
        "epoch": f"{plan['epoch_speedup_over_padding']:.2f} times shorter than padded"
        if plan["layout"] == "packed"
        else "as long as padded: it is padded",
        "NPU hours": f"{took['npu']:.1f} ({took['npu_training']:.1f} training, {took['npu_validation']:.1f} "
        f"validation), {took['wall']:.1f} h on the clock",
        "  at": f"{took['tokens_per_second']:,} tokens/s a device: {took['source']}",
        "disk": f"{disk['total'] / GB:.1f} GB ({_parts(disk)})",
        "device memory": f"{memory['total'] / GB:.1f} GB, estimated ({_parts(memory)})",
    }
    width = max(map(len, lines)) + 2
    text = [f"{name:<{width}}{value}" for name, value in lines.items()]
    text += [f"note: {line}" for line in plan["notices"]] + [f"REFUSED: {line}" for line in plan["refusals"]]
    return "\n".join(text) + "\n"


def _parts(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / GB:.1f}" for name, size in sizes.items() if name != "total")
