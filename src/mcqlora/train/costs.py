"""What a network's passes cost: operations and bytes by part, by arithmetic (docs/plan.md has the formulas).

Counted as in Korthikanti et al. 2022, arXiv 2205.05198, sections 4 and A, but with frozen weights: these have
no gradient, so a backward pass takes as many operations as a forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from mcqlora.files import Json
from mcqlora.model.architecture import Architecture, Lora
from mcqlora.train.settings import Size

SCORE_BYTES = 30  # that plain attention reads and writes of a score, forward: scale, mask, float32 softmax
STATISTICS = (
    64  # bytes of a token and head that the flash kernel keeps: maximum and sum, float32 [.., 8] each
)


class Speed(NamedTuple):
    """What a device does at most, and the share of it that a training is taken to reach."""

    operations: float  # per second
    bandwidth: float  # bytes per second of its memory
    utilisation: tuple[float, float]
    source: str


SPEEDS = {
    "Ascend": Speed(
        320e12,
        1.2e12,
        (0.25, 0.5),
        "320 TFLOPS in float16 and 1.2 TB/s, as reports of the Ascend 910B have it, used to 25 to 50 %",
    ),
    "CPU": Speed(
        0.2e12,
        20e9,
        (0.02, 0.4),
        "0.2 TFLOPS, two cores with AVX2 at 3 GHz, used to 2 to 40 %",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a network is trained, as far as it costs."""

    network: Architecture
    lora: Lora
    size: Size
    seq_length: int
    flash: bool  # attention by the fused kernel, or plain
    width: int  # bytes of a weight
    lora_width: int  # the same of LoRA's


def forward(run: Run) -> dict[str, float]:
    """Operations of a token's forward pass, by part."""
    network, pairs = run.network, run.network.tuned(run.lora)
    matrices = sum(n * m for n, m in network.projections().values())
    queries = network.projections()["wq"][1]
    return {
        "matrices": 2 * network.num_layers * matrices,
        "lora": 2 * network.num_layers * run.lora.rank * sum(n + m for n, m in pairs),
        # Scores, and values by their weights. Every position of the row is looked at, masked or not.
        "attention": 4 * network.num_layers * queries * run.seq_length,
        "head": 2 * network.vocabulary * network.hidden_size,
    }


def training(run: Run) -> dict[str, float]:
    """Operations of a token's whole step, by part.

    Backward: of frozen matrices the gradient of their input, of LoRA's and of attention that of both factors.
    The flash kernel makes its scores again; `recompute` makes all layers' forward pass again.
    """
    once = forward(run)
    passes = {"matrices": 2.0, "lora": 3.0, "attention": 3.5 if run.flash else 3.0, "head": 2.0}
    again = sum(once.values()) - once["head"] if run.size.recompute else 0.0
    return {part: passes[part] * once[part] for part in once} | {"recompute": again}


def score_bytes(run: Run, passes: float) -> float:
    """Bytes that plain attention moves for a token; the flash kernel keeps its scores on the chip."""
    if run.flash:
        return 0.0
    return passes * SCORE_BYTES * run.network.num_layers * run.network.num_heads * run.seq_length


def seconds(run: Run, speed: Speed) -> tuple[float, float]:
    """Of a token in training, on one device: at the better utilisation, and at the worse."""
    operations = sum(training(run).values()) / speed.operations
    moved = score_bytes(run, 3.0 if run.size.recompute else 2.0) / speed.bandwidth
    worse, better = speed.utilisation
    return operations / better + moved, operations / worse + moved


def forward_seconds(run: Run, speed: Speed) -> tuple[float, float]:
    """The same without a backward pass."""
    operations = sum(forward(run).values()) / speed.operations
    moved = score_bytes(run, 1.0) / speed.bandwidth
    worse, better = speed.utilisation
    return operations / better + moved, operations / worse + moved


