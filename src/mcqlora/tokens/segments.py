"""The segment encoder: the tokenizer's ids of a text, each distinct segment encoded once."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise

from mcqlora.tokens import tokenizer
from mcqlora.tokens.prompt import Encode
from mcqlora.tokens.tokenizer import SentencePiece, Tokenizer

SPACE = "\u2581"  # how a vocabulary piece spells a space
NEWLINE = "\n"
CACHED = 1 << 18  # texts in a cache
HEAD = 24  # characters of a line among which the period after a letter is looked for

Pairs = set[tuple[str, str]]
Int32 = Callable[[str], bytes]  # a text's ids, as the bytes of int32[n]


class SegmentEncoder:
    """`encoder(text)` equals `tokenizer.encode(text)`, but encodes each distinct segment of its texts once.

    SentencePiece: a text may be cut between two characters that stand side by side in no piece of the
    vocabulary. No BPE merge can cross such a place, so the segments' ids joined are the ids of the text.
    Byte-level BPE: where its pre-tokenizer ends a word, see `_by_words`. A model for which neither holds (not
    BPE, with normalisation across characters, an unknown pre-tokenizer) encodes whole texts.

    `encoder.int32(text)` has the same ids as the bytes of int32[n]: cached bytes are copied, and no id is
    made a Python object.
    """

    def __init__(self, given: Tokenizer) -> None:
        if isinstance(given, SentencePiece):
            self.int32 = _of_pieces(given)
        elif given.line_cut:
            self.int32 = _by_words(given.encode, given.line_cut == "before")
        else:
            self.int32 = _int32(given.encode)

    def __call__(self, text: str) -> list[int]:
        return array("i", self.int32(text)).tolist()


def _of_pieces(processor: SentencePiece) -> Int32:
    settings = tokenizer.settings(processor)
    if not _can_cut(settings):
        return _int32(processor.encode)
    by = _by_lines if settings.dummy_prefix else _by_parts
    return by(processor.encode, _pairs(processor))


def _by_words(encode: Encode, newline_first: bool) -> Int32:
    r"""Cut at newlines, after a line's head (see `_by_parts`), and what is new at single spaces.

    All of these are ends of words for the pre-tokenizers that `fast` knows, and would be if a text ended or
    began there:

    * before a space between two characters that are none: no word has a space but at its start;
    * between a Latin letter and a period: none goes on from letters to a period;
    * after a newline before a character that is neither a space nor "/", where newlines end a word
      (`newline_first` is False): "\s*[\r\n]+" takes all of them, as does punctuation with its "[\r\n]*";
    * before a newline before a Latin letter in GPT-2's: of a run of spaces it leaves the last one alone.
    """
    head = rf"[^\n.]{{0,{HEAD}}}[A-Za-z](?=\.)"
    first_head, after = re.compile(head).match, "[A-Za-z]" if newline_first else r"[^\s/]"
    heads_and_rests = re.compile(rf"\n(?={after})((?:{head})?)").split
    before_spaces = re.compile(r"(?<=\S)(?= \S)").split

    words = _Cache(_int32(encode))

    def spelt(part: str) -> bytes:
        return b"".join(map(words.__getitem__, before_spaces(part)))

    parts, with_newline = (
        _Cache(spelt),
        _Cache(lambda part: spelt(NEWLINE + part if newline_first else part + NEWLINE)),
    )
    heads, rests = (with_newline, parts) if newline_first else (parts, with_newline)

    def encoded(text: str) -> bytes:
        found = first_head(text)
        start = found.end() if found else 0
        cut = heads_and_rests(text[start:])  # rests and heads in turn
        made = [parts[text[:start]] if found else b""] + [b""] * len(cut)
        made[1:-1:2] = map(rests.__getitem__, cut[:-1:2])
        made[2::2] = map(heads.__getitem__, cut[1::2])
        made[-1] = parts[cut[-1]]
        return b"".join(made)

    return encoded


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


def _pairs(processor: SentencePiece) -> Pairs:
    """All pairs of characters side by side in a piece, with `SPACE` for a space."""
    pieces = map(processor.IdToPiece, range(processor.get_piece_size()))
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
