"""The segment encoder: SentencePiece's ids of a text, each distinct segment encoded once."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise

from sentencepiece import SentencePieceProcessor

from mcqlora.tokens import tokenizer
from mcqlora.tokens.prompt import Encode

SPACE = "\u2581"  # how a vocabulary piece spells a space
NEWLINE = "\n"
CACHED = 1 << 18  # texts in a cache
HEAD = 24  # characters of a line among which the period after a letter is looked for

Pairs = set[tuple[str, str]]
Int32 = Callable[[str], bytes]  # a text's ids, as the bytes of int32[n]


class SegmentEncoder:
    """`encoder(text)` equals `processor.encode(text)`, but encodes each distinct segment of its texts once.

    A text may be cut between two characters that stand side by side in no piece of the vocabulary. No BPE
    merge can cross such a place, so the segments' ids joined are the ids of the text. A model for which that
    does not hold (not BPE, or with normalisation across characters) encodes whole texts.

    `encoder.int32(text)` has the same ids as the bytes of int32[n]: cached bytes are copied, and no id is
    made a Python object.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        settings = tokenizer.settings(processor)
        if not _can_cut(settings):
            self.int32 = _int32(processor.encode)
        elif settings.dummy_prefix:
            self.int32 = _by_lines(processor.encode, _pairs(processor))
        else:
            self.int32 = _by_parts(processor.encode, _pairs(processor))

    def __call__(self, text: str) -> list[int]:
        return array("i", self.int32(text)).tolist()


def _by_lines(encode: Encode, pairs: Pairs) -> Int32:
    """Cut after newlines. Only the first line has the dummy prefix; others are encoded after a newline."""
    before = len(encode(NEWLINE))
    firsts, others = _Cache(_int32(encode)), _Cache(lambda line: to_bytes(encode(NEWLINE + line)[before:]))
    after_newlines = re.compile(rf"(?<=\n)(?={_none_of(_after(pairs, NEWLINE))})").split

    def encoded(text: str) -> bytes:
        first, *lines = after_newlines(text)
        return firsts[first] + b"".join(map(others.__getitem__, lines))

    return encoded


def _by_parts(encode: Encode, pairs: Pairs) -> Int32:
    """Cut after newlines, and cut a line in two near its start.

    The letter of an option stays in the first part, the head: "A", or "A." and perhaps the first word, where
    a merge can cross the period. The rest is looked up whole, whatever the letter: shuffled copies of a
    question share it. A new rest is cut before its spaces, and near its end, since with and without a newline
    only its last ids differ.
    """
    turned = {(second, first) for first, second in pairs}
    before_space, before_period = _after(turned, SPACE), _after(turned, ".")
    after_newline, after_period = _after(pairs, NEWLINE), _after(pairs, ".")
    to_space = rf"[^ \n]*+(?<={_none_of(before_space)})(?= )"
    to_period = rf"(?<={_none_of(before_period)})(?=\.)|\.(?:(?!{_any_of(after_period)})|{to_space})"
    head = rf"[^\n.]{{0,{HEAD}}}+(?:{to_period})"
    heads_and_rests = re.compile(rf"\n(?!{_any_of(after_newline)})({head})?").split
    stuck = re.compile(rf"{_any_of(before_space)} ").search  # a space before which there is no cut
    before_spaces = re.compile(rf"(?<={_none_of(before_space)})(?= )").split

    parts, spaced = _Cache(_int32(encode)), _Cache(lambda word: to_bytes(encode(" " + word)))
    rests, lines = _Cache(lambda rest: fill(rest)[0]), _Cache(lambda rest: fill(rest)[1])

    def fill(rest: str) -> tuple[bytes, bytes]:
        """The ids of `rest`, without a newline and with one, for both caches.

        It is cut at the last place that no merge crosses in either.
        """
        place, after, spelt = len(rest), NEWLINE, rest.replace(" ", SPACE)
        while place and (spelt[place - 1], after) in pairs:
            place -= 1
            after = spelt[place]
        start, end = words(rest[:place]), rest[place:]
        if max(len(rests), len(lines)) >= CACHED:
            rests.clear()
            lines.clear()
        rests[rest], lines[rest] = start + parts[end], start + parts[end + NEWLINE]
        return rests[rest], lines[rest]

    def words(text: str) -> bytes:
        if stuck(text):
            return b"".join(map(parts.__getitem__, before_spaces(text)))
        first, *others = text.split(" ")
        return parts[first] + b"".join(map(spaced.__getitem__, others))

    def encoded(text: str) -> bytes:
        if text[:1] in after_newline:
            cut = ["", *heads_and_rests(text)]
        else:
            cut = heads_and_rests(NEWLINE + text)[1:]
        # Heads (empty or None where there is none) and rests in turn; every rest but the last has a newline.
        found = [b""] * len(cut)
        found[::2] = [parts[head] if head else b"" for head in cut[::2]]
        found[1:-1:2] = map(lines.__getitem__, cut[1:-1:2])
        found[-1] = rests[cut[-1]]
        return b"".join(found)

    return encoded


class _Cache(dict[str, bytes]):
    def __init__(self, encode: Int32) -> None:
        self._encode = encode

    def __missing__(self, text: str) -> bytes:
        if len(self) >= CACHED:  # bounds the memory; the next texts fill it again
            self.clear()
        ids = self[text] = self._encode(text)
        return ids


def to_bytes(ids: Iterable[int]) -> bytes:
    """Ids as the bytes of int32[n]."""
    return array("i", ids).tobytes()


def _int32(encode: Encode) -> Int32:
    return lambda text: to_bytes(encode(text))


def _can_cut(settings: tokenizer.Settings) -> bool:
    """Whether a character's ids depend on the pairs it could merge in, and on nothing else."""
    # Without bytes to fall back to, a run of unknown characters becomes one id, across any cut.
    plain = settings.is_bpe and settings.byte_fallback and not settings.whitespace_as_suffix
    return plain and not (settings.maps_characters or settings.remove_extra_whitespaces)


def _pairs(processor: SentencePieceProcessor) -> Pairs:
    """All pairs of characters side by side in a piece, with `SPACE` for a space."""
    pieces = map(processor.id_to_piece, range(processor.vocab_size()))
    return {pair for piece in pieces for pair in pairwise(piece.replace(" ", SPACE))}


def _after(pairs: Pairs, before: str) -> frozenset[str]:
    """The second characters of the pairs that begin with `before`; a text may spell `SPACE` as a space."""
    found = frozenset(second for first, second in pairs if first == before)
    return found | {" "} if SPACE in found else found


def _any_of(characters: Iterable[str]) -> str:
    """A regular expression for one of these characters; with none it never matches."""
    return f"[{''.join(map(re.escape, sorted(characters)))}]" if characters else r"(?!)"


def _none_of(characters: Iterable[str]) -> str:
    """A regular expression for one character that is none of these."""
    return f"[^{''.join(map(re.escape, sorted(characters)))}]" if characters else r"[\s\S]"
