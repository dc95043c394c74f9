"""A row of a file as a question: its columns by name, its options, its right answer."""

from __future__ import annotations

import ast
import contextlib
import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mcqlora import hashing
from mcqlora.data.layouts import Layout
from mcqlora.data.questions import LETTERS

FIELDS = ("question", "answer", "labels", "passage", "subject", "split")
_WHOLE = re.compile(r"(-?\d{1,9})(?:\.0+)?")
_SEVERAL = re.compile(r"[A-Z](?:[\s,;、/]*[A-Z])+")
_LETTERED = re.compile(r"\s*[(\[（]?([A-Za-z])[)\].:、．）：]\s*")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_OTHER = {
    "letter": "if they count, set answer: number (from 1) or index (from 0)",
    "index": "if they are letters, set answer: letter; if they count from 1, number",
    "number": "if they are letters, set answer: letter; if they count from 0, index",
    "label": "if they are letters A, B and so on, set answer: letter",
    "text": "if they are letters, set answer: letter; if they count, number (from 1) or index (from 0)",
}


class BadRow(ValueError):
    """A row is no question: the reason for the ledger, and a remedy if one is better than to mend it."""

    def __init__(self, reason: str, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.reason, self.remedy = reason, remedy


class Texts(NamedTuple):
    """What a question is made of: `answer` is the letter of the right option."""

    question: str
    options: list[str]
    answer: str
    passage: str


class Decoder:
    """Reads rows that are laid out so.

    `names` are their columns, None where each row has its own; `plain` says that all their values are texts.
    """

    def __init__(self, layout: Layout, names: Sequence[str] | None, plain: bool = False) -> None:
        known = dict.fromkeys(names or [])
        self.layout = layout
        self._options = [_key(known, one) or one for one in layout.options or lettered(names or [])]
        columns = {name: layout.column(name) for name in FIELDS}
        self._columns = {name: column and (_key(known, column) or column) for name, column in columns.items()}
        self._plain = plain and all(one in known for one in self._options)

    def field(self, values: Mapping[str, Any], name: str) -> str:
        """The text of a field, "" if the layout has no column for it.

        Raises:
            BadRow: the row has no such column, or holds no text there.
        """
        column = self._columns[name]
        return text(at(values, column), column) if column else ""

    def wanted(self, values: Mapping[str, Any]) -> bool:
        """Whether `where` keeps the row."""
        where = self.layout.where
        return not where or all(text(at(values, key), key).strip() in kept for key, kept in where.items())

    def texts(self, values: Mapping[str, Any], missing: frozenset[str] = frozenset()) -> Texts:
        """The question; options that are one of `missing` become "nan".

        Raises:
            BadRow: it has no text, no single right answer, or not 2 to 26 options.
        """
        labels, options = self._labelled(values)
        if missing:
            options = ["nan" if option in missing else option for option in options]
        count = self._present(options)
        answer = self._right(values, labels, options)
        if answer >= count:
            raise BadRow("answer", f"the answer is option {LETTERS[answer]}, which is absent")
        options = options[:count]
        question, passage = self.field(values, "question"), self.field(values, "passage")
        if not question.strip():
            raise BadRow("empty_question", "the question is empty")
        for letter, option in zip(LETTERS, options, strict=False):
            if not option.strip():
                raise BadRow("empty_option", f"option {letter} is empty")
        if self.layout.answer == "first":  # a place that says the answer is none to learn from
            order = sorted(range(count), key=lambda place: hashing.digest(question, options[place]))
            options, answer = [options[place] for place in order], order.index(answer)
        return Texts(question, options, LETTERS[answer], passage)

    def _labelled(self, values: Mapping[str, Any]) -> tuple[Sequence[str], list[str]]:
        """What each option is called, and its text."""
        columns = self._options or lettered(list(values))
        if len(columns) != 1:
            if not columns:
                raise BadRow("keys", f"no options; {_has(values)}", "name their columns: options: [...]")
            letters, columns = LETTERS[: len(columns)], columns[: len(LETTERS) + 1]
            if self._plain:
                return letters, [values[column] for column in columns]
            return letters, [text(at(values, column), column) for column in columns]
        (column,) = columns
        given = _listed(at(values, column))
        if isinstance(given, Mapping):
            filled = sorted((str(key).strip(), one) for key, one in given.items() if one is not None)
            return [key for key, _ in filled], [text(one, column) for _, one in filled]
        if not isinstance(given, list):
            raise BadRow("options", f"{column} is no list of options", "name its column: options: [...]")
        found = [text(one, column) for one in given[: len(LETTERS) + 1]]
        if not (named := self._columns["labels"]):
            return LETTERS[: len(found)], found
        labels = _listed(at(values, named))
        if not isinstance(labels, list) or len(labels) != len(found):
            raise BadRow("options", f"{named} has not as many labels as there are options, {len(found)}")
        return [text(label, named).strip() for label in labels], found

    def _present(self, options: list[str]) -> int:
        """How many options are there: none is missing before one that is."""
        absent, count = self.layout.absent, len(options)
        if absent:
            present = [place for place, option in enumerate(options) if option.strip() not in absent]
            if present and present[-1] >= len(present):
                missing = next(place for place in range(count) if place not in present)
                raise BadRow("empty_option", f"option {LETTERS[missing]} is empty, and one after it is not")
            count = len(present)
        if not 2 <= count <= len(LETTERS):
            raise BadRow("options", f"{count} options, not 2 to {len(LETTERS)}")
        return count

    def _right(self, values: Mapping[str, Any], labels: Sequence[str], options: list[str]) -> int:
        """The place of the right option."""
        coding = self.layout.answer
        if coding == "first":
            return 0
        column = self._columns["answer"] or ""
        given = at(values, column)
        if isinstance(given, list):
            if len(given) > 1:
                raise BadRow("several_answers", f"{len(given)} answers are right")
            given = given[0] if given else ""
        answer = text(given, column)
        places = coded(answer, coding, labels, options)
        if len(places) == 1:
            return places[0]
        if places:
            raise BadRow("several_answers", f"{len(places)} options are {answer[:20]!r}, the answer")
        if coding in ("letter", "label") and _SEVERAL.fullmatch(answer.strip()):
            raise BadRow("several_answers", f"the answer is {answer[:20]!r}, several letters")
        remedy = _OTHER[coding]
        if self.layout.columns and answer.strip().casefold() == column.casefold():
            remedy = "if that is a header, set columns: []"
        raise BadRow("answer", f"the answer is {answer[:20]!r}, not {_said(coding, labels)}", remedy)


def coded(answer: str, coding: str, labels: Sequence[str], texts: Sequence[str]) -> list[int]:
    """The places of the options that an answer may mean."""
    stripped = answer.strip()
    if coding in ("index", "number"):
        found = _WHOLE.fullmatch({"true": "1", "false": "0"}.get(stripped, stripped))
        place = int(found[1]) - (coding == "number") if found else -1
        return [place] if 0 <= place < len(texts) else []
    if coding == "text":
        same = [i for i, one in enumerate(texts) if one == answer]
        return same or [i for i, one in enumerate(texts) if one.strip() == stripped]
    known = LETTERS[: len(texts)] if coding == "letter" else labels
    return [place for place, label in enumerate(known) if label == stripped]


def _said(coding: str, labels: Sequence[str]) -> str:
    match coding:
        case "text":
            return "one of the options"
        case "index" | "number":
            names: Sequence[str] = [str(place + (coding == "number")) for place in range(len(labels))]
        case "letter":
            names = LETTERS[: len(labels)]
        case _:
            names = labels
    return f"{', '.join(names[:-1])} or {names[-1]}"


def stripped(options: Sequence[str]) -> list[str] | None:
    """Options without letters of their own, if these stand before each in order: (A), (B); else None."""
    if not _LETTERED.match(options[0]):
        return None
    found = [_LETTERED.match(option) for option in options]
    letters = "".join(one[1] for one in found if one)
    left = [option[one.end() :] for option, one in zip(options, found, strict=True) if one]
    if letters in (LETTERS[: len(options)], LETTERS[: len(options)].lower()) and all(map(str.strip, left)):
        return left
    return None


def lettered(names: Sequence[str]) -> list[str]:
    """The columns that are called A, B, C and so on, as far as they go; none if there are fewer than two."""
    known = {name.strip().casefold(): name for name in names}
    found: list[str] = []
    for letter in LETTERS.lower():
        if letter not in known:
            break
        found.append(known[letter])
    return found if len(found) > 1 else []


def at(values: Mapping[str, Any], path: str) -> Any:
    """What stands in a column, found by name, case ignored.

    The parts of a path such as choices.text lead into objects, and into each of a list of objects.
    "=yes" is the text "yes" itself.

    Raises:
        BadRow: there is no such column.
    """
    if path in values:
        return values[path]
    if path.startswith("="):
        return path[1:]
    head, _, rest = path.partition(".")
    found = _key(values, path) or (_key(values, head) if rest else None)
    if found is None:
        remedy = f"name the column that holds it in fields or options, or set where, instead of {path}"
        raise BadRow("keys", f"no column {path}; {_has(values)}", remedy)
    if found.strip().casefold() == path.casefold():
        return values[found]
    inner = _listed(values[found])
    if isinstance(inner, list) and all(isinstance(one, Mapping) for one in inner):
        return [at(one, rest) for one in inner]
    if isinstance(inner, Mapping):
        return at(inner, rest)
    raise BadRow("keys", f"{head} has no {rest}")


def _key(values: Mapping[str, Any], name: str) -> str | None:
    if name in values:
        return name
    folded = name.strip().casefold()
    found = [key for key in values if isinstance(key, str) and key.strip().casefold() == folded]
    if len(found) > 1:
        raise BadRow("keys", f"{' and '.join(found)} are both called {name}", "write its name with that case")
    return found[0] if found else None


def _has(values: Mapping[str, Any]) -> str:
    names = [str(name) for name in values]
    shown = ", ".join(name[:30] for name in names[:12])
    return f"there are {shown}{', ...' if len(names) > 12 else ''}" if names else "there are none"


def _listed(value: Any) -> Any:
    """A list or an object that was written as text, as in a cell of CSV."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                return parse(value.strip())
    return value


def text(value: Any, column: str) -> str:
    """A value as text: none is "", a number is as it is written.

    Raises:
        BadRow: it is a list, a date or the like, or holds what no UTF-8 file can.
    """
    if isinstance(value, str):
        if _UNWRITABLE.search(value):
            raise BadRow("text", f"{column} holds a NUL byte or half a character")
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    raise BadRow("text", f"{column} holds a {type(value).__name__}, not a text")


def swallowed(values: Mapping[str, Any], layout: Layout, delimiter: str) -> bool:
    """Whether a cell of several lines looks like the end of one row and the start of another.

    Two stray quotes make one valid row of several. Then the cell's first line ends the first of them, its
    last line starts the last, and one of these has that row's answer.
    """
    names = list(values)
    column = layout.column("answer") or ""
    place = next((i for i, name in enumerate(names) if name.strip().casefold() == column.casefold()), -1)
    return any(
        _joined(cell.splitlines(), number, len(names), place, layout, delimiter)
        for number, cell in enumerate(values.values())
        if "\n" in cell or "\r" in cell
    )


def _joined(lines: list[str], number: int, count: int, answer: int, layout: Layout, delimiter: str) -> bool:
    if len(lines) < 2 or number == answer:
        return False
    first, last = (_split(line, delimiter) for line in (lines[0], lines[-1]))
    if layout.answer not in ("letter", "index", "number") or answer < 0:
        return len(first) == count - number > 1 and len(last) == number + 1 > 1
    if len(first) < count - number or len(last) < number + 1:
        return False
    cell = first[answer - count] if number < answer else last[answer]
    letters = LETTERS[: len(layout.options) if len(layout.options) > 1 else 26]
    return bool(coded(cell.strip(' "'), layout.answer, letters, letters))


def _split(line: str, delimiter: str) -> list[str]:
    with contextlib.suppress(csv.Error, StopIteration):
        return next(csv.reader([line], delimiter=delimiter))
    return []


def needed(layout: Layout, labelled: bool) -> list[str]:
    """The columns that a file must have."""
    fields = [name for name in FIELDS if name != "answer" or (labelled and layout.answer != "first")]
    found = [column for name in fields if (column := layout.column(name))]
    return [*found, *layout.where, *(one for one in layout.options if not one.startswith("="))]


def read(layout: Layout) -> list[str]:
    """The columns that are looked at."""
    return [*needed(layout, labelled=True), *(layout.options or LETTERS)]


def fits(names: Sequence[str], layout: Layout, labelled: bool) -> str:
    """What is wrong with a file's columns; "" if they are all there, once each."""
    columns = {name: None for name in names}
    options = layout.options or lettered(names)
    if not options:
        return f"no options: no columns A, B and so on; {_has(columns)}; name them: options: [...]"
    for wanted in (*needed(layout, labelled), *options):
        for path in (wanted, wanted.partition(".")[0]):
            same = [name for name in names if name.strip().casefold() == path.casefold()]
            if same:
                break
        else:
            if not wanted.startswith("="):
                return f"no column {wanted}; {_has(columns)}; say which holds it, in fields, options or where"
        if len(same) > 1 and same.count(path) != 1:
            return f"{len(same)} columns are called {path}; rename all but one"
    return ""
