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
    for (length, width), indices in _groups(shapes, engine.batch_size, engine.compilation, head):
        wanted = max(1, engine.batch_size * WIDE // max(WIDE, width))
        size = engine.fitting(min(wanted, len(indices)), length, width)
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


def _groups(
    shapes: Sequence[Shape], batch: int, compilation: float, head: float
) -> Iterator[tuple[Shape, list[int]]]:
    """Indices by the shape that they are fed in, small shapes first: the cheapest grouping.

    In ascending order, neighbours share the shape that holds both where their padding, that of the last batch
    of `batch` rows included, costs less than a compilation: so many batches of 64 ids and 16 positions.
    """
    members: dict[Shape, list[int]] = {}
    for i, shape in enumerate(shapes):
        members.setdefault(shape, []).append(i)
    order = sorted(members)
    compilation *= batch * (64 + head * 16)
    # Of the first n shapes: the cost, and where the last group begins.
    cheapest: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(order) + 1):
        found, rows, width = [], 0, 0
        for start in reversed(range(end)):
            rows += len(members[order[start]])
            width = max(width, order[start][1])
            fed = (rows if rows < batch else padded(rows, (batch,))) * (order[end - 1][0] + head * width)
            found.append((cheapest[start][0] + fed + compilation, start))
        cheapest.append(min(found))
    groups, end = [], len(order)
    while end:
        start = cheapest[end][1]
        groups.append(order[start:end])
        end = start
    for group in reversed(groups):
        whole = group[-1][0], max(width for _, width in group)
        yield whole, sorted(i for shape in group for i in members[shape])
