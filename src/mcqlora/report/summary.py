"""summary.json: every number of the report, from what the stages wrote."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from mcqlora.errors import UserError
from mcqlora.evaluate.selection import RULES, accuracy, best_checkpoint
from mcqlora.files import Json
from mcqlora.report import comparison, reading, robustness, schema
from mcqlora.report.schema import BASE, METRICS, SCORERS, TUNED, answers, losses


@dataclass(frozen=True, slots=True)
class Evaluations:
    """What the models answered, by model: "base" first, then the checkpoints in the order of training."""

    mcq: Mapping[str, Json]  # mcq.json
    squad: Mapping[str, Json]  # squad.json; may lack any model
    valid: Mapping[str, Json]  # valid.json, of the checkpoints that were asked the validation questions
    groups: Mapping[str, str]  # "groups" of groups.json: the duplicate group of every question

    def clustered(self) -> Evaluations:
        """The same with the cluster of each item in it, see `schema.clustered`."""
        group = schema.duplicate_group(self.groups)
        return replace(
            self,
            mcq={model: schema.clustered(part, group) for model, part in self.mcq.items()},
            squad={model: schema.clustered(part, schema.paragraph) for model, part in self.squad.items()},
            valid={model: schema.clustered(part, group) for model, part in self.valid.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run beside its evaluations."""

    name: str
    recipe: str
    leaked: bool  # the test questions were trained on
    questions: Json  # ledger.json
    splits: Json  # "records" of leakage.json
    mix: Sequence[Json] = ()  # "mix" of packing.json, one of each file that is mixed in
    parameters: Json  # "parameters" of training.json
    training: Json  # "training" of training.json; one or more checkpoints
    seconds: Mapping[str, float]  # see `seconds_by_stage`
    hashes: Mapping[str, str]  # file -> hex SHA-256 of everything that was read for the report


def build(run: Run, evaluations: Evaluations, protocol: str, best: str) -> Json:
    """Summary of a run; `schema` says what its parts share.

    - run, recipe, leaked; tuned, best, last: checkpoints; best_by: the rule that chose, and what each would
    - questions, splits: counts; mix: of each file that is mixed in, see `packing.mixed`
    - parameters, training: of training.json, valid_loss as (step, loss)
    - checkpoints: {"name", "step", "valid_loss", "valid_accuracy", "valid", "mcq"}, the last two rates
    - mcq, comparisons: base against tuned, and all pairs, see `comparison`
    - robustness (by side and protocol), circular: see `robustness`
    - leak: see `comparison.leak`; squad: see `reading.squad`
    - tasks: a score of every model, {"task", "detail", "chance", "models"}, measured and as fractions
    - contest_score, contest: of tuned; seconds: by stage; inputs: file -> hex SHA-256

    Args:
        protocol: the one whose accuracy is the headline.
        best: the rule that chooses the checkpoint compared with the base, see `selection.best_checkpoint`;
            never by the test questions. The last one if none was measured.

    Raises:
        UserError: an evaluation is missing, two models answered different items, or one has no group.
    """
    evaluations = evaluations.clustered()
    mcq = evaluations.mcq
    checkpoints = _checkpoints(run, evaluations, protocol)
    last = checkpoints[-1]["name"]
    chosen = {rule: best_checkpoint(checkpoints, rule) for rule in RULES}
    tuned = chosen[best] or last
    sides = _sides(mcq, tuned, protocol)
    headline = comparison.headline(sides, tuned, protocol)
    leaked = comparison.leak(mcq, tuned, protocol, run.leaked)
    scores = {model: reading.reading(given) for model, given in evaluations.squad.items()}
    contest = _contest(run.parameters["ratio"], headline[TUNED])
    facts = ("steps", "workers", "tokens", "useful_token_fraction", "valid_rows")
    training = {key: run.training[key] for key in facts}
    return {
        "run": run.name,
        "recipe": run.recipe,
        "leaked": run.leaked,
        "tuned": tuned,
        "best": chosen[best],
        "best_by": {"rule": best, **chosen},
        "last": last,
        "questions": {key: run.questions[key] for key in ("read", "kept", "dropped")},
        "splits": {key: run.splits[key] for key in ("train", "valid", "test")},
        "mix": list(run.mix),
        "parameters": {key: run.parameters[key] for key in ("trainable", "total", "ratio")},
        "training": training | {"valid_loss": losses(run.training["history"])},
        "checkpoints": checkpoints,
        "mcq": headline,
        "comparisons": comparison.every_pair(mcq, protocol),
        "robustness": {side: robustness.by_protocol(asked) for side, asked in sides.items()},
        "circular": robustness.rotations(sides, tuned),
        "leak": leaked,
        "squad": reading.squad(evaluations.squad, scores, tuned),
        "tasks": list(_tasks(mcq, leaked, scores)),
        "contest_score": contest["value"],
        "contest": contest,
        "seconds": dict(run.seconds),
        "inputs": dict(run.hashes),
    }


