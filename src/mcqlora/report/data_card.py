"""The data card: what a run's questions are, counted from what the data stages wrote."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import getitem

from mcqlora import hashing
from mcqlora.data import alpaca, duplicates, option_orders, option_references
from mcqlora.data.leakage import WORDS
from mcqlora.data.questions import LETTERS, SPLITS, Question
from mcqlora.files import Json
from mcqlora.report.markdown import Row, plain, table

PARTS = ("train", "valid", "test")
LENGTHS = (64, 128, 256, 512, 1024, 2048)  # characters, upper ends of all bins but the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The part of the configuration that the card shows."""

    run: str
    recipe: str
    split: str
    seed: int
    copies: int


@dataclass(frozen=True, slots=True)
class Described:
    """Counts of the kept questions."""

    files: dict[str, Counter[str]]  # by category and by dev, val, test
    instructions: int  # distinct ones
    references: dict[str, Counter[str]]  # by benchmark and kind of option, see `option_references.KINDS`
    unknown: dict[str, list[str]]  # by benchmark, the kinds that its language has no expressions for
    orders: dict[str, Counter[int]]  # by benchmark and number of permitted orders
    lengths: dict[str, Counter[int | None]]  # by benchmark and end of `LENGTHS`; None is the open one
    options: dict[str, Counter[int]]  # by benchmark and number of options
    passages: dict[str, Counter[str]]  # by benchmark, how many questions each passage has


def letters(records: Iterable[alpaca.Record]) -> dict[str, int]:
    """How often the right option of these copy records stands under each letter that any of them has."""
    counts: Counter[str] = Counter()
    most = 0
    for record in records:
        counts[alpaca.shown_letter(record)] += 1
        most = max(most, len(record["order"]))
    return {letter: counts[letter] for letter in LETTERS[:most]}


def describe(questions: Iterable[Question], patterns: option_references.Table) -> Described:
    files: dict[str, Counter[str]] = defaultdict(Counter)
    references: dict[str, Counter[str]] = defaultdict(Counter)
    unknown: dict[str, list[str]] = {}
    orders: dict[str, Counter[int]] = defaultdict(Counter)
    lengths: dict[str, Counter[int | None]] = defaultdict(Counter)
    options: dict[str, Counter[int]] = defaultdict(Counter)
    passages: dict[str, Counter[str]] = defaultdict(Counter)
    instructions: set[str] = set()
    for question in questions:
        name = question.benchmark
        instructions.add(alpaca.instruction(question.subject, question.letters))
        files[question.category][question.split] += 1
        references[name].update(filter(None, set(option_references.kinds(question, patterns))))
        if name not in unknown:
            unknown[name] = option_references.not_looked_for(question.language, patterns)
        orders[name][option_orders.permitted(question, option_references.pins(question, patterns))] += 1
        options[name][len(question.options)] += 1
        if question.passage:
            passages[name][hashing.digest(question.passage)] += 1
        length = len(question.passage) + len(question.question) + sum(map(len, question.options))
        lengths[name][next((end for end in LENGTHS if length <= end), None)] += 1
    return Described(files, len(instructions), references, unknown, orders, lengths, options, passages)


