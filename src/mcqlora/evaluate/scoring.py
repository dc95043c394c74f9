"""Score and generate with a network on CPU or NPU: batches of fixed shapes, every prompt fed once.

A `Tree` is a prompt with the continuations that are compared after it. One row of a forward pass holds it
whole: the continuations stand side by side, see the prompt and themselves alone, and count their positions
from the prompt's end, so that each scores as if it stood there by itself. The letters that a prompt might go
on with cost no more than the prompt.

Greedy generation has no cache of keys and values (none runs on a CPU); instead each pass checks several ids
that are guessed from the text itself, which changes how many passes it takes and not what is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from mcqlora import hashing
from mcqlora.evaluate.answers import Cache
from mcqlora.evaluate.forward import Forward, Rows

# Padded sizes: ids of a row; positions of a row at which the head is asked.
LENGTHS = (64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048)
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
COMPILATION = 20  # a shape's compilation takes as long as so many passes of the smallest
WIDE = 64  # positions a row from which a batch has fewer rows: the head's logits are what fills the memory

Progress = Callable[[int, str], Callable[[int], Any]]


class Tree(NamedTuple):
    """Continuations to be compared, each one or more ids, after `prompt`."""

    prompt: list[int]
    branches: list[list[int]]


class Scored(NamedTuple):
    """Of each id of a continuation: its log-probability, float32[n]; the network's first choice, int32[n]."""

    logprobs: np.ndarray
    choices: np.ndarray


def silent(total: int, what: str) -> Callable[[int], Any]:
    """The `Progress` that shows nothing: takes a total and its name, gives what is told of each step."""
    return lambda done: None


def fit(tree: Tree, limit: int) -> tuple[Tree, bool]:
    """`tree` cut so that a prompt and any one continuation, without its last id, have at most `limit` ids.

    A continuation loses its end, then the prompt its start; the second value says that the prompt did.
    The last id of a continuation is never fed: nothing after it is scored.
    Source: lm-evaluation-harness cuts alike, lm_eval/models/huggingface.py, `_loglikelihood_tokens`.
    """
    branches = [branch[:limit] for branch in tree.branches]
    room = limit + 1 - max(map(len, branches))
    return Tree(tree.prompt[-room:], branches), len(tree.prompt) > room


