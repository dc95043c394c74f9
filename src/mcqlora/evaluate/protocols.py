"""How a question is asked and what counts as its answer: one object per protocol, all of them in `PROTOCOLS`.

A new protocol is a new entry there, with functions that build its prompt and judge an answer; `Protocol` says
what the fields mean. docs/evaluation.md has the table. `answer`, `letter` and `generation` show the recipe's
prompt in the test record's order of options; the others are other people's, with the order as published.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from mcqlora.data import alpaca
from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError
from mcqlora.evaluate import subjects, trees
from mcqlora.files import Json

if TYPE_CHECKING:
    from mcqlora.tokens.prompt import Encode, Template
    from mcqlora.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tokenization:
    """How texts become ids and back: the tokenizer, its fast encoder, and the template's special ids."""

    processor: Tokenizer
    encode: Encode
    template: Template

    @property
    def start(self) -> list[int]:
        """What stands before a text of no turns."""
        return list(self.template.start)

    @property
    def stops(self) -> set[int]:
        """What ends a generated answer."""
        return set(self.template.stop)

    def prompt(self, instruction: str, input: str) -> list[int]:
        """What inference feeds of a record, as in training."""
        from mcqlora.tokens import prompt  # with SentencePiece, which the report and the Snakefile do without

        return prompt.prompt_ids(self.encode, self.template, instruction, input)


@dataclass(frozen=True)
class Context:
    """What a prompt is built from, beside the record that it asks."""

    questions: Mapping[str, Question]  # all of them by id
    tokens: Tokenization
    limit: int  # ids of the longest text that the network sees
    development: Mapping[str, Sequence[Question]] = field(default_factory=dict)  # see `development`
    shots: int = 0  # number of worked examples
    groups: Mapping[str, str] = field(default_factory=dict)  # {id: duplicate group}; else each is its own

    def examples(self, question: Question) -> list[Question]:
        """The first `shots` development questions of the category that are no duplicate of the question.

        So none is the question itself, nor tells its answer. There are fewer where the category has no more.
        """
        own, same = self._group(question), self.development.get(question.category, [])
        return [other for other in same if self._group(other) != own][: self.shots]

    def _group(self, question: Question) -> str:
        return self.groups.get(question.id, question.id)


class Item(NamedTuple):
    """A question ready to be scored: continuations of a prompt, one per option in the order shown."""

    id: str
    order: str
    gold: str
    tree: trees.Tree
    characters: list[int]  # length of each continuation's text, without the space before it
    truncated: bool  # the prompt lost worked examples, or its start, to fit
    lacking: bool = False  # its category had fewer worked examples than asked


class Answer(NamedTuple):
    """The network's response to an item: its scores, and its text where the protocol has it write one."""

    scored: Sequence[trees.Scored]
    text: str = ""


Build = Callable[[alpaca.Record, Context], Item]
Judge = Callable[[Item, Answer], Json]
Ask = Callable[[Question], str]
_NORM = "_norm"  # ends the name of a variant that is judged per character


@dataclass(frozen=True)
class Protocol:
    """A way to ask questions and to judge answers."""

    name: str  # as in evaluate.protocols and, with its worked examples, in mcq.json
    label: str  # the same in the report's words
    build: Build  # the item that asks a record; protocols that share it share one pass of the network
    judge: Judge  # whether an answer is right
    average: Literal["micro", "macro"] = "micro"  # over questions or over categories, as its source does it
    worked_examples: bool = False  # it is asked with evaluate.shots worked examples; else with none
    language: str | None = None  # of the questions that it can ask; None means all
    per_character: bool = False  # it is also judged by log-likelihood per character, as NAME_norm
    robustness: bool = False  # it is also asked with the options rotated, and of training questions
    letter_suffices: bool = False  # its continuations may end with the letter, see `letters`
    generates: bool = False  # it judges a text by greedy generation, of a sample of the questions


@dataclass(frozen=True)
class Variant:
    """A protocol under its name in mcq.json, with so many worked examples and its own judge."""

    name: str
    protocol: Protocol
    shots: int
    judge: Judge

    @property
    def robustness(self) -> bool:
        """Whether it is also asked rotated and of training questions: a protocol's plain variant alone is."""
        return self.protocol.robustness and self.name == self.protocol.name


def variants(chosen: Collection[str], shots: Sequence[int]) -> list[Variant]:
    """All variants of the chosen protocols, in the order of `PROTOCOLS`: harness, harness_5shot, ..."""
    return [
        Variant(f"{protocol.name}{suffix}{f'_{k}shot' if k else ''}", protocol, k, judge)
        for protocol in PROTOCOLS
        if protocol.name in chosen
        for k in (shots if protocol.worked_examples else (0,))
        for suffix, judge in [("", protocol.judge), (_NORM, by_norm)][: 1 + protocol.per_character]
    ]


