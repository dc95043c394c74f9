"""Log-probabilities of continuations, on CPU or NPU: batches of fixed shapes, every prompt fed once.

One row of a forward pass holds a whole `Tree`, so the letters that may follow a prompt cost no more than it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from mcqlora import hashing
from mcqlora.evaluate import trees
from mcqlora.evaluate.engine import LENGTHS, WIDTHS, Engine, chunks, padded, padded_rows
from mcqlora.evaluate.trees import Scored, Tree

WIDE = 64  # positions per row above which a batch has fewer rows: the head's logits fill the memory

Shape = tuple[int, int]  # ids of a row, positions of a row


def score(engine: Engine, asked: Sequence[Tree], what: str = "scoring") -> list[list[Scored]]:
    """Score every continuation of every tree as if it stood alone; results in the order of `asked`.

    Equal trees are fed once. Batches depend on the trees alone, not on the cache: a batch that the cache has
    whole is not fed again, any other is, whole. So a killed evaluation ends with the very same scores, and so
    do several processes that share the batches, see `Cache`.
    """
    cache, head = engine.cache, engine.head
    fitted = [trees.fit(tree, engine.limit)[0] for tree in asked]
    digests = [hashing.digest("score", *tree)[:24] for tree in fitted]
    different = dict(zip(digests, fitted, strict=True))
    rows = [trees.to_row(tree) for tree in different.values()]
    shapes = [(padded(len(row.ids), LENGTHS), padded(len(row.targets), WIDTHS)) for row in rows]
    step, turns, keys = engine.progress(len(rows), what), itertools.count(), list(different)
    for (length, width), indices in _groups(shapes, engine.compilation * engine.batch_size, head):
        wanted = max(1, engine.batch_size * WIDE // max(WIDE, width))
        size = engine.fitting(wanted, length, width)
        for i in indices:  # float32 rounds differently in another shape, which other trees could lead to
            keys[i] = f"{keys[i]}-{size}x{length}x{width}"
        for chunk in chunks(indices, size):
            if cache.due(next(turns), [keys[i] for i in chunk]):
                arrays = engine.forward(padded_rows([rows[i] for i in chunk], size, length, width))
                found = {}
                for number, i in enumerate(chunk):
                    found[keys[i]] = [array[number, : len(rows[i].targets)].tolist() for array in arrays]
                cache.add(found)
            step(len(chunk))
    cache.meet()
    kept = dict(zip(different, keys, strict=True))
    return [trees.split(tree, *cache.get(kept[digest])) for tree, digest in zip(fitted, digests, strict=True)]


def _groups(shapes: Sequence[Shape], compilation: float, head: float) -> Iterator[tuple[Shape, list[int]]]:
    """Indices by the shape that they are fed in, small shapes first.

    Those of one shape join a larger one that occurs where the padding costs less than a compilation, which
    takes as long as so many rows of the smallest shape.
    """

    def cost(shape: Shape) -> float:
        return shape[0] + head * shape[1]

    compilation *= cost((LENGTHS[0], WIDTHS[0]))
    members: dict[Shape, list[int]] = {}
    for i, shape in enumerate(shapes):
        members.setdefault(shape, []).append(i)
    for shape in sorted(members):
        larger = [other for other in members if other != shape and all(map(int.__ge__, other, shape))]
        nearest = min(larger, key=cost, default=None)
        if nearest and len(members[shape]) * (cost(nearest) - cost(shape)) < compilation:
            members[nearest] += members.pop(shape)
        else:
            yield shape, sorted(members[shape])
