"""A Hugging Face causal language model on PyTorch as a function that scores rows, see `trees.Forward`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcqlora.errors import UserError
from mcqlora.evaluate.trees import Forward, Rows

REMEDY = "run .venv-torch/bin/snakemake judge, which make torch sets up"


@dataclass(frozen=True)
class Sequence:
    """One continuation of a row with its prompt, as any network takes it; and what is scored in it."""

    row: int
    ids: np.ndarray  # int32[n]
    slots: np.ndarray  # of the row's `positions`
    places: np.ndarray  # where these stand in `ids`


def sequences(rows: Rows) -> Iterator[Sequence]:
    """Each branch of each row by itself, so that no mask or position is needed but a text's own."""
    for number, (ids, branches) in enumerate(zip(rows.ids, rows.branches, strict=True)):
        if branches[0] < 0:
            continue  # a row of padding
        positions, open_slots = rows.positions[number], np.ones(rows.positions.shape[1], bool)
        for branch in np.unique(branches[branches > 0]).tolist() or [0]:
            index = np.flatnonzero((branches == 0) | (branches == branch))
            inside = open_slots & np.isin(positions, index)
            open_slots &= ~inside
            slots = np.flatnonzero(inside)
            yield Sequence(number, ids[index], slots, np.searchsorted(index, positions[slots]))


def device(wanted: str) -> Any:
    """The torch.device of `wanted`: auto takes the accelerator that there is, else the CPU.

    Raises:
        UserError: no torch, or not for this device.
    """
    try:
        import torch
    except ImportError as error:
        raise UserError(f"judge: there is no torch in this environment; {REMEDY}") from error
    if wanted in ("auto", "npu"):
        with contextlib.suppress(ImportError):
            import torch_npu  # noqa: F401 (registers the device)
    if wanted == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"judge.device: {wanted} is not there ({reason}); set judge.device: auto") from error
    return torch.device(wanted)


def load(path: str, adapter: str | None, place: Any, dtype: str, batch_size: int) -> Forward:
    """The scoring function of a folder's network, with an adapter of PEFT's folded in if one is given.

    Returns what `forward.load` does. `batch_size` texts at a time are fed; `place` is a torch.device.

    Raises:
        UserError: the folder holds no causal language model, or the adapter is not for it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        network = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path}: transformers cannot load it ({said}); give a causal language model"
        ) from error
    if adapter:
        network = _with_adapter(network, adapter)
    network = network.to(place).eval()
    keeps = "logits_to_keep" in inspect.signature(network.forward).parameters

    @torch.inference_mode()
    def score(chunk: list[Sequence], targets: np.ndarray, out: tuple[np.ndarray, np.ndarray]) -> None:
        longest = max(len(one.ids) for one in chunk)
        ids, mask = (np.zeros((len(chunk), longest), np.int64) for _ in range(2))
        for line, one in enumerate(chunk):
            ids[line, : len(one.ids)], mask[line, : len(one.ids)] = one.ids, 1
        kept = np.unique(np.concatenate([one.places for one in chunk]))
        given = {
            "input_ids": torch.tensor(ids, device=place),
            "attention_mask": torch.tensor(mask, device=place),
        }
        if keeps:  # else the logits of all places fill the memory
            given["logits_to_keep"] = torch.tensor(kept, device=place)
        logits = network(**given, use_cache=False).logits
        if logits.shape[1] != len(kept):
            logits = logits[:, torch.tensor(kept, device=place)]
        for line, one in enumerate(chunk):
            own = logits[line, torch.tensor(np.searchsorted(kept, one.places), device=place)].float()
            wanted = torch.tensor(targets[one.row, one.slots].astype(np.int64), device=place)
            found = own.log_softmax(-1).gather(1, wanted[:, None])[:, 0]
            out[0][one.row, one.slots] = found.cpu().numpy()
            out[1][one.row, one.slots] = own.argmax(-1).cpu().numpy()

    def forward(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        out = np.zeros(rows.targets.shape, np.float32), np.zeros(rows.targets.shape, np.int32)
        asked = [one for one in sequences(rows) if len(one.slots)]
        for start in range(0, len(asked), batch_size):
            score(asked[start : start + batch_size], rows.targets, out)
        return out

    return forward


def _with_adapter(network: Any, adapter: str) -> Any:
    from peft import PeftConfig, PeftModel

    try:
        if PeftConfig.from_pretrained(adapter).is_prompt_learning:
            raise ValueError("it learnt a prompt, which is not part of a network")
        return PeftModel.from_pretrained(network, adapter).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{adapter}: peft cannot load it ({said}); give the adapter of this base") from error