def label(name: str) -> str:
    """A name of mcq.json in words: "harness_5shot" is "lm-evaluation-harness, 5-shot"."""
    ((plain, norm, shots),) = re.findall(rf"^(.+?)({_NORM})?(?:_(\d+)shot)?$", name)
    words = BY_NAME[plain].label if plain in BY_NAME else plain
    return words + (" per character" if norm else "") + (f", {shots}-shot" if shots else "")


def recipe(record: alpaca.Record, context: Context) -> Item:
    """The recipe's own: the training prompt, continued by "The right option is X.text"."""
    question, order = context.questions[record["id"]], record["order"]
    options, _ = question.shown(order)
    answers = [alpaca.answer_text(*pair) for pair in zip(question.letters, options, strict=True)]
    start = context.tokens.prompt(record["instruction"], record["input"])
    tree = trees.Tree(start, [list(context.tokens.encode(answer)) for answer in answers])
    return _item(question, order, tree, answers, context)


def letters(item: Item) -> Item:
    """The item with continuations that end with the letter."""
    places = zip(item.tree.branches, letter_places(item.tree), strict=True)
    return item._replace(tree=item.tree._replace(branches=[ids[: place.stop] for ids, place in places]))


def letter_places(tree: trees.Tree) -> list[slice]:
    """Where the letter stands in each continuation.

    From the first id that tells some of them apart to the first that tells this one from all others. That is
    one id where the vocabulary has a piece for every letter, and more where it spells a letter in bytes. A
    vocabulary may join a letter with its period or with text; the id counts whole.
    """
    alike = [[_alike(ids, other) for other in tree.branches if other is not ids] for ids in tree.branches]
    start = min(map(min, alike))
    return [slice(start, 1 + max(lengths)) for lengths in alike]


def _alike(ids: Sequence[int], other: Sequence[int]) -> int:
    """How many first ids they have in common; later ones differ."""
    return next(i for i, (one, two) in enumerate(zip(ids, other, strict=False)) if one != two)


def harness(record: alpaca.Record, context: Context) -> Item:
    """lm-evaluation-harness' MMLU, or CMMLU for questions in Chinese: the likelihood of " A", " B", ...

    The whole text is encoded with and without the letter, and what is more is the continuation.
    Source: lm_eval/tasks/{mmlu/default,cmmlu}/_default_template_yaml, lm_eval/api/model.py `_encode_pair`.
    """
    question = context.questions[record["id"]]
    end = "答案：" if question.language == "zh" else "Answer:"

    def ask(question: Question) -> str:
        return f"{_passage(question)}{question.question.strip()}{_lines(question)}\n{end}"

    return _worked(question, ask, " ", context)


def cmmlu(record: alpaca.Record, context: Context) -> Item:
    """CMMLU's own, for questions in Chinese: the logits of the pieces A, B, C, ... after its prompt.

    Where examples don't fit CMMLU drops the longest first; here the first go first, as for the harness.
    Source: CMMLU's src/mp_utils.py (`gen_prompt`, `format_example`) and src/hf_causal_model.py (`eval`).

    Raises:
        UserError: the vocabulary lacks one of these pieces.
    """
    question = context.questions[record["id"]]

    def ask(question: Question) -> str:
        return f"题目：{_passage(question)}{question.question}{_lines(question)}\n答案是："

    branches = [[index] for index in letter_ids(context.tokens.processor, question.letters)]
    return _worked(question, ask, "", context, branches)


def option(record: alpaca.Record, context: Context) -> Item:
    """The likelihood of each option's text after the bare question: does the model know the fact?

    Source: lm_eval/tasks/mmlu/continuation/_continuation_template_yaml; lm_eval/tasks/super_glue/boolq for a
    passage, on a line before the question; the wording for Chinese is ours.
    """
    question, tokens = context.questions[record["id"]], context.tokens
    form = "问题：{}\n答案：" if question.language == "zh" else "Question: {}\nAnswer:"
    text = _passage(question, "\n") + form.format(question.question.strip())
    branches = _continuations(tokens.encode, text, question.options)
    tree = trees.Tree([*tokens.start, *tokens.encode(text)], branches)
    return _item(question, question.letters, tree, question.options, context)


