"""Documents of ids to rows of one length: one document per row and padding, or best-fit-decreasing packing.

A plan says which documents stand in which row: int32[n, 2] of (row, document), both from 0, rows ascending.
It depends on the documents' lengths alone, so any number of shards makes the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mcqlora import files
from mcqlora.tokens.layout import COLUMNS, Layout

BATCH = 128  # rows that are made at a time
IGNORE = -100  # the label that the loss leaves out
Rows = dict[str, np.ndarray]  # of a batch, by column: int32[rows, size]


class Document(NamedTuple):
    """An unpadded training row: int32[n] with its </s>; the first `n_prompt` ids carry no label."""

    ids: np.ndarray
    n_prompt: int


@dataclass(frozen=True, slots=True)
class Documents:
    """All documents of a part: their ids, int32[total], and `shapes`, int64[documents, 3].

    A row of `shapes` is a document's length, how many of its ids are prompt, and where in `ids` it starts.
    """

    ids: np.ndarray
    shapes: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.shapes[:, 0]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Documents:
        """Documents from anywhere, their ids copied one after the other."""
        lengths = np.array([len(document.ids) for document in documents], np.int64)
        n_prompt = np.array([document.n_prompt for document in documents], np.int64)
        ids = np.concatenate([np.empty(0, np.int32), *(document.ids for document in documents)])
        return cls(ids, np.stack((lengths, n_prompt, np.cumsum(lengths) - lengths), axis=1))


def read_documents(ids: files.PathLike, shapes: files.PathLike) -> Documents:
    """The documents of `encoding.write_documents`; their ids stay on disk until they are used."""
    found = np.load(shapes)
    total = int(found[:, 0].sum(dtype=np.int64))
    mapped = np.memmap(ids, np.int32, "r", shape=(total,)) if total else np.empty(0, np.int32)
    return Documents(np.asarray(mapped), found)  # slicing a memmap takes ten times as long


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Rows of `size` ids, with `pad` where no document is.

    `edge` says what becomes of a padded row that one document fills to the last id: "corrected" keeps its
    labels. "reference" repeats the MindFormers script, which ignores every label (`targets[-0:]`). What that
    script does with longer documents (a crash, rows of unequal length) is not repeated.
    """

    size: int
    pad: int
    layout: Layout
    edge: Literal["corrected", "reference"] = "corrected"

    @property
    def masked_from(self) -> int:
        """The length in ids from which on a document in a padded row has no label."""
        return self.size + (self.edge == "corrected")


def plan(
    lengths: np.ndarray, size: int, layout: Layout, on_long: Literal["drop", "truncate"] = "drop"
) -> np.ndarray:
    """The rows of `size` ids that documents of these lengths make.

    Documents longer than `size` are left out, unless they are truncated, which only padded rows allow.
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
    """The plan of shard `shard` (from 0) of `shards`; shards differ by one row at most.

    Shards are contiguous: read in order, they give the same rows in the same order, whatever their number.
    """
    total = count_rows(plan)
    first, last = np.searchsorted(plan[:, 0], (total * shard // shards, total * (shard + 1) // shards))
    return plan[first:last]


def batches(documents: Documents, plan: np.ndarray, form: RowFormat) -> Iterator[Rows]:
    """The rows of a plan, whose row numbers have no gap, in batches of `BATCH`.

    input_ids: a row's documents one after the other, then `pad`. labels: each id at its own place (the
    network shifts); `IGNORE` for padding, for prompts, and for the first id of a document, which would be
    predicted from the document before. document_ids (packed rows): 1, 2, ... and 0 for padding; attention
    has to stay within equal ids.

    A padded row holds one document of n ids. With n < size it is padded; with n > size it is cut before its
    last id, </s>, and no label is left. With n = size, `RowFormat.edge` decides.

    Raises:
        ValueError: the documents of a packed row are longer than `size` together.
    """
    if not len(plan):
        return
    size, starts = form.size, np.arange(plan[0, 0], plan[-1, 0] + 1, BATCH)
    for part in np.split(plan.astype(np.int64), np.searchsorted(plan[:, 0], starts[1:])):
        row, document = part[:, 0] - part[0, 0], part[:, 1]
        length, n_prompt, source = documents.shapes[document].T
        kept, unlabelled = length, np.maximum(n_prompt, 1)
        if form.layout == "padded":
            kept = np.minimum(length, size)
            unlabelled[length >= form.masked_from] = size
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
        ids[end - 1] = documents.ids[source + length - 1]  # a cut row ends with </s>, as the reference's
        labelled = at >= unlabelled[of]
        made = {
            name: np.full((row[-1] + 1, size), fill, np.int32)
            for name, fill in zip(COLUMNS[form.layout], (form.pad, IGNORE, 0), strict=False)
        }
        made["input_ids"].reshape(-1)[to] = ids
        made["labels"].reshape(-1)[to[labelled]] = ids[labelled]
        if form.layout == "packed":
            made["document_ids"].reshape(-1)[to] = (np.arange(len(part)) - first + 1)[of]
        yield made


def best_fit_decreasing(lengths: Sequence[int] | np.ndarray, size: int) -> list[list[int]]:
    """Put documents of the given lengths into rows of `size` ids: the indices of each row's documents.

    Documents come longest first (equal lengths by index). Each goes to the fullest row that can hold it whole
    (of equally full ones, the last filled), else it opens a row. Documents longer than `size` are left out.
    Within a row indices ascend, and rows are in the order of their lowest index.

    O(n log n) for the sort. A row is found through a bit set of the free spaces in use, O(size / 64) words.
    Source: Johnson 1973, Near-optimal bin packing algorithms.

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
    return sorted(map(sorted, bins))


