"""SQuAD's two scorers: the official one and MindFormers'.

They disagree widely (tests/unit/test_squad.py has a table), so a score is never named "EM" or "F1" alone.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import jieba

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# What MindFormers drops. Its list also holds "……", but as it compares single characters, "…" stays.
_DROPPED = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# MindFormers cuts these characters one by one; jieba segments the runs between them.
_CHINESE = re.compile("([\u4e00-\u9fa5])")


class Score(NamedTuple):
    """Exact match and F1 of an answer, each in 0..1."""

    em: float
    f1: float


def official(prediction: str, golds: Iterable[str]) -> Score:
    """The best EM and the best F1 over `golds`, as in SQuAD's evaluate-v1.1.py.

    Both sides are lower-cased and lose ASCII punctuation, the articles a/an/the and repeated white space; F1
    is that of the bags of words. Source: Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250.
    """
    words = _official_words(prediction)
    expected = list(map(_official_words, golds))
    common = [(Counter(words) & Counter(gold)).total() for gold in expected]
    f1s = [_f1(n, len(words), len(gold)) for n, gold in zip(common, expected, strict=True)]
    return Score(float(words in expected), max(f1s))


def mindformers(prediction: str, gold: str) -> Score:
    """Equal to MindFormers' `EmF1Metric` on one prediction and one gold answer.

    Of the prediction only the first line counts. Both sides are lower-cased and lose a fixed list of symbols:
    ASCII `.,!?'"()` and the articles stay. EM is equality; F1 takes the longest common *contiguous* run of
    segments as the overlap, a segment being a Chinese character or a jieba token (spaces are tokens too).
    """
    left, right = (
        # Stripped before the symbols go, not after: "a -" keeps its space and so differs from "a".
        text.lower().strip().translate(_DROPPED)
        for text in (prediction.strip().split("\n", 1)[0], gold)
    )
    ours, theirs = _segments(left), _segments(right)
    common = SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match().size
    return Score(float(left == right), _f1(common, len(ours), len(theirs)))


def aggregate(scores: Iterable[Score]) -> dict[str, float | None]:
    """The means `em` and `f1` over `n` answers in percent, None of none."""
    scores = list(scores)
    if not scores:
        return {"em": None, "f1": None, "n": 0}
    ems, f1s = zip(*scores, strict=True)
    return {"em": 100.0 * sum(ems) / len(scores), "f1": 100.0 * sum(f1s) / len(scores), "n": len(scores)}


def _official_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(common: int, predicted: int, expected: int) -> float:
    if common == 0:
        return 0.0
    precision, recall = common / predicted, common / expected
    return 2 * precision * recall / (precision + recall)


def _segments(text: str) -> list[str]:
    # A capturing split alternates runs (even places, possibly empty) and single Chinese characters (odd).
    pieces = enumerate(_CHINESE.split(text))
    return [part for i, piece in pieces if piece for part in ([piece] if i % 2 else _jieba().cut(piece))]


@functools.cache
def _jieba() -> jieba.Tokenizer:
    """A jieba tokenizer on the bundled dictionary.

    Loaded by hand: jieba's own start prints to stderr, and shares a cache in the temporary directory with
    every process and user of the machine, so that a stale one would change scores.
    """
    import jieba

    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer
