"""Weights on disk: safetensors in and out, by MindSpore's parameter names, every shape checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.model import tensorfiles

Arrays = Mapping[str, np.ndarray]  # by name
LORA = ("mindpet_delta_lora_a", "mindpet_delta_lora_b")


def save(weights: Arrays, path: files.PathLike) -> None:
    """Write tensors as safetensors, atomically; the same tensors give the same bytes."""
    from safetensors.numpy import save as serialize

    contiguous = {name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}
    files.write_bytes(path, serialize(contiguous))


def read(path: files.PathLike) -> dict[str, np.ndarray]:
    """Raises: UserError: not a whole safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); delete it and run again") from error


def computes_in(network: Path, device: str) -> str | None:
    """What a network computes in, of whose weights this is the file: None is what `device` has for others.

    Ascend 910B has bfloat16, which holds numbers that float16 does not: such a network keeps it.
    """
    kinds = {tensor.dtype for tensor in tensorfiles.index_safetensors(network).values()}
    return "bfloat16" if device == "Ascend" and kinds == {tensorfiles.BFLOAT16} else None


def only_lora(weights: Arrays) -> dict[str, np.ndarray]:
    """The adapter's tensors alone, without the optimizer's moments of the same names."""
    return {name: weights[name] for name in weights if name.startswith("model.") and name.endswith(LORA)}


def merge(base: Arrays, lora: Arrays, scaling: float) -> dict[str, np.ndarray]:
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
        # No BLAS: the last bits of its product depend on the number of its threads.
        delta = scaling * np.einsum("or,ri->oi", b.astype(np.float32), a.astype(np.float32))
        merged[f"{stem}weight"] = (weight.astype(np.float32) + delta).astype(weight.dtype)
    return merged


class Merged(Mapping[str, np.ndarray]):
    """A base's tensors with an adapter folded in, see `merge`; each is read when it is asked for.

    Raises:
        UserError: no whole safetensors file, or the adapter is of another network.
    """

    def __init__(self, base: Path, lora: Arrays, scaling: float):
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


def load_into(network: Any, weights: Arrays, name: str) -> None:
    """Put tensors into a network, a MindSpore cell, every parameter with its shape; errors name `name`.

    Raises:
        UserError: a parameter has no tensor, or one of another shape.
    """
    from mindspore import Tensor

    for key, parameter in network.parameters_dict().items():
        if key not in weights:
            raise UserError(f"{name}: no tensor {key}; is it this network's checkpoint?")
        value = weights[key]
        if value.shape != parameter.shape:
            said = f"{key} is {list(value.shape)}, the network wants {list(parameter.shape)}"
            raise UserError(f"{name}: {said}; make model.* the same as the base's")
        parameter.set_data(Tensor(value, dtype=parameter.dtype))
