"""Duplicate groups: which questions are one item, by equal or by nearly equal text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcqlora.data.option_references import bounded
from mcqlora.data.questions import LETTERS, Question
from mcqlora.files import Json

# How two questions are found to be one item, in a reader's words; see `keys` and `find`.
DEFINITIONS = {
    "question_and_options": "equal question and options",
    "question_and_answer": "equal question and right option",
    "question_text": "equal question that is no general stem",
    "family": "one family, by the benchmark's own expression",
    "passage": "equal passage",
    "near_duplicate": "similar question and options",
}
EXACT = ("question_and_options", "question_and_answer", "question_text")
GENERAL = 5
STEM = f"a text with at least {GENERAL} different right options"

_SHINGLE = 5
_PERMUTATIONS = 128
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 over the golden ratio: spreads its products' high bits


def fold(text: str) -> str:
    """Text reduced to what tells questions apart: NFKC, casefolded, without white space and punctuation.

    Symbols (+, <, =) stay. A text of nothing but punctuation is kept, since nothing else is there.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return plain.translate(_DROPPED) or plain


class _Dropped(dict[int, int | None]):
    """A `str.translate` table filled as characters are met: white space and punctuation vanish."""

    def __missing__(self, code: int) -> int | None:
        gone = chr(code).isspace() or unicodedata.category(chr(code))[0] in "PZC"
        return self.setdefault(code, None if gone else code)


_DROPPED = _Dropped()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Which questions are one item, and how many each definition finds."""

    groups: dict[str, str]  # {id: smallest id of its group} of every question
    counts: Json  # see `find`
    unmatched: list[str]  # benchmarks whose expression of families is found in none of their questions


def keys(
    questions: Iterable[Question], families: Mapping[str, str] | None = None
) -> dict[str, list[Hashable]]:
    """The exact definitions: two questions are one item by one of them if they have the same key, not None.

    Those of `EXACT` compare folded texts, see `fold`; a passage is part of its question's text.
    `question_and_options` takes the options in any order,
    `question_and_answer` only the right one. `question_text` is the text alone, of questions whose text is
    no general stem: such as "Which is true?", it says nothing of its own. The rule is one of counting, so it
    knows no language and no order: a text is a general stem if it stands with at least `GENERAL` different
    right options among all these questions.

    `family` is looked for only where `families`, {benchmark: regular expression}, has one: two questions of
    that benchmark are one family if it is found in both texts, as they stand, with the same groups. `passage`
    is compared where any question has one.

    Returns:
        By definition a key of each question, in their order.

    Raises:
        UserError: an expression comes to no end.
    """
    expressions = {name: re.compile(one) for name, one in (families or {}).items()}
    drawn: list[Hashable] = []
    passages: list[Hashable] = []
    texts: list[str] = []
    options: list[tuple[str, ...]] = []
    right: list[str] = []
    for question in questions:
        folded = [fold(option) for option in question.options]
        passages.append(fold(question.passage) or None)
        texts.append(_asked(question))
        options.append(tuple(sorted(folded)))
        right.append(folded[LETTERS.index(question.answer)])
        drawn.append(_family(question, expressions))
    answers = Counter(text for text, _ in set(zip(texts, right, strict=True)))
    exact: dict[str, list[Hashable]] = {
        "question_and_options": list(zip(texts, options, strict=True)),
        "question_and_answer": list(zip(texts, right, strict=True)),
        "question_text": [text if answers[text] < GENERAL else None for text in texts],
    }
    own = ({"family": drawn} if expressions else {}) | ({"passage": passages} if any(passages) else {})
    return exact | own


def _family(question: Question, expressions: Mapping[str, re.Pattern[str]]) -> Hashable:
    name = question.benchmark
    if name not in expressions:
        return None
    match = bounded(expressions[name], f"benchmarks: family of {name}", question.question)
    return (name, *match.groups()) if match else None


def find(
    questions: Sequence[Question],
    near_duplicate_threshold: float | None = None,
    families: Mapping[str, str] | None = None,
) -> Duplicates:
    """The duplicate groups, which are closed transitively over all definitions of `DEFINITIONS`.

    With a threshold in (0, 1], questions are also one item if their sets of 5-character shingles, of text and
    options together, have at least that Jaccard similarity. Candidates come from MinHash LSH (datasketch, 128
    permutations) and are checked exactly. Comparing keys takes a second for 28,000 questions, near duplicates
    about eight more. `families` is for `keys`.

    Returns:
        With the counts `threshold`; `definitions`: {definition: {groups, questions}} of each that was looked
        for, alone; `together`: the same of all, and `largest`, the questions in the largest group;
        `general_stems`: their `rule`, {texts, questions}.

    Raises:
        UserError: the threshold is not in (0, 1], or an expression of a family comes to no end.
    """
    exact = keys(questions, families)
    edges = {name: _equal(known) for name, known in exact.items()}
    if near_duplicate_threshold is not None:
        same = edges["question_and_options"]
        kept = sorted(set(range(len(questions))) - {index for index, _ in same})
        texts = [_whole(questions[index]) for index in kept]
        near = _near(texts, near_duplicate_threshold)
        edges["near_duplicate"] = same + [(kept[a], kept[b]) for a, b in near]
    found = {name: _components(len(questions), pairs) for name, pairs in edges.items()}
    labels = _components(len(questions), [pair for pairs in edges.values() for pair in pairs])
    general = exact["question_text"]
    stems = [_asked(question) for question, key in zip(questions, general, strict=True) if key is None]
    counts = {
        "threshold": near_duplicate_threshold,
        "definitions": {name: _counts(part) for name, part in found.items()},
        "together": _counts(labels) | {"largest": int(np.bincount(labels).max(initial=0))},
        "general_stems": {"rule": STEM, "texts": len(set(stems)), "questions": len(stems)},
    }
    labelled = list(zip([question.id for question in questions], labels.tolist(), strict=True))
    name = {label: identity for identity, label in sorted(labelled, reverse=True)}
    pairs = zip(questions, exact.get("family", [None] * len(questions)), strict=True)
    matched = {question.benchmark for question, key in pairs if key is not None}
    unmatched = sorted((families or {}).keys() - matched)
    return Duplicates({identity: name[label] for identity, label in labelled}, counts, unmatched)


def groups(
    questions: Sequence[Question],
    near_duplicate_threshold: float | None = None,
    families: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The duplicate group of each question: {id: smallest id of its group}; see `find`."""
    return find(questions, near_duplicate_threshold, families).groups


