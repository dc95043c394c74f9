"""The configuration of a training: its network, optimizer, length, batches and device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from mcqlora.model.architecture import Architecture, Lora


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimization:
    """AdamW under a linear warm-up and a cosine decay to 0, with a dynamic loss scale."""

    learning_rate: float
    warmup_ratio: float  # of the steps
    weight_decay: float
    loss_scale: float  # the first one
    max_grad_norm: float  # the gradient of a step is clipped to it
    seed: int  # of initial weights, dropout and the order of rows
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long a training is, in what batches, and how often it is evaluated and saved."""

    rows: int | None  # of training, in a random order; None takes all
    workers: int
    batch_size: int  # rows per worker
    epochs: int
    evaluations: int = 1  # equal parts of the training that end with one
    checkpoints: int = 1  # the same
    evaluation_interval: int | None = None  # in steps, in the place of equal parts
    checkpoint_interval: int | None = None
    evaluation_batch_size: int | None = None  # None lets `evaluation_batch` choose
    recompute: bool = False  # a layer's activations in the backward pass, instead of keeping them
    tensor: int = 1  # workers that a network's matrices are divided among
    shard_optimizer: bool = False  # each worker keeps a part of the moments
    patience: int | None = None  # evaluations without a better validation loss, after which the training ends

    @property
    def divided(self) -> bool:
        """Whether the workers do not each hold all of the network and of the optimizer."""
        return self.tensor > 1 or self.shard_optimizer

    @property
    def replicas(self) -> int:
        """How many workers, or groups of workers that share a network, divide the rows among them."""
        return self.workers // self.tensor

    @property
    def global_batch(self) -> int:
        """Rows per step, over all workers."""
        return self.replicas * self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A training by its configuration."""

    network: Architecture
    lora: Lora | None  # None trains all weights
    optimization: Optimization
    size: Size
    seq_length: int
    device: str  # a key of `DEVICES`
    attention: str = "auto"  # or flash or plain, see `model.attention`
    lora_dtype: str = "float32"  # of LoRA's weights
    dtype: str | None = None  # that the network computes in; None is the device's own


Kind = TypeVar("Kind", Optimization, Size)


def of(kind: type[Kind], params: Mapping[str, object]) -> Kind:
    """An instance of `kind` from those of a rule's `params` that are its fields."""
    named: dict[str, Any] = {field.name: params[field.name] for field in fields(kind) if field.name in params}
    return kind(**named)
