"""Multiple choice: every protocol's items of the test questions, asked and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from mcqlora import files
from mcqlora.data import option_references
from mcqlora.data.questions import category
from mcqlora.evaluate import protocols, scoring
from mcqlora.evaluate.model import Items, Model
from mcqlora.evaluate.sampling import drawn, ranked
from mcqlora.tokens import prompt

Json = dict[str, Any]


# Multiple choice


def choose(
    model: Model,
    questions: Mapping[str, dict],
    records: Sequence[dict],
    leak: Sequence[dict],
    choosing: Mapping[str, Any],
    seed: int,
) -> Json:
    """mcq.json: every protocol's items of the test records, and of training questions for the leak.

    Args:
        questions: all questions by id.
        leak: records of training questions, see `trained`.
        choosing: `protocols` (of `protocols.NAMES`), `shots` (numbers of worked examples, for the protocols
            that have them), `rotations` (4 also asks with the options rotated, 1 doesn't),
            `option_references` (patterns of options that may not be, see `optionrefs.table`), `leak_items`
            and `generation`: `{"items", "max_new_tokens"}`.
    """
    groups = _asked(model, questions, records, leak, choosing, seed)
    scored = model.score(groups)
    recipe = [name for name in protocols.RECIPE if name in choosing["protocols"]]

    def judged(name: str, group: str) -> list[Json]:
        judge = _judge(name)
        return [judge(item, found) for item, found in zip(groups[group], scored[group], strict=True)]

    parts = {}
    for name, shots in protocols.names(choosing["protocols"], choosing["shots"]):
        group = _group(name)
        if group in groups:
            if name == "generation":
                most = choosing["generation"]["max_new_tokens"]
                rows = _written(model, groups[group], scored[group], most)
            else:
                rows = judged(name, group)
            parts[name] = _part(name, shots, groups[group], rows)
    circular = leaked = None
    if groups.get("circular"):
        circular = {
            name: {"items": [row | {"rotation": i % 4} for i, row in enumerate(judged(name, "circular"))]}
            for name in recipe
        }
        count = len(groups["circular"]) // 4
        circular |= {"questions": count, "pinned": len(records) - count}
    if groups.get("leak"):
        leaked = {
            "honest": {name: {"items": parts[name]["items"]} for name in recipe},
            "recipe": {name: {"items": judged(name, "leak")} for name in recipe},
            "short": choosing["leak_items"] - len(leak),
        }
    return {"model": model.name, "protocols": parts, "circular": circular, "leak": leaked}


def _asked(
    model: Model,
    questions: Mapping[str, dict],
    records: Sequence[dict],
    leak: Sequence[dict],
    choosing: Mapping[str, Any],
    seed: int,
) -> dict[str, Items]:
    """All that is asked, by group: "recipe", "circular", "leak", and protocols with prompts of their own."""
    chosen = set(choosing["protocols"])
    words = (model.encode, model.template)
    tested = [questions[record["id"]] for record in records]

    def recipe(some: Iterable[dict]) -> Items:
        items = protocols.recipe(some, questions, *words, model.limit)
        return items if "answer" in chosen else [protocols.letters(item) for item in items]

    groups: dict[str, Items] = {}
    if chosen & set(protocols.RECIPE):
        rotated = records if choosing["rotations"] > 1 else []
        patterns = option_references.table(choosing["option_references"])
        groups["recipe"] = recipe(records)
        turned = (protocols.rotations(record, questions[record["id"]], patterns) for record in rotated)
        groups["circular"] = recipe(record for four in turned for record in four)
        groups["leak"] = recipe(leak)
    if "option" in chosen:
        groups["option"] = protocols.option(tested, *words, model.limit)
    examples = protocols.worked(questions.values())
    for name, shots in protocols.names(chosen & {"harness"}, choosing["shots"]):
        groups[name] = protocols.harness(tested, examples, *words, shots, model.limit)
    chinese = [question for question in tested if question["language"] == "zh"]
    for name, shots in protocols.names(chosen & {"cmmlu"} if chinese else (), choosing["shots"]):
        letters = protocols.letter_ids(model.processor)
        groups[name] = protocols.cmmlu(chinese, examples, *words, letters, shots, model.limit)
    if "generation" in chosen:
        ids, subjects = [q["id"] for q in tested], [category(q) for q in tested]
        sample = drawn(ids, subjects, choosing["generation"]["items"], seed)
        groups["generation"] = recipe(records[i] for i in sample)
    return groups


def _group(name: str) -> str:
    """The group whose scores a protocol judges."""
    return "recipe" if name in (*protocols.RECIPE, "answer_norm") else name.removesuffix("_norm")


def _judge(name: str) -> Callable[[protocols.Item, Sequence[scoring.Scored]], Json]:
    if name == "letter":
        return protocols.by_letter
    return protocols.by_norm if name.endswith("_norm") else protocols.by_sum


def _written(model: Model, items: Items, scored: Sequence[Sequence[scoring.Scored]], most: int) -> list[Json]:
    """The items of greedy generation: it goes on from what the scored continuations tell of it."""
    starts = [protocols.greedy_start(item, found) for item, found in zip(items, scored, strict=True)]
    written = {i: ids[:most] for i, (ids, whole) in enumerate(starts) if whole}
    others = [i for i in range(len(items)) if i not in written]
    stop = {model.template.eos, model.template.eoa}
    known = [starts[i][0] for i in others]
    texts = model.write([items[i].tree.prompt for i in others], most, stop, "texts", known)
    written |= dict(zip(others, texts, strict=True))
    return [protocols.by_text(item, model.processor.decode(written[i])) for i, item in enumerate(items)]


def _part(name: str, shots: int, items: Items, rows: list[Json]) -> Json:
    return {
        "items": rows,
        "shots": shots,
        "truncated": sum(item.truncated for item in items),
        "average": "macro" if name.startswith(protocols.MACRO) else "micro",
        "stderr": protocols.standard_error([row["correct"] for row in rows]),
    }


def trained(
    model: Model, train: str, last_copy: str, questions: Mapping[str, dict], count: int, seed: int
) -> list[dict]:
    """Records of `count` questions that were trained on, in an order of options that was not.

    They are what the reference recipe tests on. Drawn by category in proportion to its questions; those
    whose row was too long to be trained on, or whose every permitted order was, are passed over.
    """
    orders: dict[str, set[str]] = {}
    for record in files.read_json_array(train):
        orders.setdefault(record["id"], set()).add(record["order"])
    copies = (record for record in files.read_json_array(last_copy) if record["id"] in orders)
    records = [record for record in copies if record["order"] not in orders[record["id"]]]

    def fits(record: dict) -> bool:
        texts = (record["instruction"], record["input"], record["output"])
        return len(prompt.row_ids(model.encode, model.template, *texts)[0]) <= model.limit + 1

    ids = [record["id"] for record in records]
    ranks = ranked(ids, [category(questions[i]) for i in ids], seed)
    return list(islice((records[i] for i in ranks if fits(records[i])), count))
