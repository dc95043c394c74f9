"""The ledger: every row that was read is kept or dropped with a reason, and the counts add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mcqlora.data.questions import LETTERS
from mcqlora.errors import UserError


class LedgerEntry(NamedTuple):
    """What became of one row: `reason` is "" for a kept row; `detail` says more for people."""

    id: str
    file: str
    row: int
    reason: str = ""
    detail: str = ""


def screen(
    questions: Sequence[dict],
    entries: Sequence[LedgerEntry],
    *,
    drop_identical_options: bool = False,
    drop_contradictory: bool = False,
) -> tuple[list[dict], list[LedgerEntry], dict]:
    """Find questions that have no single right answer and, by rule, drop them.

    Texts are compared with their white space collapsed and nothing else folded: "-1" and "1" differ here.

    - Identical options: with `drop_identical_options` a question goes if its *right* option stands twice,
      since two letters are then right. If only wrong options coincide the question is sound, stays, and is
      noted.
    - Contradictory duplicates: questions with the same text and the same options whose right options differ
      in text. With `drop_contradictory` every one of them goes, since nothing tells which is wrong.

    Returns:
        The questions kept, the entries with the new drops, and notes: counts and ids of what was found.
    """
    identical, right_twice = [], []
    duplicates = defaultdict(list)
    for question in questions:
        texts = [_collapsed(option) for option in question["options"]]
        right = texts[LETTERS.index(question["answer"])]
        if len(set(texts)) < len(texts):
            identical.append(question["id"])
        if texts.count(right) > 1:
            right_twice.append(question["id"])
        duplicates[_collapsed(question["question"]), tuple(sorted(texts))].append((question["id"], right))
    repeated = [members for members in duplicates.values() if len(members) > 1]
    contradictory = [members for members in repeated if len({right for _, right in members}) > 1]

    dropped: dict[str, tuple[str, str]] = {}
    if drop_contradictory:
        for members in contradictory:
            ids = [identity for identity, _ in members]
            dropped |= {
                identity: ("contradictory", "same question as " + _others(ids, identity)) for identity in ids
            }
    if drop_identical_options:
        dropped |= {
            identity: ("identical_options", "the right option stands twice") for identity in right_twice
        }

    notes = {
        "identical_options": {"questions": len(identical), "ids": identical},
        "right_option_twice": {"questions": len(right_twice), "ids": right_twice},
        "duplicates": {"groups": len(repeated), "questions": sum(map(len, repeated))},
        "contradictory": {
            "groups": len(contradictory),
            "questions": sum(map(len, contradictory)),
            "ids": [[identity for identity, _ in members] for members in contradictory],
        },
    }
    kept = [question for question in questions if question["id"] not in dropped]
    settled = [
        entry._replace(reason=dropped[entry.id][0], detail=dropped[entry.id][1])
        if entry.id in dropped
        else entry
        for entry in entries
    ]
    return kept, settled, notes


def ledger(questions: Sequence[dict], entries: Iterable[LedgerEntry], notes: dict | None = None) -> dict:
    """Sum up what became of every row.

    Returns:
        {"read", "kept", "dropped": {reason: count}, "files": [{"file", "read", "kept", "dropped"}],
        "rows": [{"id", "file", "row", "reason", "detail"}] of the dropped, "notes"}.

    Raises:
        UserError: an id occurs twice (two benchmarks share a name).
        ValueError: the entries and the questions do not add up, which only a defect can cause.
    """
    entries = list(entries)
    counts = Counter(entry.id for entry in entries)
    if len(counts) < len(entries):
        twice = next(identity for identity, count in counts.items() if count > 1)
        raise UserError(f"benchmarks: {twice} is read twice; give every benchmark a name of its own")
    kept_ids = [entry.id for entry in entries if not entry.reason]
    if kept_ids != [question["id"] for question in questions]:
        raise ValueError(
            f"ledger: {len(kept_ids)} rows kept by the ledger, {len(questions)} questions in hand"
        )

    files: dict[str, Counter] = defaultdict(Counter)
    for entry in entries:
        files[entry.file]["dropped" if entry.reason else "kept"] += 1
    dropped = [entry for entry in entries if entry.reason]
    return {
        "read": len(entries),
        "kept": len(kept_ids),
        "dropped": dict(sorted(Counter(entry.reason for entry in dropped).items())),
        "files": [
            {"file": file, "read": count.total(), "kept": count["kept"], "dropped": count["dropped"]}
            for file, count in files.items()
        ],
        "rows": [entry._asdict() for entry in dropped],
        "notes": notes or {},
    }


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _others(ids: list[str], own: str) -> str:
    return ", ".join(identity for identity in ids if identity != own)
