"""The data card: what a run's questions are, counted from what the data stages wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcqlora.data import alpaca, option_orders, option_references
from mcqlora.data.questions import LETTERS, SPLITS, category
from mcqlora.report.markdown import plain, table

PARTS = ("train", "valid", "test")
LENGTHS = (64, 128, 256, 512, 1024, 2048)  # characters, upper ends of all bins but the last

Json = dict[str, Any]
Counts = dict[str, dict[Any, int]]


def letters(records: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """How often the right option of these copy records stands under each letter."""
    counts = Counter(alpaca.shown_letter(record) for record in records)
    return {letter: counts[letter] for letter in LETTERS}


def describe(questions: Iterable[Mapping[str, Any]], patterns: option_references.Table) -> Json:
    """Counts of the kept questions, by benchmark where not said otherwise.

    Returns:
        {"files": {category: {"dev", "val", "test"}}, "instructions": number of distinct ones,
        "references": {benchmark: {kind: questions}}, "orders": {benchmark: {permitted orders: questions}},
        "lengths": {benchmark: {upper end in characters, or None: questions}}}.
    """
    files, references, orders, lengths = {}, {}, {}, {}
    instructions = set()
    for question in questions:
        name = question["benchmark"]
        instructions.add(alpaca.instruction(question["subject"]))
        files.setdefault(category(question), Counter())[question["split"]] += 1
        found = option_references.kinds(question, patterns)
        references.setdefault(name, Counter()).update(set(found) - {None})
        orders.setdefault(name, Counter())[
            len(option_orders.permitted(option_references.pins(question, patterns)))
        ] += 1
        length = len(question["question"]) + sum(map(len, question["options"]))
        lengths.setdefault(name, Counter())[next((end for end in LENGTHS if length <= end), None)] += 1
    return {
        "files": files,
        "instructions": len(instructions),
        "references": references,
        "orders": orders,
        "lengths": lengths,
    }


def markdown(
    run: Mapping[str, Any],
    ledger: Mapping[str, Any],
    described: Mapping[str, Any],
    leakage: Mapping[str, Any],
    copies: Sequence[Mapping[str, int]],
    licences: Mapping[str, str | None],
) -> str:
    """data_card.md.

    Args:
        run: {"run", "recipe", "split", "seed", "copies"} of the configuration.
        ledger: ledger.json.
        described: of `describe`.
        leakage: leakage.json.
        copies: of `letters`, for each copy of all questions in order.
        licences: {benchmark: licence}, None where none was given.
    """
    leaked = leakage["test"]["leaked"] or leakage["valid"]["leaked"]
    stamp = ["> **LEAKED** - held-out questions stand in training.", ""] if leaked else []
    split = leakage["split"]
    sections = {
        "Questions": [
            *_benchmarks(ledger, described, split, licences),
            "",
            f"{len(described['files']):,} categories (benchmark and subject) share "
            f"{described['instructions']:,} distinct instructions.",
        ],
        "Dropped": _dropped(ledger, leakage),
        "Duplicates": _duplicates(ledger, leakage),
        "Leakage": [_leak(part, leakage[part]) for part in ("valid", "test")],
        "Options that speak of others": _references(described),
        "Letters of the right option": _letters(copies),
        "Length": _lengths(described["lengths"]),
        "Categories": _categories(described["files"], split["categories"]),
    }
    lines = [
        f"# Data of {run['run']}",
        "",
        *stamp,
        f"Recipe {run['recipe']}, split {run['split']}, seed {run['seed']}, "
        f"{run['copies']} copies a question.",
    ]
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _benchmarks(
    ledger: Mapping[str, Any],
    described: Mapping[str, Any],
    split: Mapping[str, Any],
    licences: Mapping[str, str | None],
) -> list[str]:
    """One row a benchmark, and their sum."""
    rows = []
    for name, licence in licences.items():
        mine = [key for key in described["files"] if key.split("/")[0] == name]
        parts = [sum(split["categories"][key][part] for key in mine) for part in PARTS]
        kept = sum(described["files"][key].total() for key in mine)
        lost = sum(row["id"].split("/")[0] == name for row in ledger["rows"])
        rows.append([name, kept + lost, kept, len(mine), *parts, licence or "not given"])
    total = ["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:-1]), ""]
    header = ["benchmark", "read", "kept", "categories", *PARTS, "licence"]
    return table(header, ([_shown(cell) for cell in row] for row in (*rows, total)))


def _dropped(ledger: Mapping[str, Any], leakage: Mapping[str, Any]) -> list[str]:
    rows = [[reason, _shown(count), "read"] for reason, count in ledger["dropped"].items()]
    reasons = Counter(row["reason"] for row in leakage["dropped"])
    rows += [[reason, _shown(count), "split"] for reason, count in sorted(reasons.items())]
    if not rows:
        return ["Nothing."]
    return [
        *table(["reason", "questions", "stage"], rows),
        "",
        "Each by its id in `ledger.json` (read) and `leakage.json` (split).",
    ]


def _duplicates(ledger: Mapping[str, Any], leakage: Mapping[str, Any]) -> list[str]:
    notes, found = ledger["notes"], leakage["duplicates"]
    rows = [
        ["same text and options, white space aside", notes["duplicates"]],
        ["of these, disagreeing about the right option", notes["contradictory"]],
        ["same text and options, also case, width and punctuation aside", found["equal"]],
    ]
    if found["threshold"] is not None:
        name = f"so, or similar by at least {found['threshold']} (Jaccard, runs of 5 characters)"
        rows.append([name, found["near"]])
    lines = table(
        ["questions are", "groups", "questions"],
        ([name, _shown(count["groups"]), _shown(count["questions"])] for name, count in rows),
    )
    identical, twice = (notes[key]["questions"] for key in ("identical_options", "right_option_twice"))
    return [
        *lines,
        "",
        f"{_shown(identical)} questions have two equal options, {_shown(twice)} of them the right one twice.",
    ]


def _leak(part: str, found: Mapping[str, Any]) -> str:
    return (
        f"- {part}: {_shown(found['leaked_questions'])} of {_shown(found['questions'])} questions stand in "
        f"training in some order, {_shown(found['verbatim_prompts'])} of {_shown(found['prompts'])} prompts "
        "to the letter"
    )


def _references(described: Mapping[str, Any]) -> list[str]:
    sizes = sorted({size for counts in described["orders"].values() for size in counts}, reverse=True)
    rows = [
        [
            name,
            *(_shown(found[kind]) for kind in option_references.KINDS),
            *(_shown(orders[size]) for size in sizes),
        ]
        for name, found in described["references"].items()
        for orders in (described["orders"][name],)
    ]
    header = [
        "benchmark",
        *("by letter", "by place", "to all others"),
        *(f"{size} {'orders' if size > 1 else 'order'}" for size in sizes),
    ]
    return [
        *table(header, rows),
        "",
        "Questions with such an option, and questions by the number of orders that keep every option true.",
    ]


def _letters(copies: Sequence[Mapping[str, int]]) -> list[str]:
    def row(name: str, counts: Mapping[str, int]) -> list[str]:
        total = max(1, sum(counts.values()))
        return [name, *(f"{_shown(n)} ({100 * n / total:.2f} %)" for n in counts.values())]

    together = {letter: sum(counts[letter] for counts in copies) for letter in LETTERS}
    rows = [row(str(number), counts) for number, counts in enumerate(copies, 1)]
    return table(["copy", *LETTERS], [*rows, row("all", together)])


def _lengths(lengths: Mapping[str, Mapping[int | None, int]]) -> list[str]:
    starts = (0, *(end + 1 for end in LENGTHS))
    names = [f"{start} to {end}" for start, end in zip(starts, LENGTHS, strict=False)]
    rows = [
        [name, *(_shown(counts[end]) for counts in lengths.values())]
        for name, end in zip([*names, f"over {LENGTHS[-1]}"], (*LENGTHS, None), strict=True)
    ]
    return [*table(["characters", *lengths], rows), "", "Of question and options together."]


def _categories(files: Counts, parts: Counts) -> list[str]:
    rows = [
        [
            plain(key),
            *(_shown(files[key][name]) for name in SPLITS),
            *(_shown(parts[key][part]) for part in PARTS),
        ]
        for key in sorted(files)
    ]
    return [
        *table(["category", *(f"{name} file" for name in SPLITS), *PARTS], rows),
        "",
        "Questions kept, by the file that they come from and by the part that they went to.",
    ]


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else value
