"""The losses of a training on file: a table, and events for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mcqlora import files

# Of a step; `gradient_norm` is before clipping, and only some steps have a `valid_loss`.
COLUMNS = ("step", "train_loss", "valid_loss", "learning_rate", "gradient_norm")


def write_csv(rows: Iterable[files.Json], path: Path) -> None:
    """history.csv: `COLUMNS`, empty where a step has no such value."""
    lines = [",".join(COLUMNS)]
    for row in rows:
        values = (row.get(column) for column in COLUMNS)
        lines.append(",".join("" if value is None else repr(value) for value in values))
    files.write_text(path, "\n".join(lines) + "\n")


def write_tensorboard(rows: Iterable[files.Json], path: Path) -> None:
    """The same as scalars in one event file; the wall time of a step is its number, so that bytes repeat."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    with files.atomic(path) as file:
        writer = RecordWriter(file.name)
        writer.write(Event(wall_time=0, file_version="brain.Event:2").SerializeToString())
        for row in rows:
            found = {column: row[column] for column in COLUMNS[1:] if row.get(column) is not None}
            values = [Summary.Value(tag=column, simple_value=value) for column, value in found.items()]
            event = Event(wall_time=row["step"], step=row["step"], summary=Summary(value=values))
            writer.write(event.SerializeToString())
        writer.close()
