"""Documents to rows of one length: one a row and padding, or best-fit-decreasing packing.

A plan says which documents stand in which row: int32[n, 2] of (row, document), both from 0, rows ascending.
It depends on the documents' lengths alone, so that any number of shards makes the same rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mcqlora.encode import Document

IGNORE = -100  # the label that the loss leaves out
COLUMNS = {
    "padded": ("input_ids", "labels"),
    "packed": ("input_ids", "labels", "document_ids"),
}

Layout = Literal["padded", "packed"]
Row = dict[str, np.ndarray]


def plan(
    lengths: np.ndarray, size: int, layout: Layout, on_long: Literal["drop", "truncate"] = "drop"
) -> np.ndarray:
    """The rows of `size` ids that documents of these lengths make.

    Documents longer than `size` go nowhere, unless they are truncated, which only padded rows allow.
    """
    if layout == "packed":
        bins = best_fit_decreasing(lengths, size)
        rows = np.repeat(np.arange(len(bins)), [len(row) for row in bins])
        documents = np.fromiter((index for row in bins for index in row), np.int32)
    else:
        documents = np.flatnonzero(lengths <= size) if on_long == "drop" else np.arange(len(lengths))
        rows = np.arange(len(documents))
    return np.stack((rows, documents), axis=1).astype(np.int32)


def count_rows(plan: np.ndarray) -> int:
    return int(plan[-1, 0]) + 1 if len(plan) else 0


def share(plan: np.ndarray, shard: int, shards: int) -> np.ndarray:
    """The plan of shard `shard` (zero-based) of `shards`; shards differ by one row at most.

    Shards are contiguous, so that all of them read in order give the same rows in the same order, whatever
    their number.
    """
    total = count_rows(plan)
    first, last = np.searchsorted(plan[:, 0], (total * shard // shards, total * (shard + 1) // shards))
    return plan[first:last]


def rows(
    documents: Sequence[Document],
    plan: np.ndarray,
    size: int,
    pad: int,
    layout: Layout,
    edge: Literal["corrected", "reference"] = "corrected",
) -> Iterator[Row]:
    """The planned rows in order, see `pad_row` (where `edge` counts) and `pack_row`."""
    if layout == "padded":
        for _, index in plan.tolist():
            yield pad_row(documents[index], size, pad, edge)
        return
    for _, row in itertools.groupby(plan.tolist(), key=lambda pair: pair[0]):
        yield pack_row([documents[index] for _, index in row], size, pad)


def pad_row(
    document: Document, size: int, pad: int, edge: Literal["corrected", "reference"] = "corrected"
) -> Row:
    """A document of n ids as a row: input_ids int32[size], labels int32[size].

    n < size is padded; n = size keeps its labels. n > size is cut, with no label left. `edge="reference"`
    repeats the MindFormers script, which at n = size ignores every label (`targets[-0:]`); what that script
    does beyond (a crash, rows of unequal length) is not repeated.
    """
    n = len(document.ids)
    row = _empty_row(size, pad)
    if n < size or (n == size and edge == "corrected"):
        _put(row, 0, document)
    else:
        row["input_ids"][:] = document.ids[:size]
    return row


def pack_row(documents: Sequence[Document], size: int, pad: int) -> Row:
    """One row, three columns of int32[size].

    input_ids: the documents one after the other, then `pad`. labels: as in a row of its own. document_ids:
    1, 2, ... and 0 for padding; attention has to stay within equal ids.

    Raises:
        ValueError: the documents are longer than `size` together.
    """
    row = _empty_row(size, pad) | {"document_ids": np.zeros(size, np.int32)}
    start = 0
    for number, document in enumerate(documents, 1):
        end = start + len(document.ids)
        if end > size:
            raise ValueError(f"{end} ids do not fit a row of {size}")
        _put(row, start, document)
        row["document_ids"][start:end] = number
        start = end
    return row


def _empty_row(size: int, pad: int) -> Row:
    return {"input_ids": np.full(size, pad, np.int32), "labels": np.full(size, IGNORE, np.int32)}


def _put(row: Row, start: int, document: Document) -> None:
    """Write a document's ids and labels, each label at the index of its input (the network shifts).

    The prompt has none, and the first id never: it would be predicted from the document before.
    """
    ids, first = document.ids, max(document.n_prompt, 1)
    row["input_ids"][start : start + len(ids)] = ids
    row["labels"][start + first : start + len(ids)] = ids[first:]


def pack(documents: Sequence[Document], size: int, pad: int) -> Iterator[Row]:
    """The rows of `best_fit_decreasing` over `documents`, see `pack_row`."""
    lengths = np.array([len(document.ids) for document in documents], np.int64)
    return rows(documents, plan(lengths, size, "packed"), size, pad, "packed")


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


def summary(lengths: np.ndarray, plans: Mapping[Layout, np.ndarray], size: int) -> dict[str, Any]:
    """Counts of a part for the ledger, so that layouts can be compared.

    Returns:
        {"size", "documents", "longest", "dropped", layout: {"rows", "useful_fraction"} for each plan};
        `dropped` counts documents longer than a row, and `useful_fraction` is ids that are no padding over
        all ids of the rows.
    """
    return {
        "size": size,
        "documents": len(lengths),
        "longest": int(lengths.max(initial=0)),
        "dropped": int((lengths > size).sum()),
    } | {
        layout: {"rows": count_rows(plan), "useful_fraction": _useful(lengths, plan, size)}
        for layout, plan in plans.items()
    }


def shard_summary(
    lengths: np.ndarray,
    plan: np.ndarray,
    size: int,
    shard: int,
    shards: int,
    long: Sequence[Mapping[str, Any]],
    edge: Literal["corrected", "reference"] = "corrected",
) -> dict[str, Any]:
    """What became of a shard's documents; over all shards of a part the counts add up.

    Args:
        lengths, plan: of the whole part.
        long: names of the documents with `size` ids or more, see `encode.write_documents`.
        edge: of the padded rows, see `pad_row`.

    Returns:
        {"size", "records", "documents", "rows", "ids", "useful_fraction", "longest", "dropped", "masked"};
        `records` are the planned `documents` and the dropped ones, `dropped` and `masked` name theirs.
    """
    own = share(plan, shard, shards)
    held, planned = set(own[:, 1].tolist()), set(plan[:, 1].tolist())
    first, last = (len(lengths) * end // shards for end in (shard, shard + 1))
    dropped = [name for name in long if first <= name["index"] < last and name["index"] not in planned]
    masked_from = size + (edge == "corrected")
    masked = [name for name in long if name["index"] in held and name["length"] >= masked_from]
    longest = max((name["length"] for name in dropped), default=0)
    return {
        "size": size,
        "records": len(own) + len(dropped),
        "documents": len(own),
        "rows": count_rows(own) - int(own[0, 0]) if len(own) else 0,
        "ids": int(np.minimum(lengths[own[:, 1]], size).sum()),
        "useful_fraction": _useful(lengths, own, size),
        "longest": max(longest, int(lengths[own[:, 1]].max(initial=0))),
        "dropped": [_name(name) for name in dropped],
        "masked": [_name(name) for name in masked],
    }


def _useful(lengths: np.ndarray, plan: np.ndarray, size: int) -> float:
    rows = len(np.unique(plan[:, 0]))
    return int(np.minimum(lengths[plan[:, 1]], size).sum()) / (rows * size) if rows else 0.0


def _name(name: Mapping[str, Any]) -> dict[str, Any]:
    return {key: name[key] for key in ("id", "order", "length")}
