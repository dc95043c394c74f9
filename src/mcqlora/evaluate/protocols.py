"""How a question is asked and what counts as its answer: prompt, four continuations and a rule, by protocol.

docs/evaluation.md has the table. `answer`, `letter` and `generation` show the recipe's prompt in the test
record's order of options; `harness`, `cmmlu` and `option` are other people's, with the order as published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sentencepiece import SentencePieceProcessor

from mcqlora.data import alpaca, option_orders, option_references
from mcqlora.data.questions import LETTERS, category
from mcqlora.errors import UserError
from mcqlora.evaluate import scoring, subjects
from mcqlora.tokens import prompt

NAMES = ("answer", "letter", "option", "harness", "cmmlu", "generation")
SHOTS = ("harness", "cmmlu")  # the protocols with worked examples, as their sources have them
RECIPE = ("answer", "letter")  # scored from one pass; also rotated, and asked of training questions
NORMED = ("answer", "option")  # also by log-likelihood a character
MACRO = ("cmmlu",)  # averaged over categories by their source, the others over questions


class Item(NamedTuple):
    """A question ready to be scored: four continuations of a prompt, one an option in the order shown."""

    id: str
    order: str
    gold: str
    tree: scoring.Tree
    characters: list[int]  # length of each continuation's text, without the space before it
    truncated: bool  # the prompt lost worked examples, or its start, to fit


def names(chosen: Iterable[str], shots: Iterable[int]) -> list[tuple[str, int]]:
    """Names in mcq.json, in the order of `NAMES`, with their worked examples: ("harness_5shot", 5)."""
    found = []
    for name in (name for name in NAMES if name in set(chosen)):
        if name in SHOTS:
            found += [(f"{name}_{k}shot" if k else name, k) for k in shots]
        else:
            found += [(name, 0), (f"{name}_norm", 0)] if name in NORMED else [(name, 0)]
    return found


def recipe(
    records: Iterable[dict],
    questions: Mapping[str, dict],
    encode: prompt.Encode,
    template: prompt.Template,
    limit: int,
) -> list[Item]:
    """The recipe's own: the training prompt, continued by "The right option is X.text"."""
    items = []
    for record in records:
        options, gold = option_orders.present(questions[record["id"]], record["order"])
        answers = [alpaca.answer_text(*pair) for pair in zip(LETTERS, options, strict=True)]
        start = prompt.prompt_ids(encode, template, record["instruction"], record["input"])
        tree = scoring.Tree(start, [prompt.answer_ids(encode, answer) for answer in answers])
        items.append(_item(record["id"], record["order"], gold, tree, answers, limit))
    return items


def letters(item: Item) -> Item:
    """The item with continuations that end with the letter, the next id after all that the four share."""
    end = letter_index(item.tree) + 1
    tree = item.tree._replace(branches=[branch[:end] for branch in item.tree.branches])
    return item._replace(tree=tree)


def letter_index(tree: scoring.Tree) -> int:
    """Where the letter stands in the continuations: it is the first id that tells them apart.

    A vocabulary may join it with its period or with text; the id counts whole.
    """
    return next(i for i, ids in enumerate(zip(*tree.branches, strict=False)) if len(set(ids)) > 1)


def harness(
    questions: Iterable[dict],
    examples: Mapping[str, Sequence[dict]],
    encode: prompt.Encode,
    template: prompt.Template,
    shots: int,
    limit: int,
) -> list[Item]:
    """lm-evaluation-harness' MMLU, or CMMLU for questions in Chinese: the likelihood of " A", " B", ...

    The whole text is encoded with and without the letter, and what is more is the continuation.
    `examples` has the development questions of each category, see `worked`.
    Source: lm_eval/tasks/{mmlu/default,cmmlu}/_default_template_yaml, lm_eval/api/model.py `_encode_pair`.
    """
    items = []
    for question in questions:
        ask = _harness_zh if question["language"] == "zh" else _harness_en
        describe = subjects.chinese if question["language"] == "zh" else subjects.english
        head = _HEADS[question["language"] == "zh"].format(describe(question["subject"]))

        def text(worked: Sequence[dict], ask=ask, question=question, head=head) -> str:
            return head + "".join(f"{ask(q)} {q['answer']}\n\n" for q in worked) + ask(question)

        items.append(_asked(question, text, _others(question, examples, shots), encode, template, limit))
    return items