def summary(lengths: np.ndarray, plans: Mapping[Layout, np.ndarray], size: int) -> files.Json:
    """Counts of a part for packing.json, so that layouts can be compared; `plans` has one for each.

    `longest` is in ids, `dropped` counts documents longer than a row; `useful_fraction` is the share of the
    ids of a layout's `rows` that is no padding (0 to 1).
    """
    padded, packed = (_layout_summary(lengths, plans[layout], size) for layout in COLUMNS)
    return {
        "size": size,
        "documents": len(lengths),
        "longest": int(lengths.max(initial=0)),
        "dropped": int((lengths > size).sum()),
        "padded": padded,
        "packed": packed,
    }


def passages(found: Mapping[str, tuple[int, int]]) -> files.Json:
    """Of a part's passages, for packing.json: how much of what is trained on is said again.

    `documents` that are about one, and the `ids` of passages in them; of `distinct` passages, each counted
    once, `distinct_ids`. `found` is that of `encoding.write_documents`.
    """
    return {
        "documents": sum(count for _, count in found.values()),
        "ids": sum(length * count for length, count in found.values()),
        "distinct": len(found),
        "distinct_ids": sum(length for length, _ in found.values()),
    }


def mixed(lengths: np.ndarray, plan: np.ndarray, size: int, counts: Mapping[str, int]) -> list[files.Json]:
    """Of each file that is mixed in, for packing.json; its documents are the last ones, file after file.

    `file`, `documents` and their `share` of all documents; `ids` in rows and their share of all such,
    `share_of_ids`; `long` counts documents longer than a row. `counts` has each file's documents.
    """
    used = np.bincount(plan[:, 1], np.minimum(lengths[plan[:, 1]], size), len(lengths)).astype(np.int64)
    found: list[files.Json] = []
    first = len(lengths) - sum(counts.values())
    for file, count in counts.items():
        own = slice(first, first + count)
        ids = int(used[own].sum())
        found.append(
            {
                "file": file,
                "documents": count,
                "share": count / len(lengths),
                "ids": ids,
                "share_of_ids": ids / max(1, int(used.sum())),
                "long": int((lengths[own] > size).sum()),
            }
        )
        first += count
    return found


def shard_summary(
    lengths: np.ndarray,
    plan: np.ndarray,
    shard: int,
    shards: int,
    form: RowFormat,
    long: Sequence[files.Json],
) -> files.Json:
    """Counts of what became of the documents of shard `shard` (from 0) of `shards`; over all they add up.

    `records` are the planned `documents` and the dropped ones. `dropped` and `masked` (without a label) name
    theirs by `id`, `order` and `length`. `ids` and `useful_fraction` are without padding.

    Args:
        lengths, plan: of the whole part.
        long: the documents with `size` ids or more, see `encoding.write_documents`.
    """
    own = share(plan, shard, shards)
    held, planned = set(own[:, 1].tolist()), set(plan[:, 1].tolist())
    first, last = (len(lengths) * end // shards for end in (shard, shard + 1))
    dropped = [one for one in long if first <= one["index"] < last and one["index"] not in planned]
    masked = [one for one in long if one["index"] in held and one["length"] >= form.masked_from]
    longest = max((one["length"] for one in dropped), default=0)
    names = [[{key: one[key] for key in ("id", "order", "length")} for one in x] for x in (dropped, masked)]
    return {
        "size": form.size,
        "records": len(own) + len(dropped),
        "documents": len(own),
        "rows": count_rows(own) - int(own[0, 0]) if len(own) else 0,
        "ids": int(np.minimum(lengths[own[:, 1]], form.size).sum()),
        "useful_fraction": _layout_summary(lengths, own, form.size)["useful_fraction"],
        "longest": max(longest, int(lengths[own[:, 1]].max(initial=0))),
        "dropped": names[0],
        "masked": names[1],
    }


def _layout_summary(lengths: np.ndarray, plan: np.ndarray, size: int) -> files.Json:
    rows = len(np.unique(plan[:, 0]))
    used = int(np.minimum(lengths[plan[:, 1]], size).sum())
    return {"rows": rows, "useful_fraction": used / (rows * size) if rows else 0.0}
