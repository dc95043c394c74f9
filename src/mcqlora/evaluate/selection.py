"""Which checkpoint is the best, by validation loss or validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mcqlora.files import Json

RULES = ("valid_loss", "valid_accuracy")  # by which a checkpoint is the best


def best_checkpoint(checkpoints: Iterable[Json], rule: str = "valid_loss") -> str | None:
    """Name of the best checkpoint (`{"name", "valid_loss", "valid_accuracy"}`, None where not measured).

    `rule` is valid_loss, the lowest, or valid_accuracy, the highest, where the loss decides between equals.
    The earliest of those still equal; None if none was measured.
    """

    def order(row: Json) -> tuple[float, ...]:
        loss = math.inf if row["valid_loss"] is None else row["valid_loss"]
        return (loss,) if rule == "valid_loss" else (-row["valid_accuracy"], loss)

    measured = [row for row in checkpoints if row.get(rule) is not None]
    return min(measured, key=order)["name"] if measured else None


def accuracy(valid: Json) -> float:
    """Share of right answers of a valid.json."""
    return sum(bool(item["correct"]) for item in valid["items"]) / len(valid["items"])


def chosen(training: Json, wanted: str, valid: Iterable[Json] = ()) -> str:
    """Name of a delivered checkpoint: `wanted`, or the best by the rule `wanted`, see `best_checkpoint`.

    The last one where none was validated. `training` is training.json; `valid` are valid.json documents.
    """
    if wanted not in RULES:
        return wanted
    losses = {row["step"]: row.get("valid_loss") for row in training["history"]}
    accuracies = {part["model"]: accuracy(part) for part in valid}
    rows = [
        {**row, "valid_loss": losses.get(row["step"]), "valid_accuracy": accuracies.get(row["name"])}
        for row in training["checkpoints"]
    ]
    return best_checkpoint(rows, wanted) or rows[-1]["name"]
