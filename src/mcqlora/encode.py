"""Records to rows of token ids, a segment cache in front of SentencePiece."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from sentencepiece import SentencePieceProcessor

from mcqlora import prompt, tokenizer
from mcqlora.prompt import Encode, Template

IGNORE = -100  # the label that the loss leaves out
SPACE = "\u2581"  # how a vocabulary piece spells a space
CACHED = 1 << 20  # segments, and words

Row = dict[str, np.ndarray]


class SegmentEncoder:
    """`encoder(text)` equals `processor.encode(text)`, and encodes each distinct segment of its texts once.

    A text is cut after a newline where the pair (newline, next character) stands inside no piece of the
    vocabulary. No BPE merge can cross such a place, so the segments' ids joined are the ids of the text.
    Shuffled copies of a question share nearly all their segments. A new segment is cut into words by the same
    law, before a space. A model for which it does not hold (not BPE, or one whose normalisation looks beyond
    a character) is served without cutting.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self._encode = encode = processor.encode
        self._lines = None
        settings = tokenizer.settings(processor)
        if not _can_cut(settings):
            return
        self._lines, words = _cuts(processor)
        if settings.dummy_prefix:  # only the first segment has it: encode the others after a newline
            self._first, before = _Cache(encode), len(encode("\n"))
            self._inner = _Cache(lambda segment: encode("\n" + segment)[before:])
        else:
            word = _Cache(encode)
            self._inner = _Cache(lambda segment: [i for part in words.split(segment) for i in word[part]])
            self._first = self._inner

    def __call__(self, text: str) -> list[int]:
        if self._lines is None:
            return self._encode(text)
        first, *others = self._lines.split(text)
        ids = list(self._first[first])
        for segment in others:
            ids += self._inner[segment]
        return ids


class _Cache(dict[str, tuple[int, ...]]):
    def __init__(self, encode: Encode) -> None:
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


def _cuts(processor: SentencePieceProcessor) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of the (empty) places where a text may be cut: between lines, and between words."""
    pieces = (processor.id_to_piece(index).replace(" ", SPACE) for index in range(processor.vocab_size()))
    pairs = {pair for piece in pieces for pair in itertools.pairwise(piece)}
    after_newline = _none_of(after for before, after in pairs if before == "\n")
    before_space = _none_of(before for before, after in pairs if after == SPACE)
    return (
        re.compile(rf"(?<=\n)(?={after_newline})"),
        re.compile(rf"(?<={before_space})(?=[ {SPACE}])"),
    )


def _none_of(characters: Iterable[str]) -> str:
    """A regular expression for one character of a text that is none of these characters of pieces."""
    characters = set(characters)
    if SPACE in characters:
        characters.add(" ")
    return f"[^{''.join(map(re.escape, sorted(characters)))}]" if characters else r"[\s\S]"


class Document(NamedTuple):
    """An unpadded training row: int32[n] with its </s>, of which the first `n_prompt` carry no label."""

    ids: np.ndarray
    n_prompt: int


@dataclass
class Stats:
    """What became of a split's records; filled while its rows are consumed."""

    size: int
    rows: int = 0
    ids: int = 0
    longest: int = 0
    dropped: list[dict[str, Any]] = field(default_factory=list)
    masked: list[dict[str, Any]] = field(default_factory=list)

    def count(self, record: Mapping[str, Any], length: int, kept: bool, labelled: bool) -> None:
        """Count one record of `length` ids: whether it gave a row, and whether that has a label."""
        self.longest = max(self.longest, length)
        if kept:
            self.rows += 1
            self.ids += min(length, self.size)
        if not (kept and labelled):
            name = {"id": record.get("id"), "order": record.get("order"), "length": length}
            (self.masked if kept else self.dropped).append(name)

    def summary(self) -> dict[str, Any]:
        """Plain values for the ledger; `useful_fraction` is ids that are no padding over the rows' ids."""
        return {
            "size": self.size,
            "records": self.rows + len(self.dropped),
            "rows": self.rows,
            "ids": self.ids,
            "useful_fraction": self.ids / (self.rows * self.size) if self.rows else 0.0,
            "longest": self.longest,
            "dropped": self.dropped,
            "masked": self.masked,
        }


def encode_row(encode: Encode, template: Template, record: Mapping[str, str]) -> tuple[list[int], int]:
    """The ids of an Alpaca record, </s> included, and how many of them are its prompt."""
    return prompt.row_ids(encode, template, record["instruction"], record["input"], record["output"])


def label_ids(ids: np.ndarray, n_prompt: int) -> np.ndarray:
    """Labels of a row, int32[n], each at the index of its input (the network shifts); the prompt is ignored.

    The first id never has a label: in a packed row it would be predicted from the document before.
    """
    labels = ids.astype(np.int32)
    labels[: max(n_prompt, 1)] = IGNORE
    return labels


def pad_row(
    ids: list[int],
    n_prompt: int,
    size: int,
    pad: int,
    edge: Literal["corrected", "reference"] = "corrected",
    on_long: Literal["drop", "truncate"] = "drop",
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a row of n ids to `size`: (input_ids int32[size], labels int32[size]), or None when it is dropped.

    n < size is padded; n = size keeps its labels. n > size is dropped, or with `on_long="truncate"` cut, with
    no label left. `edge="reference"` repeats the MindFormers script, which at n = size ignores every label
    (`targets[-0:]`); what that script does beyond (a crash, rows of unequal length) is not repeated.
    """
    n = len(ids)
    if n > size and on_long == "drop":
        return None
    input_ids = np.full(size, pad, np.int32)
    labels = np.full(size, IGNORE, np.int32)
    input_ids[:n] = ids[:size]
    if n < size or (n == size and edge == "corrected"):
        labels[:n] = label_ids(input_ids[:n], n_prompt)
    return input_ids, labels


def encode_split(
    records: Iterable[Mapping[str, Any]],
    encode: Encode,
    template: Template,
    size: int,
    edge: Literal["corrected", "reference"] = "corrected",
    on_long: Literal["drop", "truncate"] = "drop",
) -> tuple[Iterator[Row], Stats]:
    """Padded rows {"input_ids", "labels"}, both int32[size], in the order of `records`.

    `size` is the length of a row: seq_length + 1 to train, seq_length to evaluate.
    """
    stats = Stats(size)

    def rows() -> Iterator[Row]:
        for record in records:
            ids, n_prompt = encode_row(encode, template, record)
            row = pad_row(ids, n_prompt, size, template.pad, edge, on_long)
            if row is None:
                stats.count(record, len(ids), kept=False, labelled=False)
                continue
            input_ids, labels = row
            stats.count(record, len(ids), kept=True, labelled=bool((labels != IGNORE).any()))
            yield {"input_ids": input_ids, "labels": labels}

    return rows(), stats


def encode_documents(
    records: Iterable[Mapping[str, Any]], encode: Encode, template: Template, size: int
) -> tuple[Iterator[Document], Stats]:
    """Unpadded rows of at most `size` ids, for `packing`, in the order of `records`; longer are dropped."""
    stats = Stats(size)

    def documents() -> Iterator[Document]:
        for record in records:
            ids, n_prompt = encode_row(encode, template, record)
            fits = len(ids) <= size
            stats.count(record, len(ids), kept=fits, labelled=fits)
            if fits:
                yield Document(np.array(ids, np.int32), n_prompt)

    return documents(), stats
