"""The ledger: every row that was read is kept or dropped with a reason, and the counts add up."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from mcqlora import files
from mcqlora.data.questions import LETTERS, Question, write_questions
from mcqlora.errors import UserError
from mcqlora.files import Json, PathLike


class LedgerEntry(NamedTuple):
    """What became of one row: `reason` is "" for a kept row; `detail` says more to a reader."""

    id: str
    file: str
    row: int
    reason: str = ""
    detail: str = ""


class Row(NamedTuple):
    """A row that was read, its question if it is one; `lettered` if its options lost letters of their own."""

    entry: LedgerEntry
    question: Question | None = None
    lettered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which questions are dropped since they have no single right answer. Either way they are noted.

    Texts are compared with their white space collapsed and nothing else folded: "-1" and "1" differ here.

    - Identical options: a question is dropped if its *right* option stands twice, since two letters are then
      right. If only wrong options coincide, the question is sound: it stays and is noted.
    - Contradictory duplicates: questions with the same passage, text and options, whose right options differ
      in text. All of them are dropped, since nothing tells which is wrong.
    """

    drop_identical_options: bool = False
    drop_contradictory: bool = False


def settle(rows: Iterable[Row], path: PathLike, rules: Rules = Rules()) -> Json:
    """Write the questions that are kept to `path`, in reading order, and say what became of every row.

    Questions wait on the disk until all are read. What stays in memory is about 100 bytes of each, and the
    rows that are dropped.

    Returns:
        ledger.json: `read` and `kept` count rows, `dropped` those by reason; `files` has the same numbers of
        each file; `rows` are the dropped ones, as `LedgerEntry`; `notes` what was found, dropped or not:
        `identical_options` and `right_option_twice` {questions, ids}, `duplicates` {groups, questions},
        `contradictory` {groups, questions, ids: one list per group}, and `own_letters` {questions, ids} if
        any options lost letters of their own.

    Raises:
        UserError: no question is kept.
    """
    path, account = Path(path), _Account()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".read-") as folder:
        waiting = Path(folder, "questions.jsonl")
        write_questions(waiting, account.kept(rows))
        repeated = account.duplicates()
        disputed = [group for group in repeated if len({account.rights[i] for i in group}) > 1]
        dropped = dict.fromkeys((i for group in disputed for i in group), "contradictory")
        dropped = dropped if rules.drop_contradictory else {}
        if rules.drop_identical_options:
            dropped |= dict.fromkeys(account.right_twice, "identical_options")
        named = {*dropped, *account.identical, *account.lettered, *(i for group in disputed for i in group)}
        ids: dict[int, str] = {}
        with open(waiting, "rb") as source, files.atomic(path) as target:
            for index, line in enumerate(source):
                if index in named:
                    ids[index] = orjson.loads(line)["id"]
                if index not in dropped:
                    target.write(line)
            return account.settled(dropped, repeated, disputed, ids)


@dataclass(slots=True)
class _Account:
    """What is remembered of every row; questions are called by their place among those that were read."""

    files: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    dropped: list[tuple[int, LedgerEntry]] = field(default_factory=list)  # with its place among all rows
    identical: list[int] = field(default_factory=list)
    right_twice: list[int] = field(default_factory=list)
    lettered: list[int] = field(default_factory=list)
    keys: array[int] = field(default_factory=lambda: array("q"))  # two a question, of its texts
    rights: array[int] = field(default_factory=lambda: array("q"))  # the right option's text
    order: array[int] = field(default_factory=lambda: array("Q"))  # its place among all rows
    rows: array[int] = field(default_factory=lambda: array("Q"))
    places: array[int] = field(default_factory=lambda: array("L"))  # of its file in `files`

    def kept(self, rows: Iterable[Row]) -> Iterator[Question]:
        names: dict[str, int] = {}
        for number, row in enumerate(rows):
            entry, question = row.entry, row.question
            self.files[entry.file]["dropped" if question is None else "kept"] += 1
            place = names.setdefault(entry.file, len(names))
            if question is None:
                self.dropped.append((number, entry))
                continue
            self._note(question, row.lettered)
            self.order.append(number)
            self.rows.append(entry.row)
            self.places.append(place)
            yield question

    def _note(self, question: Question, lettered: bool) -> None:
        index = len(self.rights)
        texts = [_collapsed(option) for option in question.options]
        right = texts[LETTERS.index(question.answer)]
        if len(set(texts)) < len(texts):
            self.identical.append(index)
        if texts.count(right) > 1:
            self.right_twice.append(index)
        if lettered:
            self.lettered.append(index)
        key = (_collapsed(question.passage), _collapsed(question.question), *sorted(texts))
        self.keys.append(hash(key))
        self.keys.append(hash(key[::-1]))  # 128 bits together
        self.rights.append(hash(right))

    def duplicates(self) -> list[list[int]]:
        """The groups of questions that have the same passage, text and options, by their first question."""
        high, low = np.array(self.keys, np.int64).reshape(-1, 2).T
        order = np.lexsort((low, high))  # stable: members stay in reading order
        same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
        starts = np.flatnonzero(same & ~np.r_[False, same[:-1]])  # of runs of equal neighbours
        ends = np.flatnonzero(same & ~np.r_[same[1:], False])
        return sorted(order[a : b + 2].tolist() for a, b in zip(starts, ends, strict=True))

    def settled(
        self,
        dropped: dict[int, str],
        repeated: list[list[int]],
        disputed: list[list[int]],
        ids: dict[int, str],
    ) -> Json:
        names = list(self.files)
        others = {
            index: f"same question as {', '.join(ids[other] for other in group if other != index)}"
            for group in disputed
            for index in group
        }
        twice = "the right option stands twice"
        for index, reason in dropped.items():
            file, detail = (
                names[self.places[index]],
                others[index] if reason == "contradictory" else twice,
            )
            self.files[file].update(kept=-1, dropped=1)
            entry = LedgerEntry(ids[index], file, self.rows[index], reason, detail)
            self.dropped.append((self.order[index], entry))
        rows = [entry for _, entry in sorted(self.dropped)]
        reasons = dict(sorted(Counter(entry.reason for entry in rows).items()))
        count = len(self.rights) - len(dropped)
        if not count:
            said = ", ".join(f"{reason} {number}" for reason, number in reasons.items()) or "no row was there"
            raise UserError(f"read: no question is left ({said}); mend benchmarks, or the rules in read")

        def listed(found: list[int]) -> Json:
            return {"questions": len(found), "ids": [ids[index] for index in found]}

        notes = {
            "identical_options": listed(self.identical),
            "right_option_twice": listed(self.right_twice),
            "duplicates": {"groups": len(repeated), "questions": sum(map(len, repeated))},
            "contradictory": {
                "groups": len(disputed),
                "questions": sum(map(len, disputed)),
                "ids": [[ids[index] for index in group] for group in disputed],
            },
        }
        if self.lettered:
            notes["own_letters"] = listed(self.lettered)
        return {
            "read": count + len(rows),
            "kept": count,
            "dropped": reasons,
            "files": [
                {"file": file, "read": found.total(), "kept": found["kept"], "dropped": found["dropped"]}
                for file, found in self.files.items()
            ],
            "rows": [entry._asdict() for entry in rows],
            "notes": notes,
        }


def _collapsed(text: str) -> str:
    return " ".join(text.split())
