"""Multiple choice: the test questions asked and judged by every protocol, and two checks of robustness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from mcqlora import files
from mcqlora.data import alpaca, option_references
from mcqlora.data.alpaca import Record
from mcqlora.data.questions import Question
from mcqlora.evaluate import protocols
from mcqlora.evaluate.asking import GenerationSettings, Model
from mcqlora.evaluate.protocols import Answer, Build, Context, Item, Variant
from mcqlora.evaluate.sampling import drawn, ranked
from mcqlora.evaluate.trees import Scored, greedy_start
from mcqlora.tokens import prompt

Questions = Mapping[str, Question]  # by id
Groups = Mapping[str, str]
Records = Sequence[Record]
Of = Literal["test", "circular", "leak", "sample"]  # which records are asked
Group = tuple[Build, Of, int]  # items scored once, whichever protocols judge them, with so many examples


@dataclass(frozen=True, kw_only=True)
class McqSettings:
    """What is asked."""

    protocols: Sequence[str]  # names of `protocols.PROTOCOLS`
    shots: Sequence[int]  # numbers of worked examples, for the protocols that have them
    rotations: bool  # the robust protocols also ask with the options rotated
    option_references: Mapping[str, Mapping[str, Sequence[str]]]  # see `option_references.table`
    leak_items: int  # training questions that are asked as well
    generation: GenerationSettings  # of the protocols that judge a generated text


def choose(
    model: Model,
    questions: Questions,
    test: Records,
    leak: Records,
    settings: McqSettings,
    seed: int,
    groups: Groups | None = None,
) -> files.Json:
    """mcq.json: every protocol's items of the test records, and of training questions for the leak.

    Args:
        leak: records of training questions, see `trained`.
        seed: of the sample that is answered by generation.
        groups: {id: duplicate group}; no question is shown another of its own as a worked example.

    Returns:
        `model`, and by variant's name `protocols`: `items`, `shots`, how many are `truncated` and `lacking`
        (see `protocols.Item`), `average`, `stderr`. `circular` has rotated `items` by name, the numbers of
        `questions` and of `pinned` ones. `leak` has `items` by name of the test (`honest`) and of training
        questions (`recipe`), which are `short` of the wanted number. Both are None where not asked.
    """
    variants = protocols.variants(settings.protocols, settings.shots)
    robust = [variant for variant in variants if variant.robustness]
    records = _records(questions, test, leak, settings, seed)
    asked = _asked(model, variants, questions, groups or {}, records)
    scored = model.score(asked)

    def judged(variant: Variant, of: Of) -> list[files.Json]:
        group = _group(variant, of)
        items, answers = asked[group], [Answer(found) for found in scored[group]]
        if variant.protocol.generates:
            texts = _texts(model, items, scored[group], settings.generation.max_new_tokens)
            answers = list(map(Answer, scored[group], texts))
        return [variant.judge(*pair) for pair in zip(items, answers, strict=True)]

    def part(variant: Variant) -> dict[str, Any]:
        rows = judged(variant, _own(variant))
        items = asked[_group(variant, _own(variant))]
        made: dict[str, Any] = {"items": rows, "shots": variant.shots}
        made |= {mark: sum(getattr(item, mark) for item in items) for mark in ("truncated", "lacking")}
        stderr = standard_error([row["correct"] for row in rows])
        return made | {"average": variant.protocol.average, "stderr": stderr}

    parts = {variant.name: part(variant) for variant in variants if _group(variant, _own(variant)) in asked}
    found: files.Json = {"model": model.name, "protocols": parts, "circular": None, "leak": None}
    if robust and records["circular"]:
        turned = {variant.name: {"items": _numbered(judged(variant, "circular"))} for variant in robust}
        count = len({record["id"] for record in records["circular"]})
        found["circular"] = turned | {"questions": count, "pinned": len(test) - count}
    if robust and leak:
        found["leak"] = {
            "honest": {variant.name: {"items": parts[variant.name]["items"]} for variant in robust},
            "recipe": {variant.name: {"items": judged(variant, "leak")} for variant in robust},
            "short": settings.leak_items - len(leak),
        }
    return found


def _records(
    questions: Questions, test: Records, leak: Records, settings: McqSettings, seed: int
) -> dict[Of, Records]:
    """The records of each kind, of some perhaps none."""
    turned: list[Record] = []
    if settings.rotations:
        patterns = option_references.table(settings.option_references)
        for record in test:
            turned += rotations(record, questions[record["id"]], patterns)
    ids = [record["id"] for record in test]
    sample = drawn(ids, [questions[i].category for i in ids], settings.generation.items, seed)
    return {"test": test, "circular": turned, "leak": leak, "sample": [test[i] for i in sample]}


def _asked(
    model: Model,
    variants: Sequence[Variant],
    questions: Questions,
    groups: Groups,
    records: Mapping[Of, Records],
) -> dict[Group, list[Item]]:
    """The items of every group that has some, in the order in which they are batched."""
    development = protocols.development(questions.values())
    whole = {variant.protocol.build for variant in variants if not variant.protocol.letter_suffices}
    asked: dict[Group, list[Item]] = {}
    for variant in variants:
        build, language = variant.protocol.build, variant.protocol.language
        context = Context(questions, model.tokens, model.engine.limit, development, variant.shots, groups)
        robustness: tuple[Of, ...] = ("circular", "leak") if variant.robustness else ()
        for of in (_own(variant), *robustness):
            some = [one for one in records[of] if language in (None, questions[one["id"]].language)]
            group = _group(variant, of)
            if some and group not in asked:
                items = [build(record, context) for record in some]
                asked[group] = items if build in whole else list(map(protocols.letters, items))
    return asked


def _own(variant: Variant) -> Of:
    """The test records that a protocol is asked."""
    return "sample" if variant.protocol.generates else "test"


def _group(variant: Variant, of: Of) -> Group:
    return variant.protocol.build, of, variant.shots


def rotations(
    record: Record, question: Question, patterns: option_references.Table = option_references.DEFAULT
) -> list[Record]:
    """The record with its options rotated by 0, 1, 2, ... places: each stands under every letter once.

    None if an option refers to others.
    """
    if option_references.pins(question, patterns):
        return []
    order = record["order"]
    turned = (order[k:] + order[:k] for k in range(1, len(order)))
    return [record, *(alpaca.shuffled_record(question, one) for one in turned)]


def _numbered(rows: Sequence[files.Json]) -> list[files.Json]:
    """Items of all `rotations` of question after question, with the number of each, "rotation"."""
    counts: Counter[str] = Counter()
    made = []
    for row in rows:
        made.append(row | {"rotation": counts[row["id"]]})
        counts[row["id"]] += 1
    return made


def _texts(model: Model, items: Sequence[Item], scored: Sequence[Sequence[Scored]], most: int) -> list[str]:
    """The items' greedy texts: generation goes on from what the scored continuations tell of them."""
    starts = [greedy_start(item.tree, found) for item, found in zip(items, scored, strict=True)]
    written = {i: ids[:most] for i, (ids, whole) in enumerate(starts) if whole}
    others = [i for i in range(len(items)) if i not in written]
    prompts, known = [items[i].tree.prompt for i in others], [starts[i][0] for i in others]
    texts = model.write(prompts, most, model.tokens.stops, "texts", known)
    written |= dict(zip(others, texts, strict=True))
    return [model.tokens.processor.decode(written[i]) for i in range(len(items))]


