"""Train, validation and test parts that share no question, and the gate that proves it.

Questions are split by duplicate group *before* they are multiplied into copies. The reference recipe does the
reverse, so that its tests are re-ordered training questions; `split_recipe` reproduces it and `leakage`
counts what it costs.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcqlora import io
from mcqlora.benchmarks import category
from mcqlora.errors import UserError

PARTS = ("train", "valid", "test")

Prompt = tuple[str, str]  # instruction and input
_SHINGLE = 5
_PERMUTATIONS = 128
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2 ** 64 over the golden ratio: spreads its products' high bits


class Split(NamedTuple):
    """Question ids of each part, in the order their records are written; `dropped` are in none, and say why.

    Only the reference recipe's split has an id in more than one part.
    """

    train: list[str]
    valid: list[str]
    test: list[str]
    dropped: list[dict]


def fold(text: str) -> str:
    """Text reduced to what tells questions apart: NFKC, casefolded, without white space and punctuation.

    Symbols (+, <, =) stay. A text of nothing but punctuation is kept, for it is all there is.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return plain.translate(_DROPPED) or plain


class _Dropped(dict):
    """A `str.translate` table filled as characters are met: white space and punctuation vanish."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        gone = character.isspace() or unicodedata.category(character)[0] in "PZC"
        self[code] = None if gone else code
        return self[code]


_DROPPED = _Dropped()


def groups(questions: Sequence[dict], near_duplicate_threshold: float | None = None) -> dict[str, str]:
    """The duplicate group of each question: {id: smallest id of its group}.

    Two questions are one item if their folded texts and their folded options, in any order, are equal. With a
    threshold in (0, 1] questions are also merged whose sets of 5-character shingles have at least that
    Jaccard similarity; candidates come from MinHash LSH (datasketch, 128 permutations) and are checked
    exactly, and groups are closed transitively. Comparing texts takes a second for 28,000 questions, near
    duplicates about eight more.
    """
    folded = [(fold(q["question"]), tuple(sorted(map(fold, q["options"])))) for q in questions]
    first: dict[tuple, int] = {}
    edges = [(index, first.setdefault(key, index)) for index, key in enumerate(folded)]
    if near_duplicate_threshold is not None:
        if not 0 < near_duplicate_threshold <= 1:
            raise UserError(
                f"near_duplicate_threshold is {near_duplicate_threshold}; choose a number in (0, 1] or null"
            )
        representatives = sorted(first.values())
        texts = ["\n".join((folded[index][0], *folded[index][1])) for index in representatives]
        edges += [(representatives[a], representatives[b]) for a, b in _near(texts, near_duplicate_threshold)]
    return _components([q["id"] for q in questions], edges)


def _components(ids: list[str], edges: list[tuple[int, int]]) -> dict[str, str]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not ids:
        return {}
    rows, columns = np.array(edges).T
    graph = coo_matrix((np.ones(len(edges), bool), (rows, columns)), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1]
    name: dict[int, str] = {}
    for identity, label in zip(ids, labels.tolist(), strict=True):
        name[label] = min(identity, name.get(label, identity))
    return {identity: name[label] for identity, label in zip(ids, labels.tolist(), strict=True)}


def _near(texts: list[str], threshold: float) -> Iterator[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    shingles = [_shingles(text) for text in texts]
    # The index proposes and the exact similarity decides, so the index is tuned to miss little: a miss weighs
    # nine times a false alarm, and it looks 0.1 below. At 0.8 it proposes 99.8 % of the pairs that are there.
    lower = min(max(threshold - 0.1, 0.1), 0.9)
    index = MinHashLSH(threshold=lower, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    sketches = MinHash.generator(shingles, num_perm=_PERMUTATIONS, hashfunc=int)
    for position, (values, sketch) in enumerate(zip(shingles, sketches, strict=True)):
        for other in sorted(index.query(sketch)):
            common = len(np.intersect1d(values, shingles[other], assume_unique=True))
            if common >= threshold * (len(values) + len(shingles[other]) - common):
                yield position, other
        index.insert(position, sketch)


def _shingles(text: str) -> np.ndarray:
    """uint32 hashes, sorted and distinct, of all runs of five characters; the last ones are padded."""
    codes = np.frombuffer((text + "\0" * (_SHINGLE - 1)).encode("utf-32-le"), np.uint32).astype(np.uint64)
    size = len(codes) - _SHINGLE + 1
    hashes = np.zeros(size, np.uint64)
    for start in range(_SHINGLE):
        hashes = hashes * _ODD + codes[start : start + size]  # modulo 2 ** 64
    return np.unique((hashes * _ODD >> np.uint64(32)).astype(np.uint32))


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
        shuffled = sorted(ids, key=lambda identity: io.digest(seed, "recipe", identity))
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
    for group in sorted(members, key=lambda group: io.digest(seed, "split", group)):
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


def duplicates(groups: Mapping[str, str]) -> dict[str, int]:
    """{"groups", "questions"}: groups of more than one question, and the questions in them."""
    sizes = [size for size in Counter(groups.values()).values() if size > 1]
    return {"groups": len(sizes), "questions": sum(sizes)}


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


def leakage(
    train_records: Iterable[dict],
    parts: Mapping[str, Iterable[dict]],
    groups: Mapping[str, str],
    listed: int | None = None,
) -> dict[str, dict]:
    """Count the held-out questions of each part that training has seen.

    A question leaks if training holds it, or a duplicate of it, with its options in any order. A prompt
    (instruction and input) leaks verbatim if training holds the very text. Train records are streamed and not
    kept.

    Args:
        groups: {id: group} of every question, from `groups`.
        listed: how many ids to list at most (None: all); the counts are always whole.

    Returns:
        {part: {"questions", "leaked_questions", "leaked_share", "prompts", "verbatim_prompts",
        "verbatim_share", "leaked": bool, "ids": [...], "verbatim_ids": [...]}}; shares are fractions, 0.0 of
        nothing. `leaked` says that either count is above zero.
    """
    held_out = {
        part: [(record["id"], _prompt(record)) for record in records] for part, records in parts.items()
    }
    prompts = {prompt for tested in held_out.values() for _, prompt in tested}
    trained, repeated = set(), set()
    for record in train_records:
        trained.add(groups[record["id"]])
        prompt = _prompt(record)
        if prompt in prompts:
            repeated.add(prompt)
    return {part: _leaked(tested, groups, trained, repeated, listed) for part, tested in held_out.items()}


def _leaked(
    tested: list[tuple[str, Prompt]],
    groups: Mapping[str, str],
    trained: set[str],
    repeated: set[Prompt],
    listed: int | None,
) -> dict:
    questions = dict.fromkeys(identity for identity, _ in tested)
    ids = [identity for identity in questions if groups[identity] in trained]
    verbatim = [identity for identity, prompt in tested if prompt in repeated]
    return {
        "questions": len(questions),
        "leaked_questions": len(ids),
        "leaked_share": len(ids) / max(1, len(questions)),
        "prompts": len(tested),
        "verbatim_prompts": len(verbatim),
        "verbatim_share": len(verbatim) / max(1, len(tested)),
        "leaked": bool(ids or verbatim),
        "ids": ids[:listed],
        "verbatim_ids": verbatim[:listed],
    }


def gate(found: dict, allowed: bool = False, part: str = "test") -> None:
    """Stop a run whose held-out questions were trained on, unless the recipe is known to leak and says so.

    Raises:
        UserError: names how many leak and the first three.
    """
    if allowed or not found["leaked"]:
        return
    first = ", ".join((found["ids"] or found["verbatim_ids"])[:3])
    raise UserError(
        f"{part}: {found['leaked_questions']} of {found['questions']} questions and "
        f"{found['verbatim_prompts']} of {found['prompts']} prompts stand in training too (first: {first}); "
        "split by question or by the official files, or allow the leak to reproduce a recipe that has it"
    )


def _prompt(record: dict) -> Prompt:
    return record["instruction"], record["input"]
