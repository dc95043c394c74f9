"""Records to documents of token ids, a segment cache in front of SentencePiece."""

from __future__ import annotations

import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from mcqlora import files
from mcqlora.launch.processes import each_in_its_own
from mcqlora.tokens import prompt
from mcqlora.tokens.prompt import Part, Template
from mcqlora.tokens.segments import Int32, SegmentEncoder


class Document(NamedTuple):
    """An unpadded training row: int32[n] with its </s>, of which the first `n_prompt` carry no label."""

    ids: np.ndarray
    n_prompt: int


class Documents(Sequence[Document]):
    """All documents of a part: `ids` int32[total] and, of each document, `shapes` int64[documents, 3].

    A row of `shapes` is a document's length, how many of its ids are prompt, and where in `ids` it starts.
    """

    def __init__(self, ids: np.ndarray, shapes: np.ndarray) -> None:
        self.ids, self.shapes = ids, shapes
        self.lengths = shapes[:, 0]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Documents:
        """The documents of any sequence, their ids copied one after the other."""
        if isinstance(documents, cls):
            return documents
        lengths = np.array([len(document.ids) for document in documents], np.int64)
        n_prompt = np.array([document.n_prompt for document in documents], np.int64)
        ids = np.concatenate([np.empty(0, np.int32), *(document.ids for document in documents)])
        return cls(ids, np.stack((lengths, n_prompt, np.cumsum(lengths) - lengths), axis=1))

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Document:
        length, n_prompt, start = self.shapes[index].tolist()
        return Document(self.ids[start : start + length], n_prompt)


def row_encoder(int32: Int32, template: Template) -> Callable[[Mapping[str, str]], tuple[bytes, int]]:
    """A function of an Alpaca record: its ids, as the bytes of int32[n], and how many are its prompt."""
    fixed: dict[Part, bytes] = {number: number.to_bytes(4, sys.byteorder) for number in template}
    fixed[prompt.BOT] = int32(prompt.BOT)

    def encoded(record: Mapping[str, str]) -> tuple[bytes, int]:
        start, answer = prompt.row_parts(template, record["instruction"], record["input"], record["output"])
        ids = b"".join([fixed.get(part) or int32(part) for part in start])
        return ids + b"".join([fixed.get(part) or int32(part) for part in answer]), len(ids) // 4

    return encoded


def write_documents(
    records: files.PathLike,
    encoder: SegmentEncoder,
    template: Template,
    size: int,
    ids: files.PathLike,
    shapes: files.PathLike,
    workers: int = 1,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Encode the records of a JSON array into the two files of `read_documents`, streaming.

    Every worker is a process and takes the records of its own questions, so that none encodes what another
    one has in its cache.

    Returns:
        The documents' lengths, int64[documents]; and what a row of `size` ids has no room for, or no room to
        spare: [{"index", "id", "order", "length"}] of the records with `size` ids or more; `index` counts
        records from 0.
    """
    with files.atomic(ids) as file, tempfile.TemporaryDirectory(dir=Path(ids).parent, prefix=".") as folder:
        shares = [
            _Share(records, encoder, template, size, Path(folder, str(worker)), worker, workers)
            for worker in range(workers)
        ]
        found, long, start = [], [], 0
        for share, (own, own_long) in zip(shares, each_in_its_own(_write_share, shares), strict=True):
            starts = start + np.cumsum(own[:, 1]) - own[:, 1]
            found.append(np.column_stack((own, starts)))
            long += own_long
            start += int(own[:, 1].sum())
            with open(share.ids, "rb") as part:
                shutil.copyfileobj(part, file, files.BUFFER)
    everything = np.concatenate(found)
    in_order = everything[np.argsort(everything[:, 0]), 1:]
    files.write_array(shapes, in_order)
    return in_order[:, 0], sorted(long, key=lambda name: name["index"])


class _Share(NamedTuple):
    """What a worker is told: as `write_documents`, and the file for the ids of its documents alone."""

    records: files.PathLike
    encoder: SegmentEncoder
    template: Template
    size: int
    ids: Path
    worker: int
    workers: int


def _write_share(share: _Share) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Write a worker's documents; returns int64[n, 3] of (index, length, prompt), and the long ones."""
    found, long, encoded = array("q"), [], row_encoder(share.encoder.int32, share.template)
    with open(share.ids, "wb", files.BUFFER) as file:
        for index, line in enumerate(files.json_array_lines(share.records)):
            # A record starts with its question's id. Any choice gives the same documents, this one fast.
            if crc32(line.partition(b",")[0]) % share.workers != share.worker:
                continue
            record = files.json_array_element(share.records, index, line)
            row, n_prompt = encoded(record)
            file.write(row)
            length = len(row) // 4
            found.extend((index, length, n_prompt))
            if length >= share.size:
                name = {"id": record.get("id"), "order": record.get("order")}
                long.append({"index": index} | name | {"length": length})
    return np.frombuffer(found, np.int64).reshape(-1, 3), long


def read_documents(ids: files.PathLike, shapes: files.PathLike) -> Documents:
    """The documents of `write_documents`; their ids stay on disk until they are asked for."""
    found = np.load(shapes)
    total = int(found[:, 0].sum(dtype=np.int64))
    mapped = np.memmap(ids, np.int32, "r", shape=(total,)) if total else np.empty(0, np.int32)
    return Documents(np.asarray(mapped), found)  # a slice of a memmap costs ten times that of an array
