"""What a training would take, before any of it is made: steps, parameters, tokens, hours, disk and memory.

Everything is arithmetic on row counts and on the architecture; no MindSpore, no weights. docs/plan.md has the
formulas in one table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.model.architecture import DEVICES, Architecture, Lora, Parameters
from mcqlora.model.attention import fused
from mcqlora.tokens.layout import HEADER, PAGE
from mcqlora.train import costs
from mcqlora.train.costs import SPEEDS, Run
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
    tokens_per_second: float | None  # of one device in training, padding included; None: by `costs`
    source: str  # where that number is from
    memory_gb: float | None  # of a device
    disk_gb: float | None

    @classmethod
    def of(cls, described: Json, npus: int | None, nodes: int) -> Machine:
        """Of the configuration's `plan`, and the profile's `npus` where that names no devices."""
        devices = npus if described["devices"] is None else described["devices"]
        return cls(**{**described, "devices": devices and devices * nodes})


class Asked(NamedTuple):
    """What the base and each delivered checkpoint are asked, beside the test rows themselves."""

    forms: float  # rows that a test question is asked in on average: protocols, their rotations and shots
    answers: int  # questions answered by generation, those of the reading test among them, at most
    answer_ids: int  # that an answer has, at most

    @classmethod
    def of(cls, chosen: Json, orders: Sequence[str]) -> Asked:
        """Of the configuration's `evaluate`, and the orders of the test rows: one letter per option."""
        rows = len(orders)
        turns = 1 if chosen["rotations"] == 1 else sum(map(len, orders)) / rows
        many = [turns if name in ROTATED else 1 for name in chosen["protocols"]]
        of_mcq = min(chosen["generation_items"], rows) if "generation" in chosen["protocols"] else 0
        most = max(chosen["generation_max_new_tokens"] if of_mcq else 1, chosen["squad_max_new_tokens"])
        return cls(sum(many) * len(chosen["shots"]), of_mcq + chosen["squad_items"], most)


ATTENTIONS = {"flash": True, "plain": False}  # and whether it is the fused kernel's
ROTATED = ("answer", "letter")  # protocols that ask with the options rotated as well
CHECKED = 16  # ids that a pass of generation settles at most, see `evaluate.generation.GUESSED`


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
    asked: Asked,
    attention: str = "auto",
    lora_dtype: str = "float32",
) -> Json:
    """plan.json, but for the names of the run and of its recipe.

    `vocabulary` is the tokenizer's pieces; `network.vocab_size` None means as many ids. `given` is whether
    the base comes from a Hugging Face folder.

    Raises:
        UserError: no training comes of it: too few rows, or an interval at which nothing would happen.
    """
    train, valid, packed = rows.train, rows.valid, rows.layout == "packed"
    schedule = plan_steps(train.rows, size, warmup_ratio, DELIVERED, DEVICES[device].sink_size)
    configured, network = network, replace(network, vocab_size=network.vocab_size or vocabulary)
    parameters, width = network.parameters(lora), DEVICES[device].bytes_per_weight
    unpacked = train.padded * schedule.rows // train.rows // schedule.global_batch  # steps of padded rows
    tokens = schedule.steps * schedule.global_batch * seq_length
    useful = train.ids / (train.rows * train.size)
    run = Run(
        network=network,
        lora=lora,
        size=size,
        seq_length=seq_length,
        flash=fused(attention, device, network, seq_length),
        width=width,
        lora_width=4 if lora_dtype == "float32" else width,
    )
    other = train.padded if packed else train.packed  # rows in the other layout
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
            **hours(run, device, machine, tokens, len(schedule.evaluated) * valid.rows, rows, asked),
            "other_wall": others(run, device, machine, tokens, rows.layout, other / train.rows),
        },
        "attention": "flash" if run.flash else "plain",
        "operations_per_token": costs.training(run),
        "disk_bytes": disk_bytes(parameters, width, run.lora_width, len(schedule.checkpoints), shards, given),
        "device_memory_bytes": costs.memory(run),
        "other_memory_bytes": {
            name: costs.memory(replace(run, flash=flash))["total"] for name, flash in ATTENTIONS.items()
        },
        "machine": {key: getattr(machine, key) for key in ("devices", "memory_gb", "disk_gb")},
    }
    found = notices(plan, None if packed else train.packed)
    alone = [DEVICES[device].cannot_ask(network), None if given else DEVICES[device].cannot_train(network)]
    found += [line for line in alone if line]
    refused = refusals(plan, configured, seq_length, size.tensor) + too_large(plan, run, device)
    return plan | {"refusals": refused, "notices": found}


