"""What a training would take, before any of it is made: steps, parameters, tokens, hours, disk and memory.

Everything is arithmetic on row counts and on the architecture; no MindSpore, no weights. docs/plan.md has the
formulas in one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import NamedTuple

from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.model.architecture import DEVICES, Architecture, Lora, Parameters
from mcqlora.tokens.layout import HEADER, PAGE
from mcqlora.train.schedule import evaluation_batch, plan_steps
from mcqlora.train.settings import Size

DELIVERED = 5  # checkpoints
GB = 1e9


class Part(NamedTuple):
    """A part as rows of a fixed size: what the network will see of it."""

    rows: int
    size: int  # ids of a row
    ids: int  # that are no padding, of all rows
    longest: int  # ids of the longest record, whether it got into a row or not
    dropped: int  # records that are in no row
    padded: int  # rows it would take with one record per row
    packed: int  # rows it would take packed

    @classmethod
    def of(cls, summary: Json) -> Part:
        """One part of packing.json."""
        layout, size, padded = summary["layout"], summary["size"], summary["padded"]["rows"]
        rows, useful = summary[layout]["rows"], summary[layout]["useful_fraction"]
        dropped = summary["documents"] - padded if layout == "padded" else summary["dropped"]
        ids = round(useful * rows * size)
        return cls(rows, size, ids, summary["longest"], dropped, padded, summary["packed"]["rows"])


class Rows(NamedTuple):
    """What there is to train on and to be asked."""

    train: Part
    valid: Part
    test: int  # rows
    layout: str  # of the training rows
    shards: int  # of the training part; validation has one
    mix: list[Json]  # of each file that is mixed in, see `packing.mixed`

    @classmethod
    def of(cls, packing: Json, test: int, shards: int) -> Rows:
        """From packing.json, see `packing.summary`."""
        train, valid = (Part.of(packing[part]) for part in ("train", "valid"))
        whole = packing["train"]
        return cls(train, valid, test, whole["layout"], shards, whole.get("mix", []))


class Machine(NamedTuple):
    """What a training is to run on; None where it is not known."""

    devices: int | None
    tokens_per_second: float  # of one device, padding included
    source: str  # where that number is from
    memory_gb: float | None  # of a device
    disk_gb: float | None

    @classmethod
    def of(cls, described: Json, npus: int | None, nodes: int) -> Machine:
        """Of the configuration's `plan`, and the profile's `npus` where that names no devices."""
        devices = npus if described["devices"] is None else described["devices"]
        return cls(**{**described, "devices": devices and devices * nodes})


def reckon(
    *,
    rows: Rows,
    vocabulary: int,
    network: Architecture,
    lora: Lora,
    size: Size,
    warmup_ratio: float,
    seq_length: int,
    device: str,
    machine: Machine,
    given: bool,
) -> Json:
    """plan.json, but for the names of the run and of its recipe.

    `vocabulary` is the tokenizer's pieces; `network.vocab_size` None means as many ids. `given` is whether
    the base comes from a Hugging Face folder.

    Raises:
        UserError: no training comes of it: too few rows, or an interval at which nothing would happen.
    """
    train, valid, packed = rows.train, rows.valid, rows.layout == "packed"
    schedule = plan_steps(train.rows, size, warmup_ratio, DELIVERED, DEVICES[device].sink_size)
    asked, network = network, replace(network, vocab_size=network.vocab_size or vocabulary)
    parameters, width = network.parameters(lora), DEVICES[device].bytes_per_weight
    unpacked = train.padded * schedule.rows // train.rows // schedule.global_batch  # steps of padded rows
    tokens = schedule.steps * schedule.global_batch * seq_length
    useful = train.ids / (train.rows * train.size)
    rate = machine.tokens_per_second
    training = tokens / rate / 3600
    # Half a token each: of a LoRA step's two passes, forward and backward to the activations (frozen weights
    # have no gradient), validation has the first. Evaluation of the test is not in it.
    validation = len(schedule.evaluated) * valid.rows * seq_length / 2 / rate / 3600
    npu = training + validation
    shards = mindrecord_bytes(train, vocabulary, rows.shards, packed) + mindrecord_bytes(valid, vocabulary, 1)
    plan = {
        "layout": rows.layout,
        "device": device,
        "workers": size.workers,
        "global_batch": schedule.global_batch,
        "rows": {"train": schedule.rows, "valid": valid.rows, "test": rows.test},
        "row_length": {"train": train.size, "valid": valid.size},
        "dropped": {"train": train.dropped, "valid": valid.dropped},
        "longest": {"train": train.longest, "valid": valid.longest},
        **({"mix": rows.mix} if rows.mix else {}),
        "epochs": size.epochs,
        "steps_per_epoch": schedule.steps_per_epoch,
        "steps": schedule.steps,
        "warmup_steps": schedule.warmup,
        "evaluation_interval": schedule.evaluation_interval,
        "evaluations": list(schedule.evaluations),
        "evaluation_at_end": schedule.evaluated[-1],
        "evaluated": list(schedule.evaluated),
        "evaluation_batch": evaluation_batch(valid.rows, size),
        "checkpoint_interval": schedule.checkpoint_interval,
        "checkpoints": list(schedule.checkpoints),
        "delivered": list(schedule.delivered),
        "parameters": asdict(parameters),
        "vocabulary": {"tokenizer": vocabulary, "network": network.vocab_size},
        "tokens": {"total": tokens, "useful": round(tokens * useful), "useful_fraction": useful},
        "epoch_speedup_over_padding": unpacked / schedule.steps_per_epoch,
        "hours": {
            "npu_training": training,
            "npu_validation": validation,
            "npu": npu,
            "wall": npu / size.workers,
            "tokens_per_second": rate,
            "source": machine.source,
        },
        "disk_bytes": disk_bytes(parameters, width, len(schedule.checkpoints), shards, given),
        "device_memory_bytes": memory_bytes(network, lora, size, seq_length, width),
        "machine": {key: getattr(machine, key) for key in ("devices", "memory_gb", "disk_gb")},
    }
    found = notices(plan, None if packed else train.packed)
    return plan | {"refusals": refusals(plan, asked, seq_length), "notices": found}


def mindrecord_bytes(part: Part, vocabulary: int, shards: int, packed: bool = False) -> int:
    """Bytes of a part's shards and their indexes, at most.

    MindRecord stores a number in 1, 2 or 4 bytes, as it needs, and a quarter for which (measured with
    MindSpore 2.9.0, see tests/unit/test_plan.py): padding, ignored labels and documents' numbers take 1. Rows
    stand whole in pages; the index has about 45 bytes per row.
    """
    width = 1 if vocabulary <= 1 << 7 else 2 if vocabulary <= 1 << 15 else 4
    useful, cells = 2 * part.ids, (3 if packed else 2) * part.rows * part.size
    raw = useful * (width + 0.25) + (cells - useful) * 1.25
    return round(shards * (HEADER + PAGE) + 1.04 * raw + 45 * part.rows)


def disk_bytes(
    parameters: Parameters, width: int, checkpoints: int, mindrecord: int, given: bool
) -> dict[str, int]:
    """Bytes that a run writes after the plan, by what they are for; "total" is the most at any moment.

    Shards; the base; "start", the copy of it that training starts from, which goes when it has ended;
    checkpoints (trained weights and two float32 moments; the last has no moments); delivered adapters; and
    the exports: adapters for PEFT, the merged network, and the base, unless it is a `given` one. Items of the
    evaluation, some kilobytes per question, are not in it. `width` is the bytes of a weight: 2 for float16.
    """
    trainable, network = parameters.trainable, width * parameters.total
    start, exported = {"start": network}, {"peft": DELIVERED * width * trainable, "merged": network}
    stays = {
        "mindrecord": mindrecord,
        "base": network,
        "checkpoints": checkpoints * width * trainable + (checkpoints - 1) * 8 * trainable,
        "adapters": DELIVERED * width * trainable,
        "exported_base": 0 if given else network,
    }
    most = sum(stays.values()) + max(sum(start.values()), sum(exported.values()))
    return stays | start | exported | {"total": most}


def memory_bytes(
    network: Architecture, lora: Lora, size: Size, seq_length: int, width: int
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
    parameters = network.parameters(lora)
    tokens, hidden, layers = size.batch_size * seq_length, network.hidden_size, network.num_layers
    layer = tokens * (
        8 * hidden
        + 2 * width * sum(inputs for inputs, _ in network.tuned(lora))
        + 3 * width * hidden
        + (4 + width) * network.num_heads * seq_length
        + 3 * width * network.intermediate_size
    )
    made = {
        "weights": width * (parameters.total + parameters.trainable),
        "optimizer": 8 * parameters.trainable,
        "gradients": width * parameters.trainable,
        "activations": layers * tokens * width * hidden + layer if size.recompute else layers * layer,
        "logits": tokens * network.vocabulary * (width + 12),
    }
    return made | {"total": sum(made.values())}


def refusals(plan: Json, network: Architecture, seq_length: int) -> list[str]:
    """What would fail hours later, one line each; `network` as the configuration has it."""
    found = []
    try:
        network.for_tokenizer(plan["vocabulary"]["tokenizer"])
    except UserError as error:
        found.append(str(error))
    for part, wanted in (("train", seq_length + 1), ("valid", seq_length)):
        if (held := plan["row_length"][part]) != wanted:
            said = f"encode: {part} rows hold {held} ids, the network wants {wanted}: it slices the last one "
            found.append(said + "off in training, and not in evaluation")
    devices, room = plan["machine"]["devices"], plan["machine"]["disk_gb"]
    if devices is not None and plan["workers"] > devices:
        found.append(f"train.workers is {plan['workers']}, but there are {devices} devices; lower it")
    return found if room is None else found + disk_refusals(plan, room * GB)


def disk_refusals(plan: Json, free: float) -> list[str]:
    """The same of a disk with so many free bytes."""
    needed = plan["disk_bytes"]["total"]
    said = f"disk: {needed / GB:.1f} GB are needed, {free / GB:.1f} GB are free; make room"
    return [said] if needed > free else []


def notices(plan: Json, packable: int | None) -> list[str]:
    """What fails nothing but is worth knowing; `packable` is the rows that packing would make of padded."""
    found = []
    for part, dropped in plan["dropped"].items():
        if dropped:
            found.append(f"{dropped} {part} records are longer than a row and left out (encode.on_long)")
    found += [
        f"{one['long']} records of {one['file']} are among the {plan['dropped']['train']} left out"
        for one in plan.get("mix", [])
        if one["long"] and plan["dropped"]["train"]
    ]
    shorter = plan["steps_per_epoch"] / max(1, packable // plan["global_batch"]) if packable else 1
    if shorter >= 2:
        padding = f"{1 - plan['tokens']['useful_fraction']:.1%} of the compute is padding"
        would = f"packed, an epoch would be {shorter:.2f} times shorter (encode.layout: packed)"
        found.append(f"{padding}: {would}")
    memory, device = plan["device_memory_bytes"]["total"], plan["machine"]["memory_gb"]
    if device and memory > device * GB:
        said = f"a step is estimated at {memory / GB:.0f} GB, a device has {device:g} GB"
        found.append(f"{said}: set train.recompute, or lower train.batch_size")
    return found


def table(plan: Json) -> str:
    """The plan as text for a terminal, one fact per line, refusals last."""
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
        **({"mixed in": "; ".join(map(mixed, plan["mix"]))} if "mix" in plan else {}),
        "row length": f"{size['train']:,} train, {size['valid']:,} valid",
        "steps per epoch": f"{plan['steps_per_epoch']:,} of {plan['global_batch']} rows",
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
        "  at": f"{took['tokens_per_second']:,} tokens/s per device: {took['source']}",
        "disk": f"{disk['total'] / GB:.1f} GB at most ({_parts(disk)})",
        "device memory": f"{memory['total'] / GB:.1f} GB, estimated ({_parts(memory)})",
    }
    width = max(map(len, lines)) + 2
    text = [f"{name:<{width}}{value}" for name, value in lines.items()]
    text += [f"note: {line}" for line in plan["notices"]] + [f"REFUSED: {line}" for line in plan["refusals"]]
    return "\n".join(text) + "\n"


def mixed(one: Json) -> str:
    """What a file that is mixed in makes of the training, see `packing.mixed`."""
    share = f"{one['documents']:,} records, {one['share']:.1%} of all"
    return f"{share} and {one['share_of_ids']:.1%} of their ids, from {one['file']}"


def _parts(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / GB:.1f}" for name, size in sizes.items() if name != "total")
