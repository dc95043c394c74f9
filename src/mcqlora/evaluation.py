"""Evaluate one model: multiple choice by the protocols asked for, reading by two scorers; items are kept."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mcqlora import (
    adapters,
    encode,
    fingerprint,
    io,
    optionrefs,
    prompt,
    protocols,
    scoring,
    squad,
    tokenizer,
    training,
)
from mcqlora.benchmarks import category
from mcqlora.cache import Cache
from mcqlora.launch import enter, launch, next_attempt

MEETING = 300  # seconds that msrun would let the workers look for each other; they don't

Items = list[protocols.Item]
Json = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A network ready to be asked, with its words; `limit` is the longest text that it sees."""

    name: str
    forward: scoring.Forward
    processor: Any
    encode: prompt.Encode
    template: prompt.Template
    batch_size: int
    limit: int
    cache: Cache
    progress: scoring.Progress = scoring.silent
    head: float = 1.0  # see `scoring.score`

    def score(self, groups: Mapping[str, Items]) -> dict[str, list[list[scoring.Scored]]]:
        """The items' scores, group by group; all of them are batched together."""
        trees = [item.tree for items in groups.values() for item in items]
        settings = (
            self.batch_size,
            self.limit,
            self.cache,
            self.progress,
            f"{self.name}: choices",
            self.head,
        )
        found = iter(scoring.score(self.forward, trees, *settings))
        return {name: list(islice(found, len(items))) for name, items in groups.items()}

    def write(
        self,
        prompts: Sequence[list[int]],
        most: int,
        stop: set[int],
        what: str,
        starts: Sequence[list[int]] | None = None,
    ) -> list[list[int]]:
        """Greedy continuations of at most `most` ids."""
        what, size = f"{self.name}: {what}", self.batch_size
        return scoring.generate(
            self.forward, prompts, most, stop, size, self.limit, self.cache, starts, self.progress, what
        )


class Share(NamedTuple):
    """Which of an evaluation's processes this one is; they meet in the folder `meetings`, see `Cache`."""

    rank: int = 0
    ranks: int = 1
    meetings: Path | None = None


ALONE = Share()


def evaluate(
    *,
    questions: str,
    test: str,
    train: str,
    last_copy: str,
    squad_path: str,
    choosing: dict,
    reading: dict,
    seed: int,
    **asking: Any,
) -> tuple[Json, Json]:
    """(mcq.json, squad.json) of the base, or of the base with an adapter.

    Args:
        train, last_copy: the training part, and the copy of all questions that training has not.
        choosing: see `choose`.
        reading: `items` (how many, at most) and `max_new_tokens`.
        seed: of the samples, which are drawn by the items' own keys: the same for every model.
        asking: see `ready`.
    """
    asked = ready(**asking)
    everything = {question["id"]: question for question in io.read_jsonl(questions)}
    records = list(io.read_json_array(test))
    leak = []
    if choosing["leak_items"]:
        leak = trained(asked, train, last_copy, everything, choosing["leak_items"], seed)
    mcq = choose(asked, everything, records, leak, choosing, seed)
    return mcq, read(asked, squad_path, reading, seed)


def validate(*, questions: str, valid: str, **asking: Any) -> Json:
    """valid.json: the validation questions, by the likelihood of the full answer; `asking` as in `ready`."""
    asked = ready(**asking)
    everything = {question["id"]: question for question in io.read_jsonl(questions)}
    items = protocols.recipe(io.read_json_array(valid), everything, asked.encode, asked.template, asked.limit)
    scored = asked.score({"valid": items})["valid"]
    rows = [protocols.by_sum(item, found) for item, found in zip(items, scored, strict=True)]
    return {"model": asked.name, "protocol": "answer", "items": rows}


def ready(
    *,
    model: str,
    base: str,
    adapter: str | None,
    tokenizer_path: str,
    runs: str,
    network: dict,
    lora: dict | None,
    device: str,
    seq_length: int,
    batch_size: int,
    reference_template: bool,
    progress: scoring.Progress = scoring.silent,
    share: Share = ALONE,
) -> Model:
    """The base, or the base with `adapter`, ready to be asked; it is built when the first question comes.

    Args:
        runs: what the network says is kept below it, see `kept`.
        lora: that of `adapter`; the base needs none.
        share: of several processes that ask the same, each feeds its share of the batches.
    """
    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    network = training.network_of(Path(base), network, seq_length)
    config = training.model_config(network, seq_length, batch_size, device, template.pad, template.eos, None)

    @functools.cache
    def built() -> scoring.Forward:
        tuned = adapters.read(adapter) if adapter else {}
        scale = lora["alpha"] / lora["rank"] if lora else 1.0
        weights = adapters.Merged(Path(base) / "model.safetensors", tuned, scale)
        return scoring.load(config, device, weights, str(adapter or base))

    return Model(
        model,
        lambda rows: built()(rows),
        processor,
        encode.SegmentEncoder(processor),
        template,
        batch_size,
        seq_length,
        Cache(kept(Path(runs), Path(base), adapter, lora, config), *share),
        progress,
        network["vocab_size"] / (12 * network["num_layers"] * network["hidden_size"]),
    )


