"""Several documents a row, isolated from each other: best-fit-decreasing packing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mcqlora.encode import IGNORE, Document, Row, label_ids


def best_fit_decreasing(lengths: Sequence[int] | np.ndarray, size: int) -> list[list[int]]:
    """Put documents of the given lengths into rows of `size` ids: the indices of each row's documents.

    Documents come longest first (equal lengths by index); each goes to the fullest row that holds it whole
    (of equally full ones the last filled), else opens a row. Documents longer than `size` go nowhere. Within
    a row indices ascend, and rows are in the order of their lowest index.

    O(n log n) for the sort; a row is found through a bit set of the free spaces in use, O(size / 64) words.
    (Johnson 1973, Near-optimal bin packing algorithms.)

    Raises:
        ValueError: a length below 1.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if lengths.size and lengths.min() < 1:
        raise ValueError("a document has at least one id")
    bins: list[list[int]] = []
    with_free: list[list[list[int]]] = [[] for _ in range(size + 1)]  # free space -> rows that have it
    in_use = 0  # bit f is set when with_free[f] is not empty
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] <= size]
    for index, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        fitting = in_use >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            row = with_free[free].pop()
            if not with_free[free]:
                in_use ^= 1 << free
        else:
            free, row = size, []
            bins.append(row)
        row.append(index)
        if free > length:
            with_free[free - length].append(row)
            in_use |= 1 << (free - length)
    for row in bins:
        row.sort()
    return sorted(bins)


def pack_row(documents: Sequence[Document], size: int, pad: int) -> Row:
    """One row, three columns of int32[size].

    input_ids: the documents one after the other, then `pad`. labels: as in a row of its own, so the first id
    of a document has none and the shifted loss never crosses documents. document_ids: 1, 2, ... and 0 for
    padding; attention has to stay within equal ids.

    Raises:
        ValueError: the documents are longer than `size` together.
    """
    row = {
        "input_ids": np.full(size, pad, np.int32),
        "labels": np.full(size, IGNORE, np.int32),
        "document_ids": np.zeros(size, np.int32),
    }
    start = 0
    for number, document in enumerate(documents, 1):
        end = start + len(document.ids)
        if end > size:
            raise ValueError(f"{end} ids do not fit a row of {size}")
        row["input_ids"][start:end] = document.ids
        row["labels"][start:end] = label_ids(document.ids, document.n_prompt)
        row["document_ids"][start:end] = number
        start = end
    return row


def pack(documents: Sequence[Document], size: int, pad: int) -> Iterator[Row]:
    """The rows of `best_fit_decreasing` over `documents`, see `pack_row`."""
    for row in best_fit_decreasing([len(document.ids) for document in documents], size):
        yield pack_row([documents[index] for index in row], size, pad)


def positions(document_ids: np.ndarray) -> np.ndarray:
    """Position of each id in its document, int32 of the same shape (last axis: the row); so for padding."""
    index = np.broadcast_to(np.arange(document_ids.shape[-1], dtype=np.int32), document_ids.shape)
    starts = np.zeros_like(index)
    changed = document_ids[..., 1:] != document_ids[..., :-1]
    starts[..., 1:] = np.where(changed, index[..., 1:], 0)
    return index - np.maximum.accumulate(starts, axis=-1)


def packing_summary(
    lengths: Sequence[int] | np.ndarray, bins: Sequence[Sequence[int]], size: int
) -> dict[str, Any]:
    """Counts for the ledger; `useful_fraction` is ids that are no padding over all ids of the rows."""
    lengths = np.asarray(lengths, dtype=np.int64)
    packed = lengths[lengths <= size]
    return {
        "rows": len(bins),
        "useful_fraction": float(packed.sum()) / (len(bins) * size) if bins else 0.0,
        "documents": len(packed),
        "longest": int(lengths.max(initial=0)),
        "dropped": len(lengths) - len(packed),
    }