def markdown(
    run: Run,
    ledger: Json,
    described: Described,
    leakage: Json,
    copies: Sequence[Mapping[str, int]],
    licences: Mapping[str, str | None],
    mix: Json | None = None,
    mix_licences: Sequence[str | None] = (),
) -> str:
    """data_card.md.

    Args:
        copies: the counts of `letters` for each copy of all questions, in order.
        licences: {benchmark: licence}, None where none was given.
        mix: mix_ledger.json, if anything is mixed in.
        mix_licences: the licence of each of its files.
    """
    leaked = leakage["test"]["leaked"] or leakage["valid"]["leaked"]
    stamp = ["> **LEAKED** - held-out questions stand in training.", ""] if leaked else []
    categories = leakage["split"]["categories"]
    n, distinct = len(described.files), described.instructions
    shared = f"{n:,} categories (benchmark and subject) share {distinct:,} distinct instructions."
    sections = {
        "Questions": [*_benchmarks(ledger, described, categories, licences), "", shared, *_kinds(described)],
        "Dropped": _dropped(ledger, leakage),
        "Duplicates": _duplicates(ledger, leakage),
        "Held out": _short(leakage["split"]["fell_short"]),
        "Leakage": _leakage(leakage),
        "Options that speak of others": _references(described),
        "Letters of the right option": _letters(copies),
        "Length": _lengths(described),
        "Categories": _categories(described.files, categories),
    }
    if mix:
        sections["Mixed in"] = _mixed(mix, mix_licences)
    made = f"Recipe {run.recipe}, split {run.split}, seed {run.seed}, {run.copies} copies a question."
    lines = [f"# Data of {run.run}", "", *stamp, made]
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _benchmarks(
    ledger: Json, described: Described, categories: Json, licences: Mapping[str, str | None]
) -> list[str]:
    """One row per benchmark, and their sum."""
    counts: list[list[int]] = []
    rows: list[Row] = []
    for name, licence in licences.items():
        mine = [key for key in described.files if key.split("/")[0] == name]
        parts = [sum(categories[key][part] for key in mine) for part in PARTS]
        kept = sum(described.files[key].total() for key in mine)
        lost = sum(row["id"].split("/")[0] == name for row in ledger["rows"])
        counts.append([kept + lost, kept, len(mine), *parts])
        rows.append([name, *counts[-1], licence or "not given"])
    rows.append(["all", *map(sum, zip(*counts, strict=True)), ""])
    return table(["benchmark", "read", "kept", "categories", *PARTS, "licence"], rows)


def _kinds(described: Described) -> list[str]:
    """What only some benchmarks have: other numbers of options than four, and passages."""
    lines = []
    for name, counts in described.options.items():
        if set(counts) != {4}:
            kinds = ", ".join(f"{number:,} with {k}" for k, number in sorted(counts.items()))
            chance = 100 * sum(number / k for k, number in counts.items()) / counts.total()
            lines.append(f"{name}: questions by their options {kinds}; guessing scores {chance:.3g} %.")
    for name, passages in described.passages.items():
        shared = f"{passages.total():,} questions are about one of {len(passages):,} passages"
        lines.append(f"{name}: {shared}, whose questions stay in one part.")
    return [part for line in lines for part in ("", line)]


def _dropped(ledger: Json, leakage: Json) -> list[str]:
    rows: list[Row] = [[reason, count, "read"] for reason, count in ledger["dropped"].items()]
    reasons = Counter(row["reason"] for row in leakage["dropped"])
    rows += [[reason, count, "split"] for reason, count in sorted(reasons.items())]
    where = "Each by its id in `ledger.json` (read) and `leakage.json` (split)."
    return [*table(["reason", "questions", "stage"], rows), "", where] if rows else ["Nothing."]


def _mixed(mix: Json, licences: Sequence[str | None]) -> list[str]:
    """What else is trained on, and what was not, since it holds what is held out."""
    rows: list[Row] = []
    for part, licence in zip(mix["sources"], licences, strict=True):
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in part["dropped"].items())
        shares = [f"{100 * part[key]:.2f} %" for key in ("asked", "share")]
        counts = [part["read"], dropped or "nothing", part["drawn"]]
        rows.append([plain(part["file"]), *counts, *shares, licence or "not given"])
    heads = [
        "file",
        "read",
        "dropped",
        "mixed in",
        "share asked for",
        "share of training records",
        "licence",
    ]
    sought = mix["looked_for"]
    passages = f"the {sought['passages']:,} passages that they are about, " if "passages" in sought else ""
    said = (
        f"In every row were looked for {sought['questions']:,} validation and test questions, {passages}and "
        f"{sought['reading_passages']:,} passages and {sought['reading_questions']:,} questions of the "
        "reading test. Rows that hold one were dropped, by their numbers in `mix_ledger.json`."
    )
    return [*table(heads, rows), "", said]


def _duplicates(ledger: Json, leakage: Json) -> list[str]:
    notes, found = ledger["notes"], leakage["duplicates"]
    kinds = {
        "same text and options, white space aside": notes["duplicates"],
        "of these, disagreeing about the right option": notes["contradictory"],
    }
    similar = f"similar by at least {found['threshold']} (Jaccard, runs of 5 characters)"
    for name, counts in found["definitions"].items():
        kinds[similar if name == "near_duplicate" else duplicates.DEFINITIONS[name]] = counts
    number = {3: "three", 4: "four", 5: "five", 6: "six"}[len(found["definitions"])]
    kinds[f"any of the last {number}, and so in one part"] = found["together"]
    rows = [[name, counts["groups"], counts["questions"]] for name, counts in kinds.items()]
    identical, twice = notes["identical_options"]["questions"], notes["right_option_twice"]["questions"]
    stems = found["general_stems"]
    lines = [
        "From the third row on case, width, white space and punctuation don't count. "
        f"The largest group has {found['together']['largest']:,} questions.",
        f"A general stem is {stems['rule']}: {stems['texts']:,} texts of {stems['questions']:,} questions.",
        f"{identical:,} questions have two equal options, {twice:,} of them the right one twice.",
    ]
    return [*table(["questions are", "groups", "questions"], rows), "", *lines]