def cmmlu(
    questions: Iterable[dict],
    examples: Mapping[str, Sequence[dict]],
    encode: prompt.Encode,
    template: prompt.Template,
    letter_ids: Sequence[int],
    shots: int,
    limit: int,
) -> list[Item]:
    """CMMLU's own, for questions in Chinese: the logits of the pieces A, B, C, D after its prompt.

    Where examples don't fit CMMLU drops the longest first; here the first go first, as for the harness.
    Source: CMMLU's src/mp_utils.py (`gen_prompt`, `format_example`) and src/hf_causal_model.py (`eval`).
    """
    items = []
    for question in questions:
        head = _HEADS[True].format(subjects.chinese(question["subject"]))

        def text(worked: Sequence[dict], question=question, head=head) -> str:
            return head + "".join(f"{_cmmlu(q)}{q['answer']}\n\n" for q in worked) + _cmmlu(question)

        branches = [[i] for i in letter_ids]
        items.append(
            _asked(question, text, _others(question, examples, shots), encode, template, limit, branches)
        )
    return items


def option(
    questions: Iterable[dict], encode: prompt.Encode, template: prompt.Template, limit: int
) -> list[Item]:
    """The likelihood of each option's text after the bare question: does the model know the fact?

    Source: lm_eval/tasks/mmlu/continuation/_continuation_template_yaml; the wording for Chinese is ours.
    """
    items = []
    for question in questions:
        form = "问题：{}\n答案：" if question["language"] == "zh" else "Question: {}\nAnswer:"
        text = form.format(question["question"].strip())
        branches = _continuations(encode, text, question["options"])
        tree = scoring.Tree([template.bos, *encode(text)], branches)
        items.append(
            _item(
                question["id"], option_orders.IDENTITY, question["answer"], tree, question["options"], limit
            )
        )
    return items


def worked(questions: Iterable[dict]) -> dict[str, list[dict]]:
    """The questions of the development split by category, in file order: the harness' `first_n` examples."""
    found: dict[str, list[dict]] = defaultdict(list)
    for question in questions:
        if question["split"] == "dev":
            found[category(question)].append(question)
    return found


def letter_ids(processor: SentencePieceProcessor) -> list[int]:
    """The ids of the pieces A, B, C, D.

    Raises:
        UserError: the vocabulary lacks one.
    """
    ids = [processor.piece_to_id(letter) for letter in LETTERS]
    for letter, index in zip(LETTERS, ids, strict=True):
        if processor.id_to_piece(index) != letter:  # an unknown piece has the id of <unk>
            raise UserError(f"tokenizer: no piece {letter!r}; take cmmlu out of evaluate.protocols")
    return ids


def rotations(
    record: dict, question: dict, patterns: option_references.Table = option_references.DEFAULT
) -> list[dict]:
    """The record with its options rotated by 0, 1, 2 and 3 places; none if an option refers to others."""
    if option_references.pins(question, patterns):
        return []
    order = record["order"]
    return [record] + [alpaca.shuffled_record(question, order[k:] + order[:k]) for k in (1, 2, 3)]


def pick(item: Item, scores: Sequence[float]) -> dict[str, Any]:
    """An item of mcq.json: the letter of the highest score, the first of equals (as numpy's argmax)."""
    choice = LETTERS[max(range(len(scores)), key=lambda k: scores[k])]
    return {
        "id": item.id,
        "order": item.order,
        "gold": item.gold,
        "choice": choice,
        "correct": choice == item.gold,
        "scores": [round(float(score), 5) for score in scores],
    }


def by_sum(item: Item, scored: Sequence[scoring.Scored]) -> dict[str, Any]:
    """By the log-likelihood of the whole continuation."""
    return pick(item, _sums(scored))


def by_norm(item: Item, scored: Sequence[scoring.Scored]) -> dict[str, Any]:
    """By log-likelihood a character of the continuation: the harness' acc_norm (lm_eval/api/task.py)."""
    return pick(item, [total / n for total, n in zip(_sums(scored), item.characters, strict=True)])


