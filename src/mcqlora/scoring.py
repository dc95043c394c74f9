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
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from mcqlora import io
from mcqlora.cache import Cache

# Padded sizes: ids of a row; positions of a row at which the head is asked.
LENGTHS = (64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048)
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
COMPILATION = 20  # a shape's compilation takes as long as so many passes of the smallest
WIDE = 64  # positions a row from which a batch has fewer rows: the head's logits are what fills the memory
GUESSED = WIDTHS[0] - 1  # ids checked by a pass of the generation beyond the next one
GROUP = 4  # batches of prompts in whose rows the generation of each other's texts goes on

Progress = Callable[[int, str], Callable[[int], Any]]


class Tree(NamedTuple):
    """Continuations to be compared, each one or more ids, after `prompt`."""

    prompt: list[int]
    branches: list[list[int]]


class Scored(NamedTuple):
    """Of each id of a continuation: its log-probability, float32[n]; the network's first choice, int32[n]."""

    logprobs: np.ndarray
    choices: np.ndarray


class Rows(NamedTuple):
    """A forward pass; all int32. Padding is at the end.

    ids [B, S]; branches [B, S]: 0 of a prompt, 1, 2, ... of its continuations, -1 of padding: an id attends
    to the earlier ones of the prompt and of its own branch; places [B, S]: where each id stands in its text;
    positions [B, P] in a row, at which `targets` [B, P] are scored as the next ids.
    """

    ids: np.ndarray
    branches: np.ndarray
    places: np.ndarray
    positions: np.ndarray
    targets: np.ndarray


Forward = Callable[[Rows], tuple[np.ndarray, np.ndarray]]


