"""Documents to rows of one length: one a row and padding, or best-fit-decreasing packing.

A plan says which documents stand in which row: int32[n, 2] of (row, document), both from 0, rows ascending.
It depends on the documents' lengths alone, so that any number of shards makes the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mcqlora.tokens.documents import Document, Documents

BATCH = 128  # rows that are made at a time
IGNORE = -100  # the label that the loss leaves out
COLUMNS = {
    "padded": ("input_ids", "labels"),
    "packed": ("input_ids", "labels", "document_ids"),
}

Layout = Literal["padded", "packed"]
Rows = dict[str, np.ndarray]


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


def batches(
    documents: Sequence[Document],
    plan: np.ndarray,
    size: int,
    pad: int,
    layout: Layout,
    edge: Literal["corrected", "reference"] = "corrected",
) -> Iterator[Rows]:
    """The rows of a plan, whose numbers have no gap, `BATCH` at a time: of each column, int32[rows, size].

    input_ids: a row's documents one after the other, then `pad`. labels: each id at its own place (the
    network shifts), `IGNORE` for padding, for prompts, and for the first id of a document, which would be
    predicted from the document before. document_ids (packed rows): 1, 2, ... and 0 for padding; attention
    has to stay within equal ids.

    A padded row holds one document of n ids: n < size is padded; n = size keeps its labels; n > size is cut,
    with no label left. `edge="reference"` repeats the MindFormers script, which at n = size ignores every
    label (`targets[-0:]`); what that script does beyond (a crash, rows of unequal length) is not repeated.

    Raises:
        ValueError: the documents of a packed row are longer than `size` together.
    """
    documents = Documents.of(documents)
    for part in _in_batches(plan):
        row, document = part[:, 0] - part[0, 0], part[:, 1]
        length, n_prompt, source = documents.shapes[document].T
        kept, unlabelled = length, np.maximum(n_prompt, 1)
        if layout == "padded":
            kept = np.minimum(length, size)
            unlabelled[length >= size + (edge == "corrected")] = size
        first = np.searchsorted(row, row)  # of the documents of the same row
        end = np.cumsum(kept)
        place = end - kept - (end - kept)[first]
        longest = int((place + kept).max())
        if longest > size:
            raise ValueError(f"{longest} ids do not fit a row of {size}")
        # Of each id: its document, its place in that, and its place in the rows one after the other.
        of = np.repeat(np.arange(len(part)), kept)
        at = np.arange(end[-1]) - (end - kept)[of]
        to = (row * size + place)[of] + at
        ids = documents.ids[source[of] + at]
        labelled = at >= unlabelled[of]
        made = {
            name: np.full((row[-1] + 1, size), fill, np.int32) for name, fill in _fill(layout, pad).items()
        }
        made["input_ids"].reshape(-1)[to] = ids
        made["labels"].reshape(-1)[to[labelled]] = ids[labelled]
        if layout == "packed":
            made["document_ids"].reshape(-1)[to] = (np.arange(len(part)) - first + 1)[of]
        yield made


def _in_batches(plan: np.ndarray) -> Iterator[np.ndarray]:
    """A plan cut after every `BATCH` rows."""
    if len(plan):
        starts = np.arange(plan[0, 0], plan[-1, 0] + 1, BATCH)
        yield from np.split(plan.astype(np.int64), np.searchsorted(plan[:, 0], starts[1:]))


def _fill(layout: Layout, pad: int) -> dict[str, int]:
    """What stands where no document is, by column."""
    return dict(zip(COLUMNS[layout], (pad, IGNORE, 0), strict=False))


def rows(batches: Iterable[Rows]) -> Iterator[Rows]:
    """The rows of batches one by one: of each column, int32[size], a view that keeps its whole batch."""
    for batch in batches:
        for row in zip(*batch.values(), strict=True):
            yield dict(zip(batch, row, strict=True))


def pack_row(documents: Sequence[Document], size: int, pad: int) -> Rows:
    """A packed row of one document or more, see `batches`."""
    plan = np.stack((np.zeros(len(documents), np.int32), np.arange(len(documents))), axis=1)
    return next(rows(batches(documents, plan, size, pad, "packed")))


def pack(documents: Sequence[Document], size: int, pad: int) -> Iterator[Rows]:
    """The `batches` of `best_fit_decreasing` over `documents`."""
    documents = Documents.of(documents)
    return batches(documents, plan(documents.lengths, size, "packed"), size, pad, "packed")


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
        edge: of the padded rows, see `batches`.

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