def _short(found: Json) -> list[str]:
    """The categories from which fewer questions are held out than asked."""
    asked = found["asked"]
    wanted = " and ".join(f"{part} {number:,}" for part, number in asked.items())
    if not found["categories"]:
        return [f"Every category has the questions asked of it: {wanted}."]
    keys = [*asked, "questions", "largest_group", "shared"]
    rows = [[plain(name), *(part[key] for key in keys)] for name, part in found["categories"].items()]
    head = ["category", *asked, "to draw from", "in its largest group", "in groups with another category"]
    return [
        f"Fewer than asked, {wanted}; a duplicate group is held out whole or not at all:",
        "",
        *table(head, rows),
    ]


def _leakage(leakage: Json) -> list[str]:
    parts = PARTS[1:]

    def row(name: str, whole: str, *keys: str) -> list[str]:
        counts = (reduce(getitem, keys, leakage[part]) for part in parts)
        totals = (leakage[part][whole] for part in parts)
        return [name, *(f"{n:,} of {total:,}" for n, total in zip(counts, totals, strict=True))]

    rows = [row(WORDS[name], "questions", "found_by", name) for name in leakage["test"]["found_by"]]
    rows.append(row("any of these", "questions", "leaked_questions"))
    rows.append(row("prompt to the letter", "prompts", "verbatim_prompts"))
    return [*table(["stand in training by", *parts], rows), "", "Equal but for what is folded, see above."]


def _references(described: Described) -> list[str]:
    sizes = sorted({size for counts in described.orders.values() for size in counts}, reverse=True)
    rows: list[Row] = []
    for name, found in described.references.items():
        unknown = described.unknown[name]
        kinds = ("not looked for" if kind in unknown else found[kind] for kind in option_references.KINDS)
        rows.append([name, *kinds, *(described.orders[name][size] for size in sizes)])
    orders = (f"{size:,} {'orders' if size > 1 else 'order'}" for size in sizes)
    note = "Questions with such an option, and questions by the number of orders that keep every option true."
    return [*table(["benchmark", "by letter", "by place", "to all others", *orders], rows), "", note]


def _letters(copies: Sequence[Mapping[str, int]]) -> list[str]:
    def row(name: str, counts: Mapping[str, int]) -> list[str]:
        total = max(1, sum(counts.values()))
        return [name, *(f"{n:,} ({100 * n / total:.2f} %)" for n in counts.values())]

    letters = list(copies[0])
    together = {letter: sum(counts[letter] for counts in copies) for letter in letters}
    rows = [row(str(number), counts) for number, counts in enumerate(copies, 1)]
    return table(["copy", *letters], [*rows, row("all", together)])


def _lengths(described: Described) -> list[str]:
    lengths = described.lengths
    bins: dict[str, int | None] = {f"0 to {LENGTHS[0]}": LENGTHS[0]}
    bins |= {f"{start + 1} to {end}": end for start, end in pairwise(LENGTHS)}
    bins |= {f"over {LENGTHS[-1]}": None}
    rows: list[Row] = [[name, *(counts[end] for counts in lengths.values())] for name, end in bins.items()]
    whole = "passage, question and options" if described.passages else "question and options"
    return [*table(["characters", *lengths], rows), "", f"Of {whole} together."]


def _categories(files: Mapping[str, Counter[str]], parts: Mapping[str, Mapping[str, int]]) -> list[str]:
    rows: list[Row] = [
        [plain(key), *(files[key][name] for name in SPLITS), *(parts[key][part] for part in PARTS)]
        for key in sorted(files)
    ]
    note = "Questions kept, by the file that they come from and by the part that they went to."
    return [*table(["category", *(f"{name} file" for name in SPLITS), *PARTS], rows), "", note]