def score(
    forward: Forward,
    trees: Sequence[Tree],
    batch_size: int,
    limit: int,
    cache: Cache | None = None,
    progress: Progress = silent,
    what: str = "scoring",
    head: float = 1.0,
) -> list[list[Scored]]:
    """Score every continuation of every tree, as if it stood alone; results in the order of `trees`.

    Trees are cut by `fit`; equal ones are fed once. The batches depend on the trees alone, not on what the
    cache has: a batch that it has whole is not fed again, any other is, whole. So a killed evaluation ends
    with the very same scores, and so do several processes that share the batches, see `Cache`.

    Args:
        head: what the head costs at a position, in units of what the layers cost for an id.
    """
    cache = cache or Cache()
    asked = [fit(tree, limit)[0] for tree in trees]
    of = [hashing.digest("score", *tree)[:24] for tree in asked]
    different = dict(zip(of, asked, strict=True))
    layouts = [_layout(tree) for tree in different.values()]
    shapes = [(padded(len(x.ids), LENGTHS), padded(len(x.targets), WIDTHS)) for x in layouts]
    step, turns, keys = progress(len(layouts), what), itertools.count(), list(different)
    for shape, indices in _groups(shapes, batch_size, head):
        size = max(1, batch_size * WIDE // max(WIDE, shape[1]))
        for i in indices:  # float32 rounds otherwise in another shape, which other trees beside it would give
            keys[i] = f"{keys[i]}-{size}x{shape[0]}x{shape[1]}"
        for chunk in chunks(indices, size):
            if cache.takes(next(turns)) and any(cache.get(keys[i]) is None for i in chunk):
                logprobs, choices = forward(padded_rows([layouts[i] for i in chunk], size, *shape))
                cache.add(
                    {
                        keys[i]: [
                            array[row, : len(layouts[i].targets)].tolist() for array in (logprobs, choices)
                        ]
                        for row, i in enumerate(chunk)
                    }
                )
            step(len(chunk))
    cache.meet()
    found = dict(zip(different, keys, strict=True))
    return [_split(tree, *cache.get(found[key])) for tree, key in zip(asked, of, strict=True)]


class Layout(NamedTuple):
    """One row: as `Rows`, but lists without padding."""

    ids: list[int]
    branches: list[int]
    places: list[int]
    positions: list[int]
    targets: list[int]


def _layout(tree: Tree) -> Layout:
    """The row of a tree: the prompt, what all its continuations start with, then the rest of each.

    Targets are in the same order. Of a continuation the last id is not fed.
    """
    shared = _shared(tree)
    trunk = tree.prompt + tree.branches[0][:shared]
    row = Layout(list(trunk), [0] * len(trunk), list(range(len(trunk))), [], [])
    row.positions.extend(range(len(tree.prompt) - 1, len(trunk) - 1))
    row.targets.extend(trunk[len(tree.prompt) :])
    for number, branch in enumerate(tree.branches, 1):
        own, start = branch[shared:], len(row.ids)
        row.ids.extend(own[:-1])
        row.branches.extend([number] * (len(own) - 1))
        row.places.extend(range(len(trunk), len(trunk) + len(own) - 1))
        row.positions.extend([len(trunk) - 1, *range(start, start + len(own) - 1)])
        row.targets.extend(own)
    return row


def _shared(tree: Tree) -> int:
    """How many first ids all continuations share; each keeps one or more of its own."""
    shortest = min(map(len, tree.branches)) - 1
    same = takewhile(lambda ids: len(set(ids)) == 1, zip(*tree.branches, strict=False))
    return min(shortest, sum(1 for _ in same))


def _split(tree: Tree, logprobs: list[float], choices: list[int]) -> list[Scored]:
    """The scores of a tree's row by continuation."""
    shared = end = _shared(tree)
    found = []
    for branch in tree.branches:
        start, end = end, end + len(branch) - shared
        parts = (values[:shared] + values[start:end] for values in (logprobs, choices))
        found.append(Scored(np.array(next(parts), np.float32), np.array(next(parts), np.int32)))
    return found


def padded_rows(layouts: Sequence[Layout], batch: int, length: int, width: int) -> Rows:
    """Layouts padded to one shape."""
    shapes = ((length, 0), (length, -1), (length, 0), (width, 0), (width, 0))
    arrays = Rows(*(np.full((batch, columns), filler, np.int32) for columns, filler in shapes))
    for row, layout in enumerate(layouts):
        for array, values in zip(arrays, layout, strict=True):
            array[row, : len(values)] = values
    return arrays


def _groups(
    shapes: Sequence[tuple[int, int]], batch_size: int, head: float
) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Indices by the shape that they are fed in, small shapes first.

    Those of one shape join a larger one that occurs where the padding costs less than a compilation.
    """

    def cost(shape: tuple[int, int]) -> float:
        return shape[0] + head * shape[1]

    compilation = COMPILATION * batch_size * cost((LENGTHS[0], WIDTHS[0]))
    members: dict[tuple[int, int], list[int]] = {}
    for i, shape in enumerate(shapes):
        members.setdefault(shape, []).append(i)
    for shape in sorted(members):
        larger = [other for other in members if other != shape and all(map(int.__ge__, other, shape))]
        nearest = min(larger, key=cost, default=None)
        if nearest and len(members[shape]) * (cost(nearest) - cost(shape)) < compilation:
            members[nearest] += members.pop(shape)
        else:
            yield shape, sorted(members[shape])


def chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (order[start : start + size] for start in range(0, len(order), size))


def padded(length: int, sizes: Sequence[int]) -> int:
    """The least of the (ascending) sizes that holds `length`; beyond them multiples of the last."""
    return next((size for size in sizes if size >= length), -(-length // sizes[-1]) * sizes[-1])
