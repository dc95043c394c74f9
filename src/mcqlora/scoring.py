"""Score and generate with a network on CPU or NPU: batches of one shape, one forward pass for every protocol.

Multiple choice: each candidate answer ("The right option is X.text") is fed after the prompt once. Its
tokens' log-probabilities give the full-answer score, those up to the letter the letter score, and where every
token is the network's first choice the candidate *is* what greedy generation would write. Only for the other
items a text is generated token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcqlora import prompt, shuffle
from mcqlora.alpaca import answer_text
from mcqlora.benchmarks import LETTERS

LENGTHS = (
    64,
    96,
    128,
    160,
    192,
    256,
    384,
    512,
    768,
    1024,
    1536,
    2048,
)  # padded lengths: one compilation each


class Continuation(NamedTuple):
    """`target` ids to be scored after `prompt` ids."""

    prompt: list[int]
    target: list[int]


class Scored(NamedTuple):
    """Of each target token: its log-probability, float32[n]; the network's first choice there, int32[n]."""

    logprobs: np.ndarray
    choices: np.ndarray


Forward = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def load(model_config: dict, device: str, weights: Mapping[str, np.ndarray], name: str) -> Forward:
    """Build the network, put `weights` into it and return its scoring function; `name` is said in errors.

    The function takes ids int32 [B, S], positions int32 [B, P] in a row and targets int32 [B, P], and returns
    the log-probabilities of the targets as next tokens, float32 [B, P], and the most probable next tokens,
    int32 [B, P]. Only the hidden states at `positions` meet the (large) head.

    Raises:
        UserError: `weights` lack a tensor of the network, or one has another shape.
    """
    import mindspore as ms
    from mindformers import MindFormerConfig
    from mindformers.models import build_network
    from mindspore import Tensor, nn, ops

    import mcqlora.network  # noqa: F401  (registers the network)
    from mcqlora.adapters import load_into

    ms.set_context(mode=ms.GRAPH_MODE, device_target=device)
    config = {"model_config": model_config, "arch": {"type": "InternLMForCausalLM"}}
    network = build_network(MindFormerConfig(model=config).model)
    load_into(network, weights, name)

    class Score(nn.Cell):
        def __init__(self, decoder, head):
            super().__init__(auto_prefix=False)
            self.decoder, self.head = decoder, head

        def construct(self, ids, positions, targets):
            batch, length = ids.shape
            hidden = self.decoder(ids).reshape(batch * length, -1)
            rows = positions + ops.arange(0, batch * length, length).reshape(batch, 1)
            logits = ops.cast(self.head(ops.gather(hidden, rows.reshape(-1), 0)), ms.float32)
            logprobs = ops.gather_elements(ops.log_softmax(logits, -1), 1, targets.reshape(-1, 1))
            return logprobs.reshape(targets.shape), ops.argmax(logits, -1).reshape(targets.shape)

    cell = Score(network.model, network.lm_head)
    cell.set_train(False)

    def forward(ids, positions, targets):
        logprobs, choices = cell(*(Tensor(array, ms.int32) for array in (ids, positions, targets)))
        return logprobs.asnumpy(), choices.asnumpy().astype(np.int32)

    return forward


def score(
    forward: Forward, items: Sequence[Continuation], batch_size: int, limit: int, progress: Callable = iter
) -> list[Scored]:
    """Score every continuation, in batches of similar length; results stand in the order of `items`.

    A prompt too long for `limit` ids with its target loses ids from its start, as text generation would; a
    target that leaves no room for a prompt loses its end.
    """
    items = [Continuation(item.prompt, item.target[: limit - 1]) for item in items]
    results: list[Scored | None] = [None] * len(items)
    widths = [
        _padded(len(item.target), (16, 64, 256, limit)) for item in items
    ]  # each meets the head so often
    order = sorted(range(len(items)), key=lambda i: (widths[i], len(items[i].prompt) + len(items[i].target)))
    for chunk in progress(list(_chunks(order, batch_size))):
        width = max(widths[i] for i in chunk)
        longest = max(len(items[i].prompt) + len(items[i].target) for i in chunk)
        length = _padded(min(longest, limit), (*(size for size in LENGTHS if size < limit), limit))
        ids = np.zeros((batch_size, length), np.int32)
        positions = np.zeros((batch_size, width), np.int32)
        targets = np.zeros((batch_size, width), np.int32)
        for row, i in enumerate(chunk):
            target = items[i].target
            context = items[i].prompt[-(length - len(target)) :]
            n, m = len(context), len(target)
            ids[row, : n + m] = context + target
            positions[row, :m] = np.arange(n - 1, n + m - 1)
            targets[row, :m] = target
        logprobs, choices = forward(ids, positions, targets)
        for row, i in enumerate(chunk):
            m = len(items[i].target)
            results[i] = Scored(logprobs[row, :m].copy(), choices[row, :m].copy())
    return results