def development(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The questions of the development split by category, in file order: the harness' `first_n` examples."""
    found: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if question.split == "dev":
            found[question.category].append(question)
    return found


def letter_ids(processor: Tokenizer, letters: str) -> list[int]:
    """The ids of the pieces that are these letters. Raises: UserError: the vocabulary lacks one."""
    ids = []
    for letter in letters:
        if (index := processor.id_of(letter)) is None:
            raise UserError(f"tokenizer: no piece {letter!r}; take cmmlu out of evaluate.protocols")
        ids.append(index)
    return ids


def _head(question: Question) -> str:
    """The first line of a prompt, which names the subject."""
    if question.language == "zh":
        return f"以下是关于{subjects.chinese(question.subject)}的单项选择题，请直接给出正确答案的选项。\n\n"
    subject = question.subject.replace("_", " ")
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def _passage(question: Question, end: str = "\n\n") -> str:
    """What stands before the question: as lm_eval/tasks/arabicmmlu/utils.py has it."""
    return question.passage.strip() + end if question.passage else ""


def _lines(question: Question) -> str:
    return "".join(f"\n{a}. {text}" for a, text in zip(question.letters, question.options, strict=True))


def _continuations(encode: Encode, text: str, answers: Sequence[str]) -> list[list[int]]:
    """The ids that " answer" adds to those of the text."""
    before = len(encode(text))
    return [list(encode(f"{text} {answer}")[before:]) for answer in answers]


def _worked(
    question: Question, ask: Ask, space: str, context: Context, branches: list[list[int]] | None = None
) -> Item:
    """The question after as many worked examples as fit, of which the first ones go first.

    `space` stands between an example and its answer; `branches` None are the continuations " A", " B", ...
    """
    encode, examples = context.tokens.encode, context.examples(question)
    worked = [f"{ask(example)}{space}{example.answer}\n\n" for example in examples]
    for dropped in range(len(worked) + 1):
        whole = "".join([_head(question), *worked[dropped:], ask(question)])
        ids = [*context.tokens.start, *encode(whole)]
        found = branches or _continuations(encode, whole, question.letters)
        if len(ids) + max(map(len, found)) - 1 <= context.limit:
            break
    tree = trees.Tree(ids, found)
    item = _item(question, question.letters, tree, question.letters, context)
    return item._replace(truncated=item.truncated or dropped > 0, lacking=len(examples) < context.shots)


def _item(question: Question, order: str, tree: trees.Tree, texts: Sequence[str], context: Context) -> Item:
    (fitted, truncated), (_, gold) = trees.fit(tree, context.limit), question.shown(order)
    return Item(question.id, order, gold, fitted, [max(1, len(text)) for text in texts], truncated)


def by_sum(item: Item, answer: Answer) -> Json:
    """By the log-likelihood of the whole continuation."""
    return _pick(item, _sums(answer))


def by_norm(item: Item, answer: Answer) -> Json:
    """By log-likelihood per character of the continuation: the harness' acc_norm (lm_eval/api/task.py)."""
    return _pick(item, [total / n for total, n in zip(_sums(answer), item.characters, strict=True)])


def by_letter(item: Item, answer: Answer) -> Json:
    """By the log-probability of the letter, given all before it."""
    places = zip(answer.scored, letter_places(item.tree), strict=True)
    return _pick(item, [float(found.logprobs[place].sum()) for found, place in places])


def by_text(item: Item, answer: Answer) -> Json:
    """By the letter in a generated text; a text without one is wrong."""
    from mcqlora.tokens import prompt  # see `Tokenization.prompt`

    return _judged(item, prompt.parse_answer(answer.text, LETTERS[: len(item.order)]), {"text": answer.text})


def _pick(item: Item, scores: Sequence[float]) -> Json:
    """The letter of the highest score, the first of equals (as numpy's argmax)."""
    choice = LETTERS[max(range(len(scores)), key=lambda k: scores[k])]
    return _judged(item, choice, {"scores": [round(float(score), 5) for score in scores]})


def _judged(item: Item, choice: str | None, reason: Json) -> Json:
    """`id`, `order`, `gold`, `choice` (None where a text named no letter), `correct`; `scores` or `text`."""
    asked = {"id": item.id, "order": item.order, "gold": item.gold}
    return asked | {"choice": choice, "correct": choice == item.gold} | reason


def _sums(answer: Answer) -> list[float]:
    return [float(found.logprobs.sum()) for found in answer.scored]


PROTOCOLS = (
    Protocol("answer", "full answer", recipe, by_sum, per_character=True, robustness=True),
    Protocol("letter", "letter", recipe, by_letter, robustness=True, letter_suffices=True),
    Protocol("option", "option text", option, by_sum, per_character=True),
    Protocol("harness", "lm-evaluation-harness", harness, by_sum, worked_examples=True),
    Protocol("cmmlu", "CMMLU's own", cmmlu, by_sum, average="macro", worked_examples=True, language="zh"),
    Protocol("generation", "generation", recipe, by_text, letter_suffices=True, generates=True),
)
BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}
