"""Train, validation and test parts that share no question.

Questions are split by duplicate group *before* they are multiplied into copies. The reference recipe does the
reverse, so its tests are re-ordered training questions. `split_recipe` reproduces that, and `leakage` counts
what it costs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcqlora import hashing
from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from mcqlora.files import Json

if TYPE_CHECKING:
    from mcqlora.data.alpaca import Record

PARTS = ("train", "valid", "test")
Questions = Sequence[Question]
Groups = Mapping[str, str]  # {id: group} of every question, from `duplicates.groups`


@dataclass(frozen=True, slots=True)
class Split:
    """Question ids of each part, in the order their records are written; `dropped` are in none.

    Only the reference recipe's split has an id in more than one part.
    """

    train: list[str]
    valid: list[str]
    test: list[str]
    dropped: list[dict[str, str]]  # id, reason, and test: the test question whose group it belongs to


def choose(name: str, questions: Questions, groups: Groups, seed: int, valid: int, test: int) -> Split:
    """The split `name`: "question", "official" or "recipe"; `valid` and `test` are questions per category."""
    if name == "question":
        return split_question(questions, groups, seed, valid, test)
    if name == "official":
        return split_official(questions, groups, seed, valid)
    return split_recipe(questions, seed, valid, test)


def split_question(questions: Questions, groups: Groups, seed: int, valid: int, test: int) -> Split:
    """Draw test and validation questions from each category by whole duplicate groups; the rest trains.

    Groups are drawn in the order of a hash of the seed and their name, so a question added later moves few
    others. A group goes to test if it fits into what test still lacks, else to validation if it fits there,
    else to train. A group that spans categories trains, since no one category could count it. So a category
    has exactly the wanted numbers, unless it runs out of groups that fit.

    Raises:
        UserError: nothing is left to train on.
    """
    sizes = {question.category: {"test": test, "valid": valid} for question in questions}
    return _filled(questions, _draw(questions, groups, seed, sizes), [])


def split_official(questions: Questions, groups: Groups, seed: int, valid: int) -> Split:
    """Test on the benchmark's own test files, train on its dev and val files.

    A training question whose group stands in test is dropped, and listed with the test question it repeats.
    Validation is drawn from the training questions, as in `split_question`. It never takes more than half of
    a category's: CMMLU has five per category.

    Raises:
        UserError: there are no test files, or nothing is left to train on.
    """
    tested = {groups[q.id]: q.id for q in reversed(questions) if q.split == "test"}  # the first of a group
    if not tested:
        raise UserError(
            "split official: no benchmark has a test directory; use the split by question instead"
        )
    others = [q for q in questions if q.split != "test"]
    usable = [q for q in others if groups[q.id] not in tested]
    counts = Counter(q.category for q in usable)
    sizes = {category: {"valid": min(valid, count // 2)} for category, count in counts.items()}
    dropped = [
        {"id": q.id, "reason": "its group stands in test", "test": tested[groups[q.id]]}
        for q in others
        if groups[q.id] in tested
    ]
    part = _draw(usable, groups, seed, sizes) | {q.id: "test" for q in questions if q.split == "test"}
    part |= {row["id"]: "dropped" for row in dropped}
    return _filled(questions, part, dropped)


def split_recipe(questions: Questions, seed: int, valid: int = 20, test: int = 20) -> Split:
    """The reference recipe's leaking split: every question trains, and some are validated and tested as well.

    The questions of each category are shuffled. The first rows (0 to 19) are validation and the next (20 to
    39) are test, shown in the last copy's order. Categories keep the order in which the questions name them.
    The recipe's own draws depend on `os.listdir` and cannot be reproduced.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        members[question.category].append(question.id)
    split = Split([q.id for q in questions], [], [], [])
    for ids in members.values():
        shuffled = sorted(ids, key=lambda identity: hashing.digest(seed, "recipe", identity))
        split.valid.extend(shuffled[:valid])
        split.test.extend(shuffled[valid:][:test])
    return split


def _draw(
    questions: Questions, groups: Groups, seed: int, sizes: Mapping[str, Mapping[str, int]]
) -> dict[str, str]:
    """{id: part} of the questions drawn; `sizes` is {category: {part: number}}, first part filled first."""
    members: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        members[groups[question.id]].append(question)
    lacking = {category: dict(wanted) for category, wanted in sizes.items()}
    drawn: dict[str, str] = {}
    for group in sorted(members, key=lambda group: hashing.digest(seed, "split", group)):
        category, *others = {question.category for question in members[group]}
        if others:
            continue
        size, left = len(members[group]), lacking[category]
        if part := next((part for part in left if size <= left[part]), None):
            left[part] -= size
            drawn |= dict.fromkeys((question.id for question in members[group]), part)
    return drawn