def generate(
    forward: Forward,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    stop: set[int],
    batch_size: int,
    limit: int,
    progress: Callable = iter,
) -> list[list[int]]:
    """Greedy continuations of `prompts`, at most `max_new_tokens` ids, without the stop token that ends them.

    A batch's rows that have ended make room for the next prompts, so that no row waits for the longest one.
    """
    results: list[list[int]] = [[] for _ in prompts]
    waiting = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    for chunk in progress([waiting] if waiting else []):
        active: list[int] = []
        while chunk or active:
            while chunk and len(active) < batch_size:
                active.append(chunk.pop())
            texts = [(prompts[i] + results[i])[-limit:] for i in active]
            length = _padded(max(map(len, texts)), (*(size for size in LENGTHS if size < limit), limit))
            ids = np.zeros((batch_size, length), np.int32)
            positions = np.zeros((batch_size, 1), np.int32)
            for row, text in enumerate(texts):
                ids[row, : len(text)] = text
                positions[row, 0] = len(text) - 1
            _, choices = forward(ids, positions, np.zeros((batch_size, 1), np.int32))
            ended = set()
            for row, i in enumerate(active):
                token = int(choices[row, 0])
                if token in stop:
                    ended.add(i)
                else:
                    results[i].append(token)
                    if len(results[i]) == max_new_tokens:
                        ended.add(i)
            active = [i for i in active if i not in ended]
    return results


def _chunks(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (order[start : start + size] for start in range(0, len(order), size))


def _padded(length: int, sizes: Iterable[int]) -> int:
    return min((size for size in sizes if size >= length), default=length)


class Choice(NamedTuple):
    """A test item ready to be scored: its prompt and four candidate answers, as ids."""

    id: str
    order: str
    gold: str
    prompt: list[int]
    candidates: list[list[int]]
    n_letter: int  # ids of a candidate up to and including its letter


def choices(
    records: Iterable[dict], questions: dict[str, dict], encode: prompt.Encode, template: prompt.Template
) -> list[Choice]:
    """The items of the copy records `records`."""
    items = []
    for record in records:
        options, gold = shuffle.present(questions[record["id"]], record["order"])
        answers = [answer_text(letter, option) for letter, option in zip(LETTERS, options, strict=True)]
        candidates = [prompt.answer_ids(encode, answer) for answer in answers]
        items.append(
            Choice(
                record["id"],
                record["order"],
                gold,
                prompt.prompt_ids(encode, template, record["instruction"], record["input"]),
                candidates,
                1 + _common(candidates),
            )
        )
    return items


def _common(candidates: Sequence[Sequence[int]]) -> int:
    """Length of the candidates' common start: the token after it holds the letter, alone or with more."""
    return next(i for i, ids in enumerate(zip(*candidates, strict=False)) if len(set(ids)) > 1)


def choose(items: Sequence[Choice], scored: Sequence[Scored]) -> dict[str, list[dict]]:
    """Items of the protocols "answer" and "letter" from the scored candidates, four an item in their order.

    answer: highest sum of log-probabilities of the whole string; letter: of its ids up to the letter. The
    first of equals wins.
    """
    protocols: dict[str, list[dict]] = {"answer": [], "letter": []}
    for number, item in enumerate(items):
        four = scored[4 * number : 4 * number + 4]
        sums = {
            "answer": [float(s.logprobs.sum()) for s in four],
            "letter": [float(s.logprobs[: item.n_letter].sum()) for s in four],
        }
        for name, scores in sums.items():
            choice = LETTERS[int(np.argmax(scores))]
            protocols[name].append(
                {
                    "id": item.id,
                    "order": item.order,
                    "gold": item.gold,
                    "choice": choice,
                    "correct": choice == item.gold,
                    "scores": [round(score, 5) for score in scores],
                }
            )
    return protocols


def greedy_matches(items: Sequence[Choice], scored: Sequence[Scored]) -> list[int | None]:
    """For each item the candidate that greedy generation writes, or None where it writes something else.

    Exact: a candidate is what greedy generation writes if each of its ids is the first choice after those
    before it. What generation would add after it is not looked at: the letter stands in the candidate.
    """
    matches: list[int | None] = []
    for number, item in enumerate(items):
        four = scored[4 * number : 4 * number + 4]
        hits = [
            k for k, s in enumerate(four) if np.array_equal(s.choices, item.candidates[k][: len(s.choices)])
        ]
        matches.append(hits[0] if hits else None)
    return matches