def _whole(question: Question) -> str:
    return "\n".join((_asked(question), *sorted(map(fold, question.options))))


def _asked(question: Question) -> str:
    return fold(question.passage) + fold(question.question)


def _equal(known: Iterable[Hashable]) -> list[tuple[int, int]]:
    """Each index with the first one that has the same key, if that is another."""
    first: dict[Hashable, int] = {}
    pairs = ((index, first.setdefault(key, index)) for index, key in enumerate(known) if key is not None)
    return [(index, other) for index, other in pairs if index != other]


def _components(size: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """int array [size]: a label of each index, equal for those that edges connect."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(edges), bool), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1] if size else np.zeros(0, int)


def _counts(labels: np.ndarray) -> dict[str, int]:
    """{groups, questions}: how many groups have more than one question, and the questions in them."""
    sizes = np.bincount(labels)
    return {"groups": int((sizes > 1).sum()), "questions": int(sizes[sizes > 1].sum())}


def _near(texts: list[str], threshold: float) -> Iterator[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    shingles = [_shingles(text) for text in texts]
    # The index proposes and the exact similarity decides, so the index is tuned to miss little: it looks 0.1
    # below the threshold, and a miss weighs nine times a false alarm. At 0.8 it proposes 99.8 % of the pairs.
    lower = min(max(threshold - 0.1, 0.1), 0.9)
    index = MinHashLSH(threshold=lower, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    sketches = MinHash.generator(shingles, num_perm=_PERMUTATIONS, hashfunc=int)
    for position, (values, sketch) in enumerate(zip(shingles, sketches, strict=True)):
        for other in sorted(index.query(sketch)):
            common = len(np.intersect1d(values, shingles[other], assume_unique=True))
            if common >= threshold * (len(values) + len(shingles[other]) - common):
                yield position, other
        index.insert(position, sketch)


def _shingles(text: str) -> np.ndarray:
    """uint32 hashes, sorted and distinct, of all runs of five characters; the last runs are padded."""
    codes = np.frombuffer((text + "\0" * (_SHINGLE - 1)).encode("utf-32-le"), np.uint32).astype(np.uint64)
    size = len(codes) - _SHINGLE + 1
    hashes = np.zeros(size, np.uint64)
    for start in range(_SHINGLE):
        hashes = hashes * _ODD + codes[start : start + size]  # modulo 2 ** 64
    return np.unique((hashes * _ODD >> np.uint64(32)).astype(np.uint32))
