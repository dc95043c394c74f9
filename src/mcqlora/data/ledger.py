"""The ledger: every row that was read is kept or dropped with a reason, and the counts add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from mcqlora.data.questions import LETTERS, Question
from mcqlora.errors import UserError
from mcqlora.files import Json


class LedgerEntry(NamedTuple):
    """What became of one row: `reason` is "" for a kept row; `detail` says more to a reader."""

    id: str
    file: str
    row: int
    reason: str = ""
    detail: str = ""


def screen(
    questions: Sequence[Question],
    entries: Sequence[LedgerEntry],
    *,
    drop_identical_options: bool = False,
    drop_contradictory: bool = False,
) -> tuple[list[Question], list[LedgerEntry], Json]:
    """Find questions that have no single right answer and drop them, if the rules say so.

    Texts are compared with their white space collapsed and nothing else folded: "-1" and "1" differ here.

    - Identical options: with `drop_identical_options`, a question is dropped if its *right* option stands
      twice, since two letters are then right. If only wrong options coincide, the question is sound: it stays
      and is noted.
    - Contradictory duplicates: questions with the same text, passage and options, whose right options differ
      in text. With `drop_contradictory` all of them are dropped, since nothing tells which is wrong.

    Returns:
        The questions kept, the entries with the new drops, and the notes on what was found, dropped or not:
        `identical_options` and `right_option_twice` {questions, ids}, `duplicates` {groups, questions},
        `contradictory` {groups, questions, ids: one list per group}.
    """
    identical: list[str] = []
    right_twice: list[str] = []
    duplicates: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for question in questions:
        texts = [_collapsed(option) for option in question.options]
        right = texts[LETTERS.index(question.answer)]
        if len(set(texts)) < len(texts):
            identical.append(question.id)
        if texts.count(right) > 1:
            right_twice.append(question.id)
        asked = (_collapsed(question.passage), _collapsed(question.question))
        duplicates[*asked, *sorted(texts)].append((question.id, right))
    repeated = [members for members in duplicates.values() if len(members) > 1]
    contradictory = [members for members in repeated if len({right for _, right in members}) > 1]
    disputed = [[identity for identity, _ in members] for members in contradictory]

    dropped: dict[str, tuple[str, str]] = {}
    if drop_contradictory:
        for ids in disputed:
            for own in ids:
                others = ", ".join(identity for identity in ids if identity != own)
                dropped[own] = ("contradictory", f"same question as {others}")
    if drop_identical_options:
        dropped |= dict.fromkeys(right_twice, ("identical_options", "the right option stands twice"))

    notes = {
        "identical_options": {"questions": len(identical), "ids": identical},
        "right_option_twice": {"questions": len(right_twice), "ids": right_twice},
        "duplicates": {"groups": len(repeated), "questions": sum(map(len, repeated))},
        "contradictory": {"groups": len(disputed), "questions": sum(map(len, disputed)), "ids": disputed},
    }
    kept = [question for question in questions if question.id not in dropped]
    settled = [LedgerEntry(*entry[:3], *dropped.get(entry.id, entry[3:])) for entry in entries]
    return kept, settled, notes


def ledger(questions: Sequence[Question], entries: Sequence[LedgerEntry], notes: Json) -> Json:
    """ledger.json: what became of every row.

    Its keys: `read` and `kept` count rows, `dropped` those by reason; `files` has the same numbers of each
    file; `rows` are the dropped ones, as `LedgerEntry`; `notes` are those of `screen`.

    Raises:
        UserError: an id occurs twice (two benchmarks share a name).
        ValueError: the entries and the questions do not add up, which only a defect can cause.
    """
    for twice, count in Counter(entry.id for entry in entries).items():
        if count > 1:
            raise UserError(f"benchmarks: {twice} is read twice; give every benchmark a name of its own")
    kept = [entry.id for entry in entries if not entry.reason]
    if kept != [question.id for question in questions]:
        raise ValueError(f"ledger: {len(kept)} rows kept by the ledger, {len(questions)} questions in hand")

    files: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        files[entry.file]["dropped" if entry.reason else "kept"] += 1
    dropped = [entry for entry in entries if entry.reason]
    return {
        "read": len(entries),
        "kept": len(kept),
        "dropped": dict(sorted(Counter(entry.reason for entry in dropped).items())),
        "files": [
            {"file": file, "read": count.total(), "kept": count["kept"], "dropped": count["dropped"]}
            for file, count in files.items()
        ],
        "rows": [entry._asdict() for entry in dropped],
        "notes": notes,
    }


def _collapsed(text: str) -> str:
    return " ".join(text.split())