def kept(runs: Path, base: Path, adapter: str | None, lora: dict | None, config: dict) -> Path:
    """The file of the network's sayings: its name is made from all that decides them, the code among it."""
    files = [io.sha256(path) for path in (base / "model.safetensors", adapter) if path]
    code = fingerprint.fingerprint(Path(scoring.__file__))
    versions = [version(name) for name in ("mindspore", "mindformers")]
    return runs / io.digest(files, lora, config, code, versions)[:16] / "evaluation.jsonl"


# Several processes

TASKS: dict[str, Callable[..., Any]] = {"evaluate": evaluate, "validate": validate}


def ask(
    task: str, *, workers: int, worker: Path, progress: scoring.Progress = scoring.silent, **arguments: Any
) -> Any:
    """What `evaluate` or `validate` (`task`) gives with `arguments`, asked by `workers` processes.

    Every one goes through the whole task and feeds its share of the batches, which are those of a single
    process; then the task itself finds all answers where they are kept.

    Raises:
        UserError: a worker failed; says how, and names its log.
    """
    if workers > 1:
        place = Path(arguments["runs"]) / io.digest(task, arguments)[:16]
        logs = next_attempt(place)
        logs.mkdir(parents=True)
        told = {"task": task, "arguments": arguments, "folder": os.getcwd()}
        io.write_json(place / "workers.json", told | {"workers": workers, "meetings": str(logs)}, indent=True)
        what = f"evaluation of {arguments['model']}"
        launch(worker.resolve(), (place / "workers.json").resolve(), workers, logs, MEETING, what=what)
    return TASKS[task](**arguments, progress=progress)


def run_worker(path: str) -> None:
    """One process of `ask`: a worker, or msrun's scheduler, which has nobody to bring together here."""
    if not enter():
        return
    told = io.read_json(path)
    os.chdir(told["folder"])  # to which all paths are relative
    share = Share(int(os.environ["RANK_ID"]), told["workers"], Path(told["meetings"]))
    TASKS[told["task"]](**told["arguments"], share=share)


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
        patterns = optionrefs.table(choosing["option_references"])
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
    for record in io.read_json_array(train):
        orders.setdefault(record["id"], set()).add(record["order"])
    copies = (record for record in io.read_json_array(last_copy) if record["id"] in orders)
    records = [record for record in copies if record["order"] not in orders[record["id"]]]

    def fits(record: dict) -> bool:
        texts = (record["instruction"], record["input"], record["output"])
        return len(prompt.row_ids(model.encode, model.template, *texts)[0]) <= model.limit + 1

    ids = [record["id"] for record in records]
    ranks = ranked(ids, [category(questions[i]) for i in ids], seed)
    return list(islice((records[i] for i in ranks if fits(records[i])), count))


# Samples


def ranked(keys: Sequence[str], strata: Sequence[Hashable], seed: int) -> list[int]:
    """All indices, so that any first n of them are a sample of n stratified in proportion.

    Depends on the seed, the keys and what stratum each is in, not on the order. Of a stratum with m of all M
    items the sample has floor or ceiling of n m / M, give or take one.
    """
    members: dict[Hashable, list[int]] = {}
    for i in sorted(range(len(keys)), key=lambda i: io.digest(seed, "sample", keys[i])):
        members.setdefault(strata[i], []).append(i)
    place = {
        i: ((rank + io.rng(seed, "stratum", stratum).random()) / len(inside), str(stratum))
        for stratum, inside in members.items()
        for rank, i in enumerate(inside)
    }
    return sorted(place, key=place.__getitem__)


def drawn(keys: Sequence[str], strata: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Indices of at most `count` items, stratified, see `ranked`; in their original order."""
    return sorted(ranked(keys, strata, seed)[:count])


# Reading


def read(model: Model, path: str, reading: Mapping[str, int], seed: int) -> Json:
    """squad.json: greedy answers to a sample of the reading test, by both scorers.

    The sample is stratified by article. The official scorer counts every item of it, MindFormers' those that
    are the first of their paragraph, against its first answer.
    """
    questions = list(squad.read(path))
    ids, articles = [q["id"] for q in questions], [q["article"] for q in questions]
    sample = [questions[i] for i in drawn(ids, articles, reading["items"], seed)]
    template = model.template
    prompts = [[template.bos, *model.encode(squad.prompt(q["context"], q["question"]))] for q in sample]
    stop = {template.eos, template.newline}
    answers = model.write(prompts, reading["max_new_tokens"], stop, "reading")
    items = []
    for question, written in zip(sample, answers, strict=True):
        prediction = model.processor.decode(written).strip()
        official = squad.official(prediction, question["answers"])
        other = squad.mindformers(prediction, question["answers"][0]) if question["first"] else None
        items.append(
            {
                "id": question["id"],
                "paragraph": question["paragraph"],
                "article": question["article"],
                "prediction": prediction,
                "official": dict(zip(("em", "f1"), official, strict=True)),
                "mindformers": dict(zip(("em", "f1"), other, strict=True)) if other else None,
            }
        )
    scores = {
        scorer: squad.aggregate((item[scorer]["em"], item[scorer]["f1"]) for item in items if item[scorer])
        for scorer in ("official", "mindformers")
    }
    return {
        "model": model.name,
        "items": items,
        **scores,
        "of": len(questions),
        "of_first": sum(question["first"] for question in questions),
        "truncated": sum(
            len(ids) + len(answer) > model.limit for ids, answer in zip(prompts, answers, strict=True)
        ),
    }
