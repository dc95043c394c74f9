"""TODO mcqlora.evaluate.generation"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from mcqlora import hashing
from mcqlora.evaluate.answers import Cache
from mcqlora.evaluate.forward import Forward
from mcqlora.evaluate.scoring import LENGTHS, WIDTHS, Layout, Progress, chunks, padded, padded_rows, silent

GUESSED = WIDTHS[0] - 1  # ids checked by a pass of the generation beyond the next one
GROUP = 4  # batches of prompts in whose rows the generation of each other's texts goes on


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
    keys = [hashing.digest("generate", ids, max_new_tokens, sorted(stop), limit)[:24] for ids in prompts]
    known = [_ended(list(start), max_new_tokens, stop) for start in starts or [[] for _ in prompts]]
    step = progress(len(prompts), what)
    asked = [i for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])) if not known[i][1]]
    step(len(prompts) - len(asked))
    for turn, group in enumerate(chunks(asked, GROUP * batch_size)):
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
        length = padded(max(len(layout.ids) for layout in layouts), LENGTHS)
        _, choices = forward(padded_rows(layouts, batch_size, length, WIDTHS[0]))
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


def _continued(text: list[int], guessed: list[int]) -> Layout:
    """The row that asks what follows `text`, and what follows each of the guessed ids if they hold."""
    n = len(text) + len(guessed)
    return Layout(text + guessed, [0] * n, list(range(n)), list(range(len(text) - 1, n)), [])


def _accepted(guessed: list[int], choices: list[int]) -> list[int]:
    """The network's own choices: as far as the guesses agree, and one more."""
    agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(guessed, choices, strict=False)))
    return choices[: agreed + 1]


def _ended(ids: list[int], most: int, stop: set[int]) -> tuple[list[int], bool]:
    """`ids` up to the first stop token, at most `most`; whether they are all."""
    kept = list(takewhile(lambda token: token not in stop, ids))
    return kept[:most], len(kept) < len(ids) or len(kept) >= most
