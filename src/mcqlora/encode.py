"""Records to documents of token ids, a segment cache in front of SentencePiece."""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sentencepiece import SentencePieceProcessor

from mcqlora import io, prompt, tokenizer
from mcqlora.prompt import Encode, Template

SPACE = "\u2581"  # how a vocabulary piece spells a space
CACHED = 1 << 20  # lines, and words
WAITING = 1 << 18  # ids that are written together


class SegmentEncoder:
    """`encoder(text)` equals `processor.encode(text)`, and encodes each distinct piece of its texts once.

    A text may be cut between two characters that stand side by side in no piece of the vocabulary: no BPE
    merge can cross such a place, so the parts' ids joined are the ids of the text. Places are looked for

    * around newlines, which gives lines: shuffled copies of a question share nearly all of them but letters;
    * in a new line, before spaces and after periods: its first part holds the letter of an option, the rest
      is the option, whatever its letter, and is looked up whole before it is cut on.

    A model for which the law does not hold (not BPE, or one whose normalisation looks beyond a character) is
    served without cutting.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self._encode = encode = processor.encode
        self._joined = None
        settings = tokenizer.settings(processor)
        if not _can_cut(settings):
            return
        pairs = _pairs(processor)
        after_newline = _spelt(after for before, after in pairs if before == "\n")
        # A newline where a text may not be cut; where there is one the whole text goes the slow way.
        self._joined = re.compile(rf"\n{_any_of(after_newline)}").search
        self._slowly = re.compile(rf"(?<=\n)(?={_none_of(after_newline)})").split
        newline = encode("\n")
        if settings.dummy_prefix:  # only the first line has it: encode the others after a newline
            self._first = _Cache(encode)
            self._first_ended = _Cache(lambda line: encode(line + "\n"))
            self._lines = _Cache(lambda line: encode("\n" + line)[len(newline) :])
            self._ended = _Cache(lambda line: encode("\n" + line + "\n")[len(newline) :])
            return
        before_newline = _spelt(before for before, after in pairs if after == "\n")
        before_space = _spelt(before for before, after in pairs if after == SPACE)
        after_period = _spelt(after for before, after in pairs if before == ".")
        stuck = re.compile(rf"{_any_of(before_space)} ").search  # a space before which there is no cut
        loose = re.compile(rf"(?<={_none_of(before_space)})(?= )").split
        words, spaced = _Cache(encode), _Cache(lambda word: encode(" " + word))

        def rest_ids(rest: str) -> Iterable[int]:
            if stuck(rest):
                return itertools.chain.from_iterable(map(words.__getitem__, loose(rest)))
            first, *others = rest.split(" ")
            return itertools.chain(words[first], *map(spaced.__getitem__, others))

        rests = _Cache(rest_ids)

        def line_ids(line: str) -> tuple[int, ...]:
            place = line.find(".") + 1
            if not 0 < place < len(line) or line[place] in after_period:
                place = line.find(" ")
                if place < 1 or line[place - 1] in before_space:
                    return rests[line]
            return words[line[:place]] + rests[line[place:]]

        def ended_ids(line: str) -> tuple[int, ...]:
            if line[-1:] in before_newline:
                return line_ids(line + "\n")
            return (*line_ids(line), *newline)

        self._first = self._lines = _Cache(line_ids)
        self._first_ended = self._ended = _Cache(ended_ids)

    def __call__(self, text: str) -> list[int]:
        if self._joined is None:
            return self._encode(text)
        if self._joined(text):
            first, *others = self._slowly(text)
            ids = list(self._first[first])
            for line in others:
                ids += self._lines[line]
            return ids
        *ended, last = text.split("\n")
        if not ended:
            return list(self._first[last])
        ids = list(self._first_ended[ended[0]])
        for line in ended[1:]:
            ids += self._ended[line]
        ids += self._lines[last]
        return ids


class _Cache(dict[str, tuple[int, ...]]):
    def __init__(self, encode: Callable[[str], Iterable[int]]) -> None:
        self._encode = encode

    def __missing__(self, text: str) -> tuple[int, ...]:
        if len(self) >= CACHED:  # bounds the memory; what comes next fills it again
            self.clear()
        ids = self[text] = tuple(self._encode(text))
        return ids


def _can_cut(settings: tokenizer.Settings) -> bool:
    """Whether what becomes of a character depends on the pairs it could merge in, and on nothing else."""
    keeps_text = not (
        settings.maps_characters or settings.remove_extra_whitespaces or settings.whitespace_as_suffix
    )
    # Without bytes to fall back to, a run of unknown characters becomes one id, across any cut.
    return settings.is_bpe and settings.byte_fallback and keeps_text


def _pairs(processor: SentencePieceProcessor) -> set[tuple[str, str]]:
    """All pairs of characters side by side in a piece, with `SPACE` for a space."""
    pieces = (processor.id_to_piece(index).replace(" ", SPACE) for index in range(processor.vocab_size()))
    return {pair for piece in pieces for pair in itertools.pairwise(piece)}


def _spelt(characters: Iterable[str]) -> frozenset[str]:
    """Characters of pieces as a text spells them: a space is one of two."""
    found = frozenset(characters)
    return found | {" "} if SPACE in found else found


def _any_of(characters: Iterable[str]) -> str:
    """A regular expression for one of these characters; of none it never matches."""
    return f"[{''.join(map(re.escape, sorted(characters)))}]" if characters else r"(?!)"


def _none_of(characters: Iterable[str]) -> str:
    """A regular expression for one character that is none of these."""
    return f"[^{''.join(map(re.escape, sorted(characters)))}]" if characters else r"[\s\S]"


class Document(NamedTuple):
    """An unpadded training row: int32[n] with its </s>, of which the first `n_prompt` carry no label."""

    ids: np.ndarray
    n_prompt: int


class Documents(Sequence[Document]):
    """All documents of a part, one after the other: `ids` int32[total], `shapes` int32[documents, 2].

    A row of `shapes` is a document's length and how many of its ids are prompt.
    """

    def __init__(self, ids: np.ndarray, shapes: np.ndarray) -> None:
        self.lengths, self._prompts = shapes[:, 0], shapes[:, 1].tolist()
        self._ids, self._ends = ids, np.cumsum(self.lengths, dtype=np.int64).tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Document:
        start = self._ends[index - 1] if index else 0
        return Document(self._ids[start : self._ends[index]], self._prompts[index])


def encode_row(encode: Encode, template: Template, record: Mapping[str, str]) -> tuple[list[int], int]:
    """The ids of an Alpaca record, </s> included, and how many of them are its prompt."""
    return prompt.row_ids(encode, template, record["instruction"], record["input"], record["output"])


def write_documents(
    records: Iterable[Mapping[str, Any]],
    encode: Encode,
    template: Template,
    size: int,
    ids: io.PathLike,
    shapes: io.PathLike,
) -> list[dict[str, Any]]:
    """Encode records into the two files of `read_documents`, in their order, streaming.

    Returns:
        What a row of `size` ids has no room for, or no room to spare: [{"index", "id", "order", "length"}] of
        the records with `size` ids or more; `index` counts records from 0.
    """
    found, long, waiting = array("i"), [], array("i")
    with io.atomic(ids) as file:
        for index, record in enumerate(records):
            row, n_prompt = encode_row(encode, template, record)
            found.extend((len(row), n_prompt))
            waiting.fromlist(row)
            if len(waiting) > WAITING:
                waiting.tofile(file)
                del waiting[:]
            if len(row) >= size:
                name = {"id": record.get("id"), "order": record.get("order")}
                long.append({"index": index} | name | {"length": len(row)})
        waiting.tofile(file)
    with io.atomic(shapes) as file:
        np.save(file, np.frombuffer(found, np.int32).reshape(-1, 2))
    return long


def read_documents(ids: io.PathLike, shapes: io.PathLike) -> Documents:
    """The documents of `write_documents`; their ids stay on disk until they are asked for."""
    found = np.load(shapes)
    total = int(found[:, 0].sum(dtype=np.int64))
    return Documents(np.memmap(ids, np.int32, "r", shape=(total,)) if total else np.empty(0, np.int32), found)
