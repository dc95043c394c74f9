"""Greedy generation in batches, without a cache of keys and values (none runs on a CPU).

Each pass checks several ids that are guessed from the text itself. That changes how many passes it takes and
not what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from mcqlora import hashing
from mcqlora.evaluate.engine import LENGTHS, WIDTHS, Engine, Step, chunks, padded, padded_rows
from mcqlora.evaluate.trees import Row

Texts = Sequence[list[int]]
GUESSED = WIDTHS[0] - 1  # ids that a pass checks beyond the next one
GROUP = 4  # batches of prompts that share rows: where one text ends, the next one starts


def generate(
    engine: Engine, prompts: Texts, most: int, stop: set[int], starts: Texts = (), what: str = "generating"
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `most` ids, without the stop token that ends them.

    A text longer than the engine's limit loses its start. A batch's rows that have ended make room for the
    next prompts of their `GROUP` of batches, so that no row waits for the longest one. As in `score`, a group
    is fed whole or not at all, and processes share the groups. `starts` is what is known of each continuation
    already, perhaps with its end or a stop token.
    """
    size = engine.fitting(engine.batch_size, padded(engine.limit, LENGTHS), WIDTHS[0])
    engine, cache = replace(engine, batch_size=size), engine.cache
    rules = (most, sorted(stop), engine.limit, size)
    keys = [hashing.digest("generate", ids, *rules)[:24] for ids in prompts]
    known = [_ended(list(start), most, stop) for start in starts or [[] for _ in prompts]]
    step = engine.progress(len(prompts), what)
    asked = [i for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])) if not known[i][1]]
    step(len(prompts) - len(asked))
    for turn, group in enumerate(chunks(asked, GROUP * engine.batch_size)):
        if cache.due(turn, [keys[i] for i in group]):
            texts = [(prompts[i], known[i][0]) for i in group]
            written = _generate(engine, texts, most, stop, step)
            cache.add({keys[i]: ids for i, ids in zip(group, written, strict=True)})
        else:
            step(len(group))
    cache.meet()
    return [ids if ended else cache.get(key) for key, (ids, ended) in zip(keys, known, strict=True)]


def _generate(
    engine: Engine, texts: Sequence[tuple[list[int], list[int]]], most: int, stop: set[int], step: Step
) -> list[list[int]]:
    """The whole continuations of `texts`, each a prompt and what is known of its continuation."""
    results = [(start, False) for _, start in texts]
    waiting = list(range(len(texts)))[::-1]
    active: list[int] = []
    while waiting or active:
        while waiting and len(active) < engine.batch_size:
            active.append(waiting.pop())
        shown = [(texts[i][0] + results[i][0])[-engine.limit :] for i in active]
        guesses = [
            guess(text, min(GUESSED, engine.limit - len(text), most - len(results[i][0]) - 1))
            for i, text in zip(active, shown, strict=True)
        ]
        rows = []  # each asks what follows its text, and what follows each of its guessed ids if they hold
        for text, guessed in zip(shown, guesses, strict=True):
            n = len(text) + len(guessed)
            rows.append(Row(text + guessed, [0] * n, list(range(n)), list(range(len(text) - 1, n)), []))
        length = padded(max(len(row.ids) for row in rows), LENGTHS)
        _, choices = engine.forward(padded_rows(rows, engine.batch_size, length, WIDTHS[0]))
        for number, i in enumerate(active):
            written = _accepted(guesses[number], choices[number].tolist())
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


def _accepted(guessed: list[int], choices: list[int]) -> list[int]:
    """The network's own choices: as far as the guesses agree, and one more."""
    agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(guessed, choices, strict=False)))
    return choices[: agreed + 1]


def _ended(ids: list[int], most: int, stop: set[int]) -> tuple[list[int], bool]:
    """`ids` up to the first stop token, at most `most`; whether the text ends there."""
    kept = list(takewhile(lambda token: token not in stop, ids))
    return kept[:most], len(kept) < len(ids) or len(kept) >= most