Range = tuple[float, float]  # the least and the most


def hours(
    run: Run, device: str, machine: Machine, tokens: int, validated: int, rows: Rows, asked: Asked
) -> Json:
    """Hours of one device (NPU hours) by purpose, and those on the clock of the training, as ranges.

    `tokens` are trained on, padding included, and `validated` rows evaluated meanwhile. A measured
    `tokens_per_second` takes the place of the training's; what has no backward pass takes its share of it.
    The evaluation of the base and the delivered checkpoints: one row for each form of a test question, of a
    validation row's mean length, and for each answer, which is fed anew for each pass, from one pass for
    `CHECKED` ids to one for each.
    """
    each, once, source = rates(run, device, machine)
    mean = rows.valid.ids / max(1, rows.valid.rows)
    passes = (math.ceil(asked.answer_ids / CHECKED), asked.answer_ids)
    models = 1 + DELIVERED
    fed = [models * mean * (rows.test * asked.forms + asked.answers * many) for many in passes]
    training = [tokens * second / 3600 for second in each]
    validation = [validated * run.seq_length * second / 3600 for second in once]
    evaluation = [ids * second / 3600 for ids, second in zip(fed, once, strict=True)]
    npu = [sum(parts) for parts in zip(training, validation, strict=True)]
    return {
        "npu_training": training,
        "npu_validation": validation,
        "npu": npu,
        "wall": [value / run.size.workers for value in npu],
        "npu_evaluation": evaluation,
        "tokens_per_second": [1 / second for second in reversed(each)],
        "source": source,
    }


def rates(run: Run, device: str, machine: Machine) -> tuple[Range, Range, str]:
    """Seconds of a token in training, and in a forward pass alone, on one device; where they are from."""
    once, each = costs.forward_seconds(run, SPEEDS[device]), costs.seconds(run, SPEEDS[device])
    if machine.tokens_per_second is None:
        return each, once, f"operations counted; {SPEEDS[device].source}; not measured here"
    measured = 1 / machine.tokens_per_second
    share = sum(costs.forward(run).values()) / sum(costs.training(run).values())
    return (measured, measured), (measured * share, measured * share), machine.source


def others(run: Run, device: str, machine: Machine, tokens: int, layout: str, ratio: float) -> Json:
    """Hours on the clock with the other attention, layout of rows (`ratio` times the rows), and both.

    A measured rate changes as the counted seconds of a token do.
    """
    made, rows = {}, {layout: 1.0, "padded" if layout == "packed" else "packed": ratio}
    counted, (each, _, _) = costs.seconds(run, SPEEDS[device]), rates(run, device, machine)
    for attention, flash in ATTENTIONS.items():
        slower = zip(each, costs.seconds(replace(run, flash=flash), SPEEDS[device]), counted, strict=True)
        seconds = [second * other / own for second, other, own in slower]
        for name, times in rows.items():
            wall = [tokens * times * second / 3600 / run.size.workers for second in seconds]
            made[f"{attention}, {name}"] = wall
    return made


