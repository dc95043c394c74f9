"""Train, validation and test parts that share no question, and the gate that proves it.

Questions are split by duplicate group *before* they are multiplied into copies. The reference recipe does the
reverse, so that its tests are re-ordered training questions; `split_recipe` reproduces it and `leakage`
counts what it costs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mcqlora import hashing
from mcqlora.data.questions import category
from mcqlora.errors import UserError

PARTS = ("train", "valid", "test")


class Split(NamedTuple):
    """Question ids of each part, in the order their records are written; `dropped` are in none, and say why.

    Only the reference recipe's split has an id in more than one part.
    """

    train: list[str]
    valid: list[str]
    test: list[str]
    dropped: list[dict]


def choose(
    name: str, questions: Sequence[dict], groups: Mapping[str, str], seed: int, valid: int, test: int
) -> Split:
    """The split `name`: "question", "official" or "recipe"; `valid` and `test` are questions a category."""
    if name == "question":
        return split_question(questions, groups, seed, valid, test)
    if name == "official":
        return split_official(questions, groups, seed, valid)
    return split_recipe(questions, seed, valid, test)


def split_question(
    questions: Sequence[dict],
    groups: Mapping[str, str],
    seed: int,
    valid_per_category: int,
    test_per_category: int,
) -> Split:
    """Draw test and validation questions from each category by whole duplicate groups; the rest trains.

    A group is drawn by a hash of the seed and its name, so that a question added later moves few others. It
    goes to test if it fits in what test still lacks, else to validation if it fits there, else to train. A
    group that spans categories trains: it could not be counted for one of them. A category thus has exactly
    so many test and validation questions unless it runs out of groups that fit.

    Raises:
        UserError: nothing is left to train on.
    """
    part = _draw(questions, groups, seed, {"test": test_per_category, "valid": valid_per_category})
    return _filled(questions, part, [])


def split_official(
    questions: Sequence[dict], groups: Mapping[str, str], seed: int, valid_per_category: int
) -> Split:
    """Test on the benchmark's own test files, train on its dev and val files.

    A training question whose group stands in test is dropped and listed with the test question it repeats.
    Validation is drawn as in `split_question`, from the training questions, and never takes more than half of
    a category's: CMMLU offers five a category.

    Raises:
        UserError: there are no test files, or nothing is left to train on.
    """
    tested: dict[str, str] = {}
    for question in questions:
        if question["split"] == "test":
            tested.setdefault(groups[question["id"]], question["id"])
    if not tested:
        raise UserError(
            "split official: no benchmark has a test directory; use the split by question instead"
        )
    others = [q for q in questions if q["split"] != "test"]
    dropped = [
        {"id": q["id"], "reason": "its group stands in test", "test": tested[groups[q["id"]]]}
        for q in others
        if groups[q["id"]] in tested
    ]
    usable = [q for q in others if groups[q["id"]] not in tested]
    sizes = Counter(map(category, usable))
    wanted = {key: min(valid_per_category, size // 2) for key, size in sizes.items()}
    part = _draw(usable, groups, seed, {"valid": wanted})
    part |= {q["id"]: "test" for q in questions if q["split"] == "test"}
    part |= {row["id"]: "dropped" for row in dropped}
    return _filled(questions, part, dropped)


def split_recipe(
    questions: Sequence[dict], seed: int, valid_per_category: int = 20, test_per_category: int = 20
) -> Split:
    """The reference recipe's leaking split: every question trains, and some are validated and tested as well.

    In each category, in the questions' order of categories, the questions are shuffled; the first rows
    (0..19) are validation and the next (20..39) test, shown in the last copy's order. The recipe's own draws
    depend on `os.listdir` and cannot be had again.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        members[category(question)].append(question["id"])
    valid, test = [], []
    for ids in members.values():
        shuffled = sorted(ids, key=lambda identity: hashing.digest(seed, "recipe", identity))
        valid += shuffled[:valid_per_category]
        test += shuffled[valid_per_category:][:test_per_category]
    return Split([q["id"] for q in questions], valid, test, [])


def _draw(
    questions: Sequence[dict],
    groups: Mapping[str, str],
    seed: int,
    wanted: Mapping[str, int | Mapping[str, int]],
) -> dict[str, str]:
    """{id: part} of the questions drawn; `wanted` has the parts to fill, in order, and their sizes."""
    members: dict[str, list[str]] = defaultdict(list)
    categories: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        group = groups[question["id"]]
        members[group].append(question["id"])
        categories[group].add(category(question))
    lacking = {
        (part, key): size if isinstance(size, int) else size.get(key, 0)
        for part, size in wanted.items()
        for key in set().union(*categories.values())
    }
    drawn: dict[str, str] = {}
    for group in sorted(members, key=lambda group: hashing.digest(seed, "split", group)):
        if len(categories[group]) > 1:
            continue
        (key,) = categories[group]
        for part in wanted:
            if len(members[group]) <= lacking[part, key]:
                lacking[part, key] -= len(members[group])
                drawn |= dict.fromkeys(members[group], part)
                break
    return drawn


def _filled(questions: Sequence[dict], part: Mapping[str, str], dropped: list[dict]) -> Split:
    ids = {name: [q["id"] for q in questions if part.get(q["id"], "train") == name] for name in PARTS}
    if not ids["train"]:
        raise UserError(
            f"split: of {len(questions)} questions none is left to train on; "
            "lower the number of test and validation questions per category"
        )
    return Split(ids["train"], ids["valid"], ids["test"], dropped)


def summary(questions: Iterable[dict], split: Split) -> dict:
    """Counts of questions: {"train", "valid", "test", "dropped", "categories": {category: {part: count}}}."""
    of = {question["id"]: category(question) for question in questions}
    counts: dict[str, Counter] = {key: Counter(dict.fromkeys(PARTS, 0)) for key in sorted(set(of.values()))}
    for part in PARTS:
        for identity in getattr(split, part):
            counts[of[identity]][part] += 1
    return {
        **{part: len(getattr(split, part)) for part in PARTS},
        "dropped": len(split.dropped),
        "categories": {key: dict(count) for key, count in counts.items()},
    }


def assemble(split: Split, epochs: Sequence[Iterable[dict]]) -> dict[str, Iterator[dict]]:
    """The copy records of each part.

    Train has every copy but the last of its questions, copy by copy, and is streamed; validation and test
    have the last copy of theirs, in the split's order. With a single copy all three parts use it.

    Args:
        epochs: the copies in order, each an iterable over the same questions' records; with a single copy it
            must be one that can be walked twice.

    Raises:
        UserError: a question of the split is missing from a copy.
    """
    held_out = _selected(epochs[-1], {*split.valid, *split.test})
    return {
        "train": _train(split.train, epochs[:-1] or epochs),
        "valid": (held_out[identity] for identity in split.valid),
        "test": (held_out[identity] for identity in split.test),
    }


def _selected(records: Iterable[dict], ids: Collection[str]) -> dict[str, dict]:
    found = {record["id"]: record for record in records if record["id"] in ids}
    if len(found) < len(ids):
        raise _missing(min(set(ids) - set(found)))
    return found


def _train(ids: Sequence[str], epochs: Iterable[Iterable[dict]]) -> Iterator[dict]:
    wanted = frozenset(ids)
    for records in epochs:
        seen = set()
        for record in records:
            if record["id"] in wanted:
                seen.add(record["id"])
                yield record
        if len(seen) < len(wanted):
            raise _missing(min(wanted - seen))


def _missing(identity: str) -> UserError:
    return UserError(
        f"split: {identity} has no record in one of the epochs; delete the epochs and make them again"
    )