def validate(model: Model, questions: Questions, records: Records) -> files.Json:
    """valid.json: the validation questions, by the likelihood of the full answer."""
    protocol = protocols.BY_NAME["answer"]
    context = Context(questions, model.tokens, model.engine.limit)
    items = [protocol.build(record, context) for record in records]
    answers = map(Answer, model.score({"valid": items})["valid"])
    rows = [protocol.judge(item, answer) for item, answer in zip(items, answers, strict=True)]
    return {"model": model.name, "protocol": protocol.name, "items": rows}


def standard_error(correct: Sequence[bool]) -> float | None:
    """Of a mean, sd(n-1)/sqrt(n), as the harness (lm_eval/api/metrics.py, `mean_stderr`); None if n < 2."""
    n = len(correct)
    if n < 2:
        return None
    mean = sum(correct) / n
    return (mean * (1 - mean) / (n - 1)) ** 0.5


def trained(
    model: Model, train: str, last_copy: str, questions: Questions, count: int, seed: int
) -> list[Record]:
    """Records of `count` questions that were trained on, in an order of options that was not.

    They are what the reference recipe tests on, from `train`, the training part, and `last_copy`, which it
    has not. Drawn by category in proportion to its questions; those whose row was too long to be trained on,
    or whose every permitted order was, are passed over.
    """
    orders: dict[str, set[str]] = {}
    for record in files.read_json_array(train):
        orders.setdefault(record["id"], set()).add(record["order"])
    copies = (record for record in files.read_json_array(last_copy) if record["id"] in orders)
    records = [record for record in copies if record["order"] not in orders[record["id"]]]
    tokens, limit = model.tokens, model.engine.limit

    def fits(record: Record) -> bool:
        texts = (record["instruction"], record["input"], record["output"])
        return len(prompt.row_ids(tokens.encode, tokens.template, *texts)[0]) <= limit + 1

    ids = [record["id"] for record in records]
    ranks = ranked(ids, [questions[i].category for i in ids], seed)
    return list(islice((records[i] for i in ranks if fits(records[i])), count))