def contest_score(ratio: float, accuracy: float) -> float:
    """0.3 (1 - 10 ratio) + 0.7 accuracy; `ratio` = trainable / all parameters, both fractions."""
    return 0.3 * (1 - 10 * ratio) + 0.7 * accuracy


def _contest(ratio: float, rate: Json) -> Json:
    """The contest's score of the tuned model; its interval is that of the accuracy."""
    value, low, high = (contest_score(ratio, rate[key]) for key in ("accuracy", "low", "high"))
    return schema.estimate(rate["n"], rate["clusters"], value, (low, high))


def _sides(mcq: Mapping[str, Json], tuned: str, protocol: str) -> dict[str, Json]:
    for model in (BASE, tuned):
        if model not in mcq:
            raise UserError(f"evaluation/{model}/mcq.json: not given; evaluate {model} before the report")
        if not answers(mcq[model], protocol):
            known = ", ".join(mcq[model]["protocols"])
            raise UserError(
                f"evaluation/{model}/mcq.json: no {protocol!r} items; choose a protocol of {known}"
            )
    return {BASE: mcq[BASE], TUNED: mcq[tuned]}


def _checkpoints(run: Run, evaluations: Evaluations, protocol: str) -> list[Json]:
    loss = dict(losses(run.training["history"]))
    rows = []
    for checkpoint in run.training["checkpoints"]:
        name, step = checkpoint["name"], checkpoint["step"]
        items = answers(evaluations.mcq[name], protocol) if name in evaluations.mcq else []
        valid = evaluations.valid.get(name)
        row = {"name": name, "step": step, "valid_loss": loss.get(step)}
        row |= {
            "valid_accuracy": accuracy(valid) if valid else None,
            "valid": comparison.rate(valid["items"]) if valid else None,
            "mcq": comparison.rate(items) if items else None,
        }
        rows.append(row)
    return rows


def _tasks(mcq: Mapping[str, Json], leaked: Json, scores: Mapping[str, dict[str, Json]]) -> Iterator[Json]:
    def row(task: str, detail: str, found: Mapping[str, Json | None], chance: float | None = None) -> Json:
        models = {model: found.get(model) for model in mcq}
        return {"task": task, "detail": detail, "chance": chance, "models": models}

    for name in dict.fromkeys(name for given in mcq.values() for name in given["protocols"]):
        asked = {model: answers(given, name) for model, given in mcq.items()}
        guess = next((schema.chance(items) for items in asked.values() if items), None)
        yield row("mcq", name, {model: comparison.accuracy(items) for model, items in asked.items()}, guess)
    turned = {model: schema.rotated(given) for model, given in mcq.items()}
    for name in dict.fromkeys(name for part in turned.values() for name in part):
        asked = {model: part[name] for model, part in turned.items() if name in part}
        found = {model: robustness.circular(items) for model, items in asked.items()}
        guess = schema.chance(next(iter(asked.values())))
        yield row("circular", name, {model: schema.measured(part) for model, part in found.items()}, guess)
        yield row("all_right", name, {model: part["all_right"] for model, part in found.items()})
    for task in ("recipe", "gap", "did") if leaked["gap"] else ():
        guess = leaked["chance"] if task == "recipe" else None
        found = {model: part[task] for model, part in leaked["models"].items()}
        yield row(task, leaked["protocol"], found, guess)
    for scorer, metric in product(SCORERS, METRICS) if scores else ():
        read = {model: _fraction(schema.score(part[scorer], metric)) for model, part in scores.items()}
        yield row("squad", f"{scorer} {metric}", read)


def _fraction(percent: Json | None) -> Json | None:
    sizes = ("n", "clusters")
    return percent and {key: value if key in sizes else value / 100 for key, value in percent.items()}


def seconds_by_stage(paths: Iterable[str | Path], root: str | Path) -> dict[str, float]:
    """Wall-clock seconds by stage from Snakemake benchmark files under `root`, the jobs of a stage added up.

    A stage is `root/<stage>.tsv` or all of `root/<stage>/`; of repeated runs in one file the mean counts.

    Raises:
        UserError: a file is missing or is no benchmark file.
    """
    total: dict[str, float] = defaultdict(float)
    for path in sorted(map(Path, paths)):
        try:
            with open(path, encoding="utf-8", newline="") as file:
                runs = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
            total[path.relative_to(root).parts[0].removesuffix(".tsv")] += sum(runs) / len(runs)
        except (OSError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"{path}: no Snakemake benchmark file under {root}; delete it and run again"
            ) from error
    return {stage: round(value, 2) for stage, value in sorted(total.items())}
