"""A prompt with the continuations compared after it, and the one row of a forward pass that holds them all.

The continuations stand side by side, see the prompt and themselves alone, and count their positions from the
prompt's end. So each scores as if it stood there alone. What all of them start with is fed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np


class Tree(NamedTuple):
    """Continuations to be compared, each one or more ids, after `prompt`."""

    prompt: list[int]
    branches: list[list[int]]


class Scored(NamedTuple):
    """Of each id of a continuation: its log-probability, float32[n]; the network's first choice, int32[n]."""

    logprobs: np.ndarray
    choices: np.ndarray


class Row(NamedTuple):
    """One row of `Rows`, as lists without padding."""

    ids: list[int]
    branches: list[int]
    places: list[int]
    positions: list[int]
    targets: list[int]


class Rows(NamedTuple):
    """What one forward pass is fed; all int32, padding at the end of a row.

    An id attends to the earlier ones of the prompt and of its own branch.
    """

    ids: np.ndarray  # [B, S]
    branches: np.ndarray  # [B, S], 0 in the prompt, 1, 2, ... in its continuations, -1 in padding
    places: np.ndarray  # [B, S], where each id stands in its text
    positions: np.ndarray  # [B, P], places in the row after which the targets are scored
    targets: np.ndarray  # [B, P], the next ids that are scored there


Forward = Callable[[Rows], tuple[np.ndarray, np.ndarray]]


def fit(tree: Tree, limit: int) -> tuple[Tree, bool]:
    """`tree` cut so that the prompt and any one continuation, without its last id, have at most `limit` ids.

    A continuation loses its end, then the prompt its start; the second value says that the prompt did.
    The last id of a continuation is never fed: nothing after it is scored.
    Source: lm-evaluation-harness cuts alike, lm_eval/models/huggingface.py, `_loglikelihood_tokens`.
    """
    branches = [branch[:limit] for branch in tree.branches]
    room = limit + 1 - max(map(len, branches))
    return Tree(tree.prompt[-room:], branches), len(tree.prompt) > room


def to_row(tree: Tree) -> Row:
    """The row of a tree: the prompt, what all its continuations start with, then the rest of each.

    Targets are in the same order. The last id of a continuation is not fed.
    """
    shared = _shared(tree)
    trunk = tree.prompt + tree.branches[0][:shared]
    first, n = len(tree.prompt), len(trunk)
    row = Row(trunk, [0] * n, list(range(n)), list(range(first - 1, n - 1)), trunk[first:])
    for number, branch in enumerate(tree.branches, 1):
        own, start = branch[shared:], len(row.ids)
        row.ids.extend(own[:-1])
        row.branches.extend([number] * (len(own) - 1))
        row.places.extend(range(n, n + len(own) - 1))
        row.positions.extend([n - 1, *range(start, start + len(own) - 1)])
        row.targets.extend(own)
    return row


def split(tree: Tree, logprobs: list[float], choices: list[int]) -> list[Scored]:
    """What was found at the targets of the tree's row, by continuation."""
    shared = end = _shared(tree)
    found = []
    for branch in tree.branches:
        start, end = end, end + len(branch) - shared
        own = (values[:shared] + values[start:end] for values in (logprobs, choices))
        found.append(Scored(np.array(next(own), np.float32), np.array(next(own), np.int32)))
    return found


def greedy_start(tree: Tree, scored: Sequence[Scored]) -> tuple[list[int], bool]:
    """What greedy generation begins with, as far as the scored continuations tell; whether one is it, whole.

    Exact: an id is written if it is the first choice after those before it. What generation would add after a
    whole continuation is not looked at: the letter stands in it.
    """
    longest: list[int] = []
    for branch, found in zip(tree.branches, scored, strict=True):
        differing = np.flatnonzero(found.choices != branch)
        if not len(differing):
            return list(branch), True
        longest = max(longest, found.choices[: differing[0] + 1].tolist(), key=len)
    return longest, False


def _shared(tree: Tree) -> int:
    """How many first ids all continuations share; each keeps one or more of its own."""
    shortest = min(map(len, tree.branches)) - 1
    same = takewhile(lambda ids: len(set(ids)) == 1, zip(*tree.branches, strict=False))
    return min(shortest, sum(1 for _ in same))
