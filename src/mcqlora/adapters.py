"""Weights on disk: safetensors in and out, by MindSpore's parameter names, every shape checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import io, tensorfiles
from mcqlora.errors import UserError

LORA = ("mindpet_delta_lora_a", "mindpet_delta_lora_b")


def save(weights: Mapping[str, np.ndarray], path: io.PathLike) -> None:
    """Write tensors as safetensors, atomically; the same tensors give the same bytes."""
    from safetensors.numpy import save as serialize

    io.write_bytes(path, serialize({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}))


def read(path: io.PathLike) -> dict[str, np.ndarray]:
    """Raises: UserError: not a whole safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); delete it and run again") from error


def only_lora(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The adapter's tensors alone, without the optimizer's moments of the same names."""
    return {
        name: value for name, value in weights.items() if name.startswith("model.") and name.endswith(LORA)
    }


def merge(
    base: Mapping[str, np.ndarray], lora: Mapping[str, np.ndarray], scaling: float
) -> dict[str, np.ndarray]:
    """Fold an adapter into the weights: W + scaling * B A (Hu et al., arXiv 2106.09685, eq. 3), in float32.

    `scaling` is alpha / rank; A is [r, in], B [out, r], W [out, in].

    Raises:
        UserError: the adapter is of another network.
    """
    merged = dict(base)
    for name, a in lora.items():
        if not name.endswith(LORA[0]):
            continue
        stem = name.removesuffix(LORA[0])
        weight, b = base.get(f"{stem}weight"), lora.get(stem + LORA[1])
        if weight is None or b is None or weight.shape != (b.shape[0], a.shape[1]):
            raise UserError(f"adapter: {name} does not fit the base; train it again on this base")
        delta = scaling * (b.astype(np.float32) @ a.astype(np.float32))
        merged[f"{stem}weight"] = (weight.astype(np.float32) + delta).astype(weight.dtype)
    return merged


class Merged(Mapping[str, np.ndarray]):
    """A base's tensors with an adapter folded in, see `merge`; each is read when it is asked for.

    Raises:
        UserError: no whole safetensors file, or the adapter is of another network.
    """

    def __init__(self, base: Path, lora: Mapping[str, np.ndarray], scaling: float):
        self.tensors, self.scaling = tensorfiles.index_safetensors(base), scaling
        self._lora: dict[str, dict[str, np.ndarray]] = {}
        for name, value in lora.items():
            weight = f"{name.rpartition('.')[0]}.weight"
            if weight not in self.tensors:
                raise UserError(f"adapter: {name} does not fit the base; train it again on this base")
            self._lora.setdefault(weight, {})[name] = value

    def __getitem__(self, name: str) -> np.ndarray:
        weight = {name: tensorfiles.read(self.tensors[name])}
        return merge(weight, self._lora.get(name, {}), self.scaling)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def load_into(network, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Put tensors into a MindSpore network, every parameter with its shape; `name` is said in errors.

    Raises:
        UserError: a parameter has no tensor, or one of another shape.
    """
    from mindspore import Tensor

    for key, parameter in network.parameters_dict().items():
        if key not in weights:
            raise UserError(f"{name}: no tensor {key}; is it this network's checkpoint?")
        value = weights[key]
        if value.shape != parameter.shape:
            raise UserError(
                f"{name}: {key} is {list(value.shape)}, the network wants {list(parameter.shape)}; "
                "make model.* the same as the base's"
            )
        parameter.set_data(Tensor(value, dtype=parameter.dtype))


def count(network: Mapping[str, Any], lora: Mapping[str, Any] | None) -> dict[str, float]:
    """{"trainable", "total", "ratio"} of a LLaMA-architecture network, by arithmetic.

    total = 2 V H + layers (H (2 H + 2 K) + biases + 3 H F + 2 H) + H, K the width of keys and values, as the
    report counts it: without the adapter. LoRA on a matrix of n x m has r (n + m) parameters; without LoRA
    all is trainable.
    """
    hidden, kv = network["hidden_size"], kv_width(network)
    biases = (2 * hidden + 2 * kv) if network["has_bias"] else 0
    layer = sum(n * m for n, m in projections(network).values()) + biases + 2 * hidden
    total = trainable = 2 * network["vocab_size"] * hidden + network["num_layers"] * layer + hidden
    if lora:
        trainable = network["num_layers"] * lora["rank"] * sum(n + m for n, m in tuned(network, lora))
    return {"trainable": trainable, "total": total, "ratio": trainable / total}


ATTENTION = ("wq", "wk", "wv", "wo")


def projections(network: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of a layer's matrices, by the names of their MindFormers cells."""
    hidden, kv, inner = network["hidden_size"], kv_width(network), network["intermediate_size"]
    return {
        "wq": (hidden, hidden),
        "wk": (hidden, kv),
        "wv": (hidden, kv),
        "wo": (hidden, hidden),
        "w1": (hidden, inner),
        "w2": (inner, hidden),
        "w3": (hidden, inner),
    }


def tuned(network: Mapping[str, Any], lora: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of the matrices of a layer that LoRA tunes.

    MindFormers matches the names of cells on its way down, and passes over a container that matches, with all
    that is in it.
    """
    matches = re.compile(lora["target_modules"]).match

    def path(name: str) -> tuple[str, ...]:
        return "model", "layers", "0", "attention" if name in ATTENTION else "feed_forward"

    return [
        shape
        for name, shape in projections(network).items()
        if matches(name) and not any(map(matches, path(name)))
    ]


def kv_width(network: Mapping[str, Any]) -> int:
    heads = network["n_kv_heads"] or network["num_heads"]
    return network["hidden_size"] // network["num_heads"] * heads