def by_letter(item: Item, scored: Sequence[scoring.Scored]) -> dict[str, Any]:
    """By the log-probability of the id that holds the letter, given all before it."""
    index = letter_index(item.tree)
    return pick(item, [float(s.logprobs[index]) for s in scored])


def by_text(item: Item, text: str) -> dict[str, Any]:
    """By the letter in a generated text; a text without one is wrong."""
    choice = prompt.parse_answer(text)
    return {"id": item.id, "order": item.order, "gold": item.gold, "choice": choice} | {
        "correct": choice == item.gold,
        "text": text,
    }


def greedy_start(item: Item, scored: Sequence[scoring.Scored]) -> tuple[list[int], bool]:
    """What greedy generation begins with, as far as the scored continuations tell; whether one is it, whole.

    Exact: an id is written if it is the first choice after those before it. What generation would add after a
    whole continuation is not looked at: the letter stands in it.
    """
    longest: list[int] = []
    for branch, found in zip(item.tree.branches, scored, strict=True):
        for agreed, (ours, theirs) in enumerate(zip(branch, found.choices.tolist(), strict=True)):
            if ours != theirs:
                longest = max(longest, [*branch[:agreed], theirs], key=len)
                break
        else:
            return list(branch), True
    return longest, False


def standard_error(correct: Sequence[bool]) -> float | None:
    """Of a mean, sd(n-1)/sqrt(n), as the harness (lm_eval/api/metrics.py, `mean_stderr`); None if n < 2."""
    n = len(correct)
    if n < 2:
        return None
    mean = sum(correct) / n
    return (mean * (1 - mean) / (n - 1)) ** 0.5


_HEADS = {
    False: "The following are multiple choice questions (with answers) about {}.\n\n",
    True: "以下是关于{}的单项选择题，请直接给出正确答案的选项。\n\n",
}


def _lines(question: dict) -> str:
    return "".join(f"\n{a}. {text}" for a, text in zip(LETTERS, question["options"], strict=True))


def _harness_en(question: dict) -> str:
    return f"{question['question'].strip()}{_lines(question)}\nAnswer:"


def _harness_zh(question: dict) -> str:
    return f"{question['question'].strip()}{_lines(question)}\n答案："


def _cmmlu(question: dict) -> str:
    return f"题目：{question['question']}{_lines(question)}\n答案是："


def _others(question: dict, examples: Mapping[str, Sequence[dict]], shots: int) -> list[dict]:
    """The first `shots` examples of the question's category that are not the question itself."""
    found = examples.get(category(question), []) if shots else []
    return [other for other in found if other["id"] != question["id"]][:shots]


def _continuations(encode: prompt.Encode, text: str, answers: Sequence[str]) -> list[list[int]]:
    """The ids that " answer" adds to those of the text."""
    before = len(encode(text))
    return [list(encode(f"{text} {answer}")[before:]) for answer in answers]


def _asked(
    question: dict,
    text: Callable[[Sequence[dict]], str],
    examples: Sequence[dict],
    encode: prompt.Encode,
    template: prompt.Template,
    limit: int,
    branches: list[list[int]] | None = None,
) -> Item:
    """The question after as many worked examples as fit: the first ones go first."""
    for dropped in range(len(examples) + 1):
        whole = text(examples[dropped:])
        ids = [template.bos, *encode(whole)]
        found = branches or _continuations(encode, whole, LETTERS)
        if len(ids) + max(map(len, found)) - 1 <= limit:
            break
    tree = scoring.Tree(ids, found)
    item = _item(question["id"], option_orders.IDENTITY, question["answer"], tree, LETTERS, limit)
    return item._replace(truncated=item.truncated or dropped > 0)


def _item(identity: str, order: str, gold: str, tree: scoring.Tree, texts: Sequence[str], limit: int) -> Item:
    fitted, truncated = scoring.fit(tree, limit)
    return Item(identity, order, gold, fitted, [max(1, len(text)) for text in texts], truncated)


def _sums(scored: Sequence[scoring.Scored]) -> list[float]:
    return [float(s.logprobs.sum()) for s in scored]
