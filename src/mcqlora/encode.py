"""Records to documents of token ids, a segment cache in front of SentencePiece."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from sentencepiece import SentencePieceProcessor

from mcqlora import io, prompt, tokenizer
from mcqlora.prompt import Encode, Template

SPACE = "\u2581"  # how a vocabulary piece spells a space
NEWLINE = "\n"
CACHED = 1 << 18  # words, and rests of lines
HEAD = 24  # characters of a line in which the period after a letter is looked for
HEAD = 24  # characters of a line among which the period after a letter is looked for
WAITING = 1 << 18  # ids that are written together

Pairs = set[tuple[str, str]]


class SegmentEncoder:
    """`encoder(text)` equals `processor.encode(text)`, and encodes each distinct piece of its texts once.

    A text may be cut between two characters that stand side by side in no piece of the vocabulary: no BPE
    merge can cross such a place, so the parts' ids joined are the ids of the text. A model for which that
    does not hold (not BPE, or one whose normalisation looks beyond a character) is served without cutting.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        settings = tokenizer.settings(processor)
        if not _can_cut(settings):
            self._encode = processor.encode
        elif settings.dummy_prefix:
            self._encode = _by_lines(processor.encode, _pairs(processor))
        else:
            self._encode = _by_parts(processor.encode, _pairs(processor))

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _by_lines(encode: Encode, pairs: Pairs) -> Encode:
    """Cuts after newlines. Only the first line has the dummy prefix: others are encoded after a newline."""
    before = len(encode(NEWLINE))
    firsts, others = _Cache(encode), _Cache(lambda line: encode(NEWLINE + line)[before:])
    after_newlines = re.compile(rf"(?<=\n)(?={_none_of(_after(pairs, NEWLINE))})").split

    def encoded(text: str) -> list[int]:
        first, *lines = after_newlines(text)
        return [*firsts[first], *chain(*map(others.__getitem__, lines))]

    return encoded


def _by_parts(encode: Encode, pairs: Pairs) -> Encode:
    """Cuts around newlines, and a line in two near its start.

    The letter of an option stays in the first part ("A." or, if a merge can cross the period, "A.the"); the
    rest is looked up whole, whatever the letter: shuffled copies of a question share nearly all of it. A rest
    that is new is cut before spaces.
    """
    newline = encode(NEWLINE)
    before_newline, after_newline = _before(pairs, NEWLINE), _after(pairs, NEWLINE)
    before_space, after_period = _before(pairs, SPACE), _after(pairs, ".")
    joined = re.compile(rf"\n{_any_of(after_newline)}").search  # a newline after which there is no cut
    after_newlines = re.compile(rf"(?<=\n)(?={_none_of(after_newline)})").split
    stuck = re.compile(rf"{_any_of(before_space)} ").search  # a space before which there is no cut
    before_spaces = re.compile(rf"(?<={_none_of(before_space)})(?= )").split
    words, spaced = _Cache(encode), _Cache(lambda word: encode(" " + word))

    def rest_ids(rest: str) -> Iterable[int]:
        if stuck(rest):
            return chain(*map(words.__getitem__, before_spaces(rest)))
        first, *others = rest.split(" ")
        return chain(words[first], *map(spaced.__getitem__, others))

    rests = _Cache(rest_ids)

    def line_ids(line: str) -> tuple[int, ...]:
        place = line.find(".", 0, HEAD) + 1
        if not 0 < place < len(line) or line[place] in after_period:
            place = line.find(" ", place)
            if place < 1 or line[place - 1] in before_space:
                return rests[line]
        return words[line[:place]] + rests[line[place:]]

    def encoded(text: str) -> list[int]:
        if joined(text):
            return list(chain(*map(rests.__getitem__, after_newlines(text))))
        ids: list[int] = []
        *lines, last = text.split(NEWLINE)
        for line in lines:
            if line[-1:] in before_newline:
                ids += line_ids(line + NEWLINE)
            else:
                ids += line_ids(line)
                ids += newline
        ids += line_ids(last)
        return ids

    return encoded


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


def _pairs(processor: SentencePieceProcessor) -> Pairs:
    """All pairs of characters side by side in a piece, with `SPACE` for a space."""
    pieces = (processor.id_to_piece(index).replace(" ", SPACE) for index in range(processor.vocab_size()))
    return {pair for piece in pieces for pair in pairwise(piece)}


def _before(pairs: Iterable[tuple[str, str]], after: str) -> frozenset[str]:
    """The characters that stand before `after` in some piece, as a text spells them."""
    return _spelt(first for first, second in pairs if second == after)


def _after(pairs: Iterable[tuple[str, str]], before: str) -> frozenset[str]:
    """The characters that stand after `before` in some piece, as a text spells them."""
    return _spelt(second for first, second in pairs if first == before)


def _before(pairs: Pairs, after: str) -> frozenset[str]:
    """The characters that stand before `after` in some piece, as a text spells them."""
    return _spelt(first for first, second in pairs if second == after)


def _after(pairs: Pairs, before: str) -> frozenset[str]:
    """The characters that stand after `before` in some piece, as a text spells them."""
    return _spelt(second for first, second in pairs if first == before)


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
    io.write_array(shapes, np.frombuffer(found, np.int32).reshape(-1, 2))
    return long


def read_documents(ids: io.PathLike, shapes: io.PathLike) -> Documents:
    """The documents of `write_documents`; their ids stay on disk until they are asked for."""
    found = np.load(shapes)
    total = int(found[:, 0].sum(dtype=np.int64))
    mapped = np.memmap(ids, np.int32, "r", shape=(total,)) if total else np.empty(0, np.int32)
    return Documents(np.asarray(mapped), found)  # a slice of a memmap costs ten times that of an array