def memory(run: Run) -> dict[str, int]:
    """Bytes on a device in a training step, by part, an estimate.

    What the backward pass needs of the forward pass is, of a token and a layer, where e is `width`, h the
    hidden width, q that of all queries, F the feed-forward width, a the heads and s the tokens of a row: both
    norms' inputs in float32 (8 h); of each tuned projection its dropped input and mask (2 e times its
    inputs); queries, keys and values of all heads (3 e q); of plain attention its weights in float32 and in e
    bytes ((4 + e) a s), of the flash kernel its statistics (64 a) and once a mask of a byte (s); three of the
    feed-forward's (3 e F). With recomputation a layer's input (e h) is kept, and all the rest of one layer at
    a time. Of the head: logits in e bytes and in float32, their log-softmax and their gradient ((e + 12) V).

    Tensor parallelism divides the matrices, the head (unless it is the embeddings), and what is inside
    attention and feed-forward; what stands between them, the embeddings and the smaller of LoRA's matrices
    are whole everywhere; all of LoRA is counted as whole.
    """
    network, size, width = run.network, run.size, run.width
    parameters, parts = network.parameters(run.lora), size.tensor
    tokens, hidden, layers = size.batch_size * run.seq_length, network.hidden_size, network.num_layers
    heads = STATISTICS * network.num_heads if run.flash else (4 + width) * network.num_heads * run.seq_length
    inside = 3 * width * network.projections()["wq"][1] + heads + 3 * width * network.intermediate_size
    between = 8 * hidden + 2 * width * sum(inputs for inputs, _ in network.tuned(run.lora))
    layer = tokens * (between + inside // parts)
    divided = layers * sum(n * m for n, m in network.projections().values())
    head = 1 if network.tied or network.vocabulary % parts else parts
    divided += network.vocabulary * hidden if head > 1 else 0
    whole = parameters.total - divided
    made = {
        "weights": width * (whole + divided // parts) + run.lora_width * parameters.trainable,
        "optimizer": 8 * parameters.trainable // (size.workers if size.shard_optimizer else 1),
        "gradients": run.lora_width * parameters.trainable,
        "activations": layers * tokens * width * hidden + layer if size.recompute else layers * layer,
        "mask": tokens * run.seq_length if run.flash else 0,
        "logits": tokens * network.vocabulary * (width + 12) // head,
    }
    return made | {"total": sum(made.values())}


def fitting(run: Run, room: float, devices: int, flash: bool) -> Run | None:
    """The cheapest change of `run` that fits into `room` bytes on so many devices; None if none does.

    In this order: flash attention where there is one, recomputation, smaller batches, tensor parallelism.
    """
    return next((other for other in _changes(run, devices, flash) if memory(other)["total"] <= room), None)


def _changes(run: Run, devices: int, flash: bool) -> Iterator[Run]:
    size, workers = run.size, min(run.size.workers, devices)
    shared = run.network.divisible
    parts = [2**k for k in range(devices.bit_length()) if 2**k <= workers and workers % 2**k == 0]
    batches = [size.batch_size >> k for k in range(size.batch_size.bit_length())]
    for tensor in (part for part in parts if part >= min(size.tensor, workers)):
        for batch in batches:
            for recompute in (False, True)[size.recompute :]:
                for fused in sorted({run.flash, run.flash or flash}):
                    if not shared % tensor:
                        changed = replace(
                            size, workers=workers, tensor=tensor, batch_size=batch, recompute=recompute
                        )
                        yield replace(run, size=changed, flash=fused)


def change(old: Run, new: Run) -> str:
    """What has to be set for `new`, as keys of the configuration."""
    keys: Json = {}
    if new.flash != old.flash:
        keys["train.attention"] = "flash"
    for key, name in (("workers", "train.workers"), ("batch_size", "train.batch_size")):
        if getattr(new.size, key) != getattr(old.size, key):
            keys[name] = getattr(new.size, key)
    if new.size.recompute != old.size.recompute:
        keys["train.recompute"] = "true"
    if new.size.tensor != old.size.tensor:
        keys["train.parallel.tensor"] = new.size.tensor
    return ", ".join(f"{key}: {value}" for key, value in keys.items())
