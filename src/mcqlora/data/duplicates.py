"""Duplicate groups: which questions are one item, by equal or by nearly equal text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mcqlora.data.questions import Question

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


def groups(questions: Sequence[Question], near_duplicate_threshold: float | None = None) -> dict[str, str]:
    """The duplicate group of each question: {id: smallest id of its group}.

    Two questions are one item if their folded texts are equal, and their folded options in any order. With a
    threshold in (0, 1], questions are also merged if their sets of 5-character shingles have at least that
    Jaccard similarity. Candidates come from MinHash LSH (datasketch, 128 permutations) and are checked
    exactly; groups are closed transitively. Comparing texts takes a second for 28,000 questions, near
    duplicates about eight more.

    Raises:
        UserError: the threshold is not in (0, 1].
    """
    folded = [(fold(q.question), tuple(sorted(map(fold, q.options)))) for q in questions]
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    edges = [(index, first.setdefault(key, index)) for index, key in enumerate(folded)]
    if near_duplicate_threshold is not None:
        representatives = sorted(first.values())
        texts = ["\n".join((folded[index][0], *folded[index][1])) for index in representatives]
        edges += [(representatives[a], representatives[b]) for a, b in _near(texts, near_duplicate_threshold)]
    return _components([q.id for q in questions], edges)


def _components(ids: list[str], edges: list[tuple[int, int]]) -> dict[str, str]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not ids:
        return {}
    rows, columns = np.array(edges).T
    graph = coo_matrix((np.ones(len(edges), bool), (rows, columns)), shape=(len(ids), len(ids)))
    labelled = list(zip(ids, connected_components(graph, directed=False)[1].tolist(), strict=True))
    name = {label: identity for identity, label in sorted(labelled, reverse=True)}
    return {identity: name[label] for identity, label in labelled}


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


def counts(groups: Mapping[str, str]) -> dict[str, int]:
    """{groups, questions}: how many groups have more than one question, and the questions in them."""
    sizes = [size for size in Counter(groups.values()).values() if size > 1]
    return {"groups": len(sizes), "questions": sum(sizes)}
