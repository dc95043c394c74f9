"""Records to documents of token ids: encoded by several processes, through the segment cache."""

from __future__ import annotations

import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import numpy as np

from mcqlora import files, hashing
from mcqlora.launch.processes import each_in_its_own
from mcqlora.tokens import prompt
from mcqlora.tokens.marks import BOT
from mcqlora.tokens.prompt import Part, Template
from mcqlora.tokens.segments import Int32, SegmentEncoder

if TYPE_CHECKING:
    from mcqlora.data.alpaca import AlpacaRecord, Record
    from mcqlora.data.mix import MixedRecord, PlainRecord

Passages = dict[str, tuple[int, int]]  # by hash: its ids, and the documents that are about it
Encoded = tuple[np.ndarray, list[dict[str, Any]], Passages]  # of documents: numbers, and the long ones


def row_encoder(
    int32: Int32, template: Template
) -> Callable[[AlpacaRecord | PlainRecord], tuple[bytes, int]]:
    """A function of a record: its ids, as the bytes of int32[n], and how many of them are its prompt.

    A record with a `prompt` is plain text, all others are dialogues.
    """
    fixed: dict[Part, bytes] = {number: number.to_bytes(4, sys.byteorder) for number in template}
    fixed[BOT] = int32(BOT)

    def encoded(record: AlpacaRecord | PlainRecord) -> tuple[bytes, int]:
        if "prompt" in record:
            text = cast("PlainRecord", record)
            start, answer = prompt.continued(int32, text["prompt"], text["completion"])
            return fixed[template.bos] + start + answer + fixed[template.eos], 1 + len(start) // 4
        start, answer = (
            b"".join([fixed.get(part) or int32(str(part)) for part in parts])
            for parts in prompt.row_parts(template, record["instruction"], record["input"], record["output"])
        )
        return start + answer, len(start) // 4

    return encoded


def write_documents(
    records: Sequence[files.PathLike],
    encoder: SegmentEncoder,
    template: Template,
    size: int,
    ids: files.PathLike,
    shapes: files.PathLike,
    workers: int = 1,
) -> Encoded:
    """Encode the records of JSON arrays, one after the other, into the two files of
    `packing.read_documents`, streaming.

    Every worker is a process and takes the records of its own questions, so that none encodes what is in
    another one's cache.

    Returns:
        The documents' lengths, int64[documents]; the documents of `size` ids or more, in order: `index` of
        the record, from 0, its `id` and `order`, `length` in ids; and the passages, each encoded on its own.

    Raises:
        UserError: the records are not JSON or cut off (names the line), or the disk is full.
    """
    encoded = row_encoder(encoder.int32, template)
    with files.atomic(ids) as file, tempfile.TemporaryDirectory(dir=Path(ids).parent, prefix=".") as folder:

        def write_share(worker: int) -> Encoded:
            """Write a worker's documents: int64[n, 3] of (index, length, prompt), and the long ones."""
            found, long, passages = array("q"), [], dict[str, tuple[int, int]]()
            with open(Path(folder, str(worker)), "wb", files.BUFFER) as file:
                for index, (path, place, line) in enumerate(_lines(records)):
                    # A record starts with its question's id. Any choice gives the same files; this is fast.
                    if crc32(line.partition(b",")[0]) % workers != worker:
                        continue
                    record: MixedRecord = files.json_array_element(path, place, line)
                    row, n_prompt = encoded(record)
                    file.write(row)
                    length = len(row) // 4
                    found.extend((index, length, n_prompt))
                    if "passage" in record:
                        asked = cast("Record", record)
                        _count(passages, asked["input"][: asked["passage"]], encoder.int32)
                    if length >= size:
                        named = {"index": index, "id": record["id"], "order": record["order"]}
                        long.append(named | {"length": length})
            return np.frombuffer(found, np.int64).reshape(-1, 3), long, passages

        shares = each_in_its_own(write_share, range(workers))
        for worker in range(workers):
            with open(Path(folder, str(worker)), "rb") as part:
                shutil.copyfileobj(part, file, files.BUFFER)
    own = np.concatenate([numbers for numbers, _, _ in shares])
    everything = np.column_stack((own, np.cumsum(own[:, 1]) - own[:, 1]))
    in_order = everything[np.argsort(everything[:, 0]), 1:]
    files.write_array(shapes, in_order)
    long = [document for _, documents, _ in shares for document in documents]
    passages: Passages = {}
    for _, _, own_passages in shares:
        for key, (length, count) in own_passages.items():
            passages[key] = length, count + passages.get(key, (0, 0))[1]
    return in_order[:, 0], sorted(long, key=lambda document: document["index"]), passages


def _count(passages: Passages, text: str, int32: Int32) -> None:
    """One document more that is about this passage."""
    key = hashing.digest(text)
    length, count = passages.get(key) or (len(int32(text)) // 4, 0)
    passages[key] = length, count + 1


def _lines(paths: Sequence[files.PathLike]) -> Iterator[tuple[files.PathLike, int, bytes]]:
    for path in paths:
        for place, line in enumerate(files.json_array_lines(path)):
            yield path, place, line