def too_large(plan: Json, run: Run, device: str) -> list[str]:
    """What does not fit into a device's memory, or more devices, and the cheapest change that would."""
    memory, devices = plan["machine"]["memory_gb"], plan["machine"]["devices"]
    if memory and (most := DEVICES[device].memory):
        memory = min(memory, most / GB)
    needed, there = costs.memory(run)["total"], devices or run.size.workers
    if run.size.workers > there:
        said = f"train.workers is {run.size.workers}, but there are {there} devices"
    elif memory and needed > memory * GB:
        said = f"device memory: a step takes {needed / GB:.0f} GB, there are {memory:g} of a device"
    else:
        return []
    can = fused("auto", device, run.network, run.seq_length)
    found = costs.fitting(run, (memory or math.inf) * GB, there, can)
    if found is None:
        return [f"{said}; no attention, recomputation, batch or tensor parallelism fits: take more devices"]
    change = costs.change(run, found)
    room = f", which takes {costs.memory(found)['total'] / GB:.0f} GB" if memory else ""
    return [f"{said}; set {change}{room}"]


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
    parameters: Parameters, width: int, lora_width: int, checkpoints: int, mindrecord: int, given: bool
) -> dict[str, int]:
    """Bytes that a run writes after the plan, by what they are for; "total" is the most at any moment.

    Shards; the base; "start", the copy of it that training starts from, which goes when it has ended;
    checkpoints (trained weights and two float32 moments; the last has no moments); delivered adapters; and
    the exports: adapters for PEFT, the merged network, and the base, unless it is a `given` one. Items of the
    evaluation, some kilobytes per question, are not in it. `width` is the bytes of a weight, 2 for float16,
    and `lora_width` that of one of LoRA's.
    """
    trainable, network = parameters.trainable, width * parameters.total
    start, exported = {"start": network}, {"peft": DELIVERED * lora_width * trainable, "merged": network}
    stays = {
        "mindrecord": mindrecord,
        "base": network,
        "checkpoints": checkpoints * lora_width * trainable + (checkpoints - 1) * 8 * trainable,
        "adapters": DELIVERED * lora_width * trainable,
        "exported_base": 0 if given else network,
    }
    most = sum(stays.values()) + max(sum(start.values()), sum(exported.values()))
    return stays | start | exported | {"total": most}


def refusals(plan: Json, network: Architecture, seq_length: int, tensor: int = 1) -> list[str]:
    """What would fail hours later, one line each; `network` as the configuration has it."""
    found = []
    for check, asked in (
        (network.for_tokenizer, plan["vocabulary"]["tokenizer"]),
        (network.check_parts, tensor),
    ):
        try:
            check(asked)
        except UserError as error:
            found.append(str(error))
    for part, wanted in (("train", seq_length + 1), ("valid", seq_length)):
        if (held := plan["row_length"][part]) != wanted:
            said = f"encode: {part} rows hold {held} ids, the network wants {wanted}: it slices the last one "
            found.append(said + "off in training, and not in evaluation")
    room = plan["machine"]["disk_gb"]
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
        "NPU hours": f"{span(took['npu'])} ({span(took['npu_training'])} training, "
        f"{span(took['npu_validation'])} validation), {span(took['wall'])} h on the clock",
        "  at": f"{span(took['tokens_per_second'], 0)} tokens/s per device: {took['source']}",
        **{f"  {way}": f"{span(wall)} h on the clock" for way, wall in took["other_wall"].items()},
        "evaluation": f"{span(took['npu_evaluation'])} NPU hours, of the base and {DELIVERED} checkpoints",
        "disk": f"{disk['total'] / GB:.1f} GB at most ({_parts(disk)})",
        "device memory": f"{memory['total'] / GB:.1f} GB, estimated ({_parts(memory)})",
        "  by attention": ", ".join(
            f"{name} {size / GB:.1f} GB" for name, size in plan["other_memory_bytes"].items()
        ),
    }
    width = max(map(len, lines)) + 2
    text = [f"{name:<{width}}{value}" for name, value in lines.items()]
    text += [f"note: {line}" for line in plan["notices"]] + [f"REFUSED: {line}" for line in plan["refusals"]]
    return "\n".join(text) + "\n"


def span(values: Range, digits: int = 1) -> str:
    """A range as text: one number where both ends look alike."""
    ends = [f"{value:,.{digits}f}" for value in values]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def mixed(one: Json) -> str:
    """What a file that is mixed in makes of the training, see `packing.mixed`."""
    share = f"{one['documents']:,} records, {one['share']:.1%} of all"
    return f"{share} and {one['share_of_ids']:.1%} of their ids, from {one['file']}"


def _parts(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / GB:.1f}" for name, size in sizes.items() if name != "total")
