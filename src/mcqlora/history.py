"""The losses of a training on file: a table, and events for TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcqlora import io

RULES = ("valid_loss", "valid_accuracy")  # by which a checkpoint is the best
COLUMNS = ("step", "train_loss", "valid_loss", "learning_rate", "gradient_norm")


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """history.csv: `COLUMNS`, empty where a step has no such value."""
    lines = [",".join(COLUMNS)]
    lines += [
        ",".join("" if row.get(column) is None else repr(row[column]) for column in COLUMNS) for row in rows
    ]
    io.write_text(path, "\n".join(lines) + "\n")


def write_tensorboard(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The same as scalars in one event file; the wall time of a step is its number, so that bytes repeat."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    with io.atomic(path) as file:
        writer = RecordWriter(file.name)
        writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
        for row in rows:
            values = [
                Summary.Value(tag=column, simple_value=row[column])
                for column in COLUMNS[1:]
                if row.get(column) is not None
            ]
            event = Event(wall_time=row["step"], step=row["step"], summary=Summary(value=values))
            writer.write(event.SerializeToString())
        writer.close()


def best_checkpoint(checkpoints: Iterable[Mapping[str, Any]], rule: str = "valid_loss") -> str | None:
    """Name of the best checkpoint (`{"name", "valid_loss", "valid_accuracy"}`, None where not measured).

    `rule` is valid_loss, the lowest, or valid_accuracy, the highest, where the loss decides between equals.
    The earliest of those still equal; None if none was measured.
    """

    def order(row: Mapping[str, Any]) -> tuple[float, ...]:
        loss = math.inf if row["valid_loss"] is None else row["valid_loss"]
        return (loss,) if rule == "valid_loss" else (-row["valid_accuracy"], loss)

    measured = [row for row in checkpoints if row.get(rule) is not None]
    return min(measured, key=order)["name"] if measured else None


def accuracy(valid: Mapping[str, Any]) -> float:
    """Share of right answers of a valid.json."""
    return sum(bool(item["correct"]) for item in valid["items"]) / len(valid["items"])