def _filled(questions: Questions, part: Mapping[str, str], dropped: list[dict[str, str]]) -> Split:
    ids = {name: [q.id for q in questions if part.get(q.id, "train") == name] for name in PARTS}
    if not ids["train"]:
        raise UserError(
            f"split: of {len(questions)} questions none is left to train on; "
            "lower the number of test and validation questions per category"
        )
    return Split(**ids, dropped=dropped)


def summary(questions: Iterable[Question], split: Split) -> Json:
    """Counts of questions by part and of those dropped, and `categories`: {category: {part: count}}."""
    of = {question.id: question.category for question in questions}
    counts = {key: dict.fromkeys(PARTS, 0) for key in sorted(set(of.values()))}
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    for part, ids in parts.items():
        for identity in ids:
            counts[of[identity]][part] += 1
    sizes = {part: len(ids) for part, ids in parts.items()}
    return {**sizes, "dropped": len(split.dropped), "categories": counts}


def fell_short(name: str, questions: Questions, groups: Groups, split: Split, valid: int, test: int) -> Json:
    """What a part lacks of the questions asked of each category, and why.

    Returns:
        `asked` {part: questions per category} of the parts that the split `name` draws, and `categories`
        {category: counts}: of those with fewer, the questions by drawn part, `questions` to draw from, those
        in its `largest_group`, and those that are `shared`, in a group with another category's.
    """
    asked = {"valid": valid} if name == "official" else {"valid": valid, "test": test}
    counts = summary(questions, split)["categories"]
    settled = {row["id"] for row in split.dropped} | {*(split.test if name == "official" else ())}
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    spans: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        if question.id not in settled:
            sizes[question.category][groups[question.id]] += 1
            spans[groups[question.id]].add(question.category)
    short = {
        category: {part: held[part] for part in asked}
        | {
            "questions": sizes[category].total(),
            "largest_group": max(sizes[category].values(), default=0),
            "shared": sum(size for group, size in sizes[category].items() if len(spans[group]) > 1),
        }
        for category, held in counts.items()
        if any(held[part] < number for part, number in asked.items())
    }
    return {"asked": asked, "categories": short}


def shortage(found: Json, categories: int) -> str | None:
    """What `fell_short` found in one line, three of the `categories` by name; None if it found nothing."""
    short, asked = found["categories"], found["asked"]
    if not short:
        return None

    def told(category: str, part: Json) -> str:
        line = f"{category} ({_parts(part, asked)} of {part['questions']} questions"
        line += f", {part['largest_group']} in one duplicate group" if part["largest_group"] > 1 else ""
        return line + (f", {part['shared']} in groups with another category" if part["shared"] else "") + ")"

    some = [told(*row) for row in list(short.items())[:3]]
    more = f" and {len(short) - 3} more" if len(short) > 3 else ""
    half = "" if "test" in asked else "; validation takes at most half of a category"
    return (
        f"split: {len(short)} of {categories} categories have fewer held-out questions than asked, "
        f"{_parts(asked, asked)}: {', '.join(some)}{more}{half}; leakage.json names all"
    )


def _parts(counts: Mapping[str, int], asked: Iterable[str]) -> str:
    return " and ".join(f"{part} {counts[part]}" for part in asked)


def assemble(split: Split, epochs: Sequence[Iterable[Record]]) -> dict[str, Iterator[Record]]:
    """The copy records of each part.

    Train has every copy but the last of its questions, copy by copy, and is streamed. Validation and test
    have the last copy of theirs, in the split's order. With a single copy, all three parts use it.

    Args:
        epochs: the copies in order, each an iterable over the same questions' records. A single copy must be
            iterable twice.

    Raises:
        UserError: a question of the split is missing from a copy.
    """
    held_out = {record["id"]: record for record in _of(epochs[-1], {*split.valid, *split.test})}
    trained = frozenset(split.train)
    return {
        "train": (record for records in epochs[:-1] or epochs for record in _of(records, trained)),
        "valid": (held_out[identity] for identity in split.valid),
        "test": (held_out[identity] for identity in split.test),
    }


def _of(records: Iterable[Record], ids: frozenset[str] | set[str]) -> Iterator[Record]:
    """The records of these questions, each of which has one."""
    seen: set[str] = set()
    for record in records:
        if record["id"] in ids:
            seen.add(record["id"])
            yield record
    if len(seen) < len(ids):
        missing = min(ids - seen)
        raise UserError(
            f"split: {missing} has no record in one of the epochs; delete the epochs and make them again"
        )