def load(model_config: dict, device: str, weights: Mapping[str, np.ndarray], name: str) -> Forward:
    """Build the network, put `weights` into it and return its scoring function; `name` is said in errors.

    The function returns the log-probabilities of the targets as next ids, float32 [B, P], and the most
    probable next ids, int32 [B, P]. Only the hidden states at `positions` meet the (large) head.

    Raises:
        UserError: `weights` lack a tensor of the network, or one has another shape.
    """
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.models import build_network
    from mindspore import Tensor, nn, ops

    from mcqlora.adapters import load_into
    from mcqlora.network import MASKED

    of_rank = {"device_id": int(os.environ["DEVICE_ID"])} if "DEVICE_ID" in os.environ else {}  # msrun's
    ms.set_context(mode=ms.GRAPH_MODE, device_target=device, **of_rank)
    config = {"model_config": model_config, "arch": {"type": "InternLMForCausalLM"}}
    network = build_network(MindFormerConfig(model=config).model)
    load_into(network, weights, name)

    class Score(nn.Cell):
        def __init__(self, decoder, head):
            super().__init__(auto_prefix=False)
            self.decoder, self.head = decoder, head
            self.cos, self.sin = decoder.freqs_mgr.freqs_cos, decoder.freqs_mgr.freqs_sin
            self.swap = decoder.freqs_mgr.swap_mask

        def construct(self, ids, branches, places, positions, targets):
            batch, length = ids.shape
            keys = branches.reshape(batch, 1, length)
            seen = ops.logical_or(ops.equal(keys, 0), ops.equal(keys, branches.reshape(batch, length, 1)))
            order = ops.arange(0, length, 1)
            seen = ops.logical_and(seen, ops.less_equal(order.reshape(1, 1, -1), order.reshape(1, -1, 1)))
            mask = ops.mul(ops.sub(1.0, ops.cast(seen, self.decoder.dtype)), MASKED)
            rotary = (self._at(self.cos, places), self._at(self.sin, places), self.swap)
            hidden = ops.cast(self.decoder.tok_embeddings(ids), self.decoder.dtype)
            for layer in self.decoder.layers:
                hidden = layer(hidden, rotary, mask.reshape(batch, 1, length, length))
            hidden = self.decoder.norm_out(hidden).reshape(batch * length, -1)
            rows = positions + ops.arange(0, batch * length, length).reshape(batch, 1)
            logits = ops.cast(self.head(ops.gather(hidden, rows.reshape(-1), 0)), ms.float32)
            logprobs = ops.gather_elements(ops.log_softmax(logits, -1), 1, targets.reshape(-1, 1))
            return logprobs.reshape(targets.shape), ops.argmax(logits, -1).reshape(targets.shape)

        def _at(self, table, places):
            batch, length = places.shape
            return ops.gather(table, places.reshape(-1), 0).reshape(batch, 1, length, -1)

    cell = Score(network.model, network.lm_head)
    cell.set_train(False)

    def forward(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        logprobs, choices = cell(*(Tensor(array, ms.int32) for array in rows))
        return logprobs.asnumpy(), choices.asnumpy().astype(np.int32)

    return forward


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
    of = [io.digest("score", *tree)[:24] for tree in asked]
    different = dict(zip(of, asked, strict=True))
    layouts = [_layout(tree) for tree in different.values()]
    shapes = [(_padded(len(x.ids), LENGTHS), _padded(len(x.targets), WIDTHS)) for x in layouts]
    step, turns, keys = progress(len(layouts), what), itertools.count(), list(different)
    for shape, indices in _groups(shapes, batch_size, head):
        size = max(1, batch_size * WIDE // max(WIDE, shape[1]))
        for i in indices:  # float32 rounds otherwise in another shape, which other trees beside it would give
            keys[i] = f"{keys[i]}-{size}x{shape[0]}x{shape[1]}"
        for chunk in _chunks(indices, size):
            if cache.takes(next(turns)) and any(cache.get(keys[i]) is None for i in chunk):
                logprobs, choices = forward(_rows([layouts[i] for i in chunk], size, *shape))
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


class _Layout(NamedTuple):
    """One row: as `Rows`, but lists without padding."""

    ids: list[int]
    branches: list[int]
    places: list[int]
    positions: list[int]
    targets: list[int]


def _layout(tree: Tree) -> _Layout:
    """The row of a tree: the prompt, what all its continuations start with, then the rest of each.

    Targets are in the same order. Of a continuation the last id is not fed.
    """
    shared = _shared(tree)
    trunk = tree.prompt + tree.branches[0][:shared]
    row = _Layout(list(trunk), [0] * len(trunk), list(range(len(trunk))), [], [])
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


def _rows(layouts: Sequence[_Layout], batch: int, length: int, width: int) -> Rows:
    """Layouts padded to one shape."""
    shapes = ((length, 0), (length, -1), (length, 0), (width, 0), (width, 0))
    arrays = Rows(*(np.full((batch, columns), filler, np.int32) for columns, filler in shapes))
    for row, layout in enumerate(layouts):
        for array, values in zip(arrays, layout, strict=True):
            array[row, : len(values)] = values
    return arrays


def generate(
    forward: Forward,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    stop: set[int],
    batch_size: int,
    limit: int,
    cache: Cache | None = None,
    starts: Sequence[list[int]] | None = None,
    progress: Progress = silent,
    what: str = "generating",
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `max_new_tokens` ids, without the stop token that ends them.

    A text longer than `limit` loses its start. A batch's rows that have ended make room for the next prompts
    of their `GROUP` of batches, so that no row waits for the longest one. As in `score`, a group is fed whole
    or not at all, and processes share the groups.

    Args:
        starts: what is known already of each continuation, its end or a stop token perhaps among it.
    """
    cache = cache or Cache()
    keys = [io.digest("generate", ids, max_new_tokens, sorted(stop), limit)[:24] for ids in prompts]
    known = [_ended(list(start), max_new_tokens, stop) for start in starts or [[] for _ in prompts]]
    step = progress(len(prompts), what)
    asked = [i for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])) if not known[i][1]]
    step(len(prompts) - len(asked))
    for turn, group in enumerate(_chunks(asked, GROUP * batch_size)):
        if cache.takes(turn) and any(cache.get(keys[i]) is None for i in group):
            texts = [(prompts[i], known[i][0]) for i in group]
            written = _generate(forward, texts, max_new_tokens, stop, batch_size, limit, step)
            cache.add({keys[i]: ids for i, ids in zip(group, written, strict=True)})
        else:
            step(len(group))
    cache.meet()
    return [ids if ended else cache.get(key) for key, (ids, ended) in zip(keys, known, strict=True)]


def _generate(
    forward: Forward,
    texts: Sequence[tuple[list[int], list[int]]],
    most: int,
    stop: set[int],
    batch_size: int,
    limit: int,
    step: Callable[[int], Any],
) -> list[list[int]]:
    """The whole continuations, of (prompt, what is known of its continuation) each."""
    results = [(start, False) for _, start in texts]
    waiting = list(range(len(texts)))[::-1]
    active: list[int] = []
    while waiting or active:
        while waiting and len(active) < batch_size:
            active.append(waiting.pop())
        shown = [(texts[i][0] + results[i][0])[-limit:] for i in active]
        guesses = []
        for i, text in zip(active, shown, strict=True):
            left = most - len(results[i][0]) - 1
            guesses.append(guess(text, min(GUESSED, limit - len(text), left)))
        layouts = [_continued(text, ids) for text, ids in zip(shown, guesses, strict=True)]
        length = _padded(max(len(layout.ids) for layout in layouts), LENGTHS)
        _, choices = forward(_rows(layouts, batch_size, length, WIDTHS[0]))
        for row, i in enumerate(active):
            written = _accepted(guesses[row], choices[row].tolist())
            results[i] = _ended(results[i][0] + written, most, stop)
        going_on = [i for i in active if not results[i][1]]
        step(len(active) - len(going_on))
        active = going_on
    return [ids for ids, _ in results]


def guess(text: Sequence[int], most: int) -> list[int]:
    """At most `most` ids that may follow `text`: what followed the latest earlier place of its last ids.

    Answers quote: an option, or the passage. Three ids are looked for, then two, then one.
    Source: prompt look-up decoding; Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, shows why
    checking guesses keeps the result.
    """
    if most < 1:
        return []
    for size in (3, 2, 1):
        last = text[-size:]
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == last:
                return list(text[start + size : start + size + most])
    return []


def _continued(text: list[int], guessed: list[int]) -> _Layout:
    """The row that asks what follows `text`, and what follows each of the guessed ids if they hold."""
    n = len(text) + len(guessed)
    return _Layout(text + guessed, [0] * n, list(range(n)), list(range(len(text) - 1, n)), [])


def _accepted(guessed: list[int], choices: list[int]) -> list[int]:
    """The network's own choices: as far as the guesses agree, and one more."""
    agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(guessed, choices, strict=False)))
    return choices[: agreed + 1]


def _ended(ids: list[int], most: int, stop: set[int]) -> tuple[list[int], bool]:
    """`ids` up to the first stop token, at most `most`; whether they are all."""
    kept = list(takewhile(lambda token: token not in stop, ids))
    return kept[:most], len(kept) < len(ids) or len(kept) >= most


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


def _chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (order[start : start + size] for start in range(0, len(order), size))


def _padded(length: int, sizes: Sequence[int]) -> int:
    """The least of the (ascending) sizes that holds `length`; beyond them multiples of the last."""
    return next((size for size in sizes if size >= length), -(-length // sizes[-1]) * sizes[-1])
