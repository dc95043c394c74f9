"""Read multiple-choice benchmarks and account for every row: kept, or dropped with a reason.

Which files a benchmark has and how a row is laid out is a declaration, `layouts.Layout`. A benchmark is a
folder, a file, or an archive of a folder, see `storage.archives`. `tables` reads files, and `rows` makes
questions of rows.

Text is kept as it stands. Only white space around the answer is removed, and by rule the letters that
options bring themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcqlora.data import layouts, rows, tables
from mcqlora.data.layouts import UNLABELLED, Layout, Part
from mcqlora.data.ledger import LedgerEntry, Row
from mcqlora.data.questions import Question
from mcqlora.data.rows import BadRow, Decoder, Texts
from mcqlora.errors import UserError
from mcqlora.storage import archives

# What pandas' read_csv (2.0 and later) turns into NaN by default, spelled out so that the imitation of the
# reference recipe does not move with pandas' releases.
PANDAS_NA = (
    frozenset({"", "#N/A", "#N/A N/A", "#NA", "N/A", "NA", "n/a", "<NA>", "NULL", "null", "None"})
    | {"NaN", "-NaN", "nan", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
_SEVERAL_LINES = re.compile(r"[\n\r]").search


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark's place."""

    root: str | Path  # the directory that `path` is relative to
    name: str  # the first part of every id
    layout: Layout
    path: str  # a folder, a file, or an archive (.zip, .tar, .tar.gz, .tgz)
    language: str  # "en", "zh" or any other tag; copied to each question
    sha256: str | None = None  # the hex hash that the file or archive must have, if one is given

    @property
    def place(self) -> Path:
        return Path(self.root) / self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows are read.

    `on_bad_row`: "fail" stops at the first bad row, "drop" puts it into the ledger. A file whose rows cannot
    be told apart (not UTF-8, NUL bytes, an open quote), or of which no row is good, always fails.
    """

    on_bad_row: str = "fail"
    check_quotes: bool = True  # a quoted cell of CSV that looks like several rows is a bad row
    strip_letters: bool = True  # "A. Caen", "B. Lille" and so on become "Caen", "Lille"
    first_row_lost: bool = False  # of every file without a header, as if it were taken for one
    pandas_na: bool = False  # options equal to one of pandas' default NA strings become the text "nan"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One whose files were found: those to be read, and the names of others of rows that no pattern fits."""

    source: Source
    files: Mapping[Part, Path]
    beside: list[str]

    def rows(self, reading: Reading = Reading()) -> Iterator[Row]:
        """Yield every row: dev, then val, then test, files by name, rows as they stand; blank lines are none.

        The number in a row's id counts the rows of its subject and split from 0, whichever files they stand
        in. So a set has the same ids in one file as in a file per subject, if the rows keep their order.

        Raises:
            UserError: something is missing or malformed; names the file, the row (from 0) and the line.
        """
        numbers = Counter[tuple[str, str]]()
        for part, file in self.files.items():
            named = self.source.place
            named = named if named.is_file() and file == named else named / part.name
            shown = named.relative_to(self.source.root).as_posix()
            yield from _File(self.source, reading, part, named, numbers, shown).read(file)


@contextmanager
def opened(source: Source) -> Iterator[Benchmark]:
    """Find a benchmark's files; what an archive holds is there as long as this is open.

    Raises:
        UserError: it is not there, has another hash, or holds no file that its layout names.
    """
    place = source.place
    archives.verify(place, source.sha256)
    with archives.folder(place, lambda name: bool(layouts.ending(name)) or name == layouts.README) as found:
        if place.is_file() and layouts.ending(place.name):
            yield Benchmark(source, {single(source.path, source.layout): place}, [])
            return
        parts, beside = matched(place, found, source.layout)
        yield Benchmark(source, {part: found[part.name] for part in parts}, beside)


def passed_over(benchmark: Benchmark) -> str:
    """The line about the files of rows that are not read."""
    names, wanted = benchmark.beside, " or ".join(benchmark.source.layout.files) or "the README's configs"
    said = f"{len(names)} files beside it do not fit {wanted} and are not read: {_listed(names)}"
    return f"benchmarks: {benchmark.source.name}: {said}; ledger.json names them (not_read)"


def single(path: str, layout: Layout) -> Part:
    """A benchmark that is a file: by its name, if a pattern fits that."""
    parts, _ = layouts.match([path], layout)
    return (parts[0] if parts else Part("", "", ""))._replace(name=Path(path).name)


def matched(place: Path, files: Mapping[str, Path], layout: Layout) -> tuple[list[Part], list[str]]:
    """`layouts.match` of the files of a folder or an archive, by their names in it.

    Raises:
        UserError: none fits, or they cannot be told apart.
    """
    readme = files.get(layouts.README)
    text = readme.read_text(encoding="utf-8", errors="replace") if readme and not layout.files else ""
    try:
        parts, beside = layouts.match(files, layout, text)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None
    if not parts:
        wanted = " or ".join(layout.files) or f"the configs of a {layouts.README}"
        has = f"it holds {_listed(beside)}" if beside else "it holds no file of rows"
        said = f"no file fits {wanted} with split {_listed(layout.splits, 9)}"
        raise UserError(f"{place}: {said}; {has}; mend path, or set files and splits")
    for part in parts:
        if not part.subject.isprintable():  # nor are bytes that are no UTF-8
            raise UserError(f"{place}/{part.name!a}: its name is no line of text; rename it")
    return parts, beside


def _listed(names: Collection[str], most: int = 3) -> str:
    shown = [name if name.isprintable() else ascii(name) for name in list(names)[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(slots=True)
class _File:
    """A file's rows; `numbers` counts those of each subject and split, over all files."""

    source: Source
    reading: Reading
    part: Part
    named: Path  # as messages call it
    numbers: Counter[tuple[str, str]]
    shown: str  # in the ledger

    def read(self, file: Path) -> Iterator[Row]:
        """Raises: UserError: a row is bad and `on_bad_row` is "fail", or none is good."""
        layout, self.part = self.source.layout, self.part._replace(split=self._split())
        labelled = self.part.split != UNLABELLED

        def fit(names: list[str]) -> bool:
            return not rows.fits(names, layout, labelled)

        first: tuple[str, BadRow] | None = None
        bad = number = -1
        with tables.opened(file, self.named, layout, fit, rows.read(layout)) as table:
            if table.names is not None and (wrong := rows.fits(table.names, layout, labelled)):
                raise UserError(f"{self.named}: {wrong}")
            decoder = Decoder(layout, table.names, plain=bool(table.delimiter))
            for number, row in enumerate(table.rows):
                made, fault = self._row(decoder, number, row, table.delimiter)
                if fault:
                    place = f"row {number}" + (f" (line {row.line})" if row.line else "")
                    first, bad = first or (place, fault), bad + 1
                if self.reading.on_bad_row == "drop" or not first:
                    yield made
                elif number > bad:  # once one is good, not the whole file is of another kind
                    more = f"; {first[1].remedy}" if first[1].remedy else ""
                    remedy = f"mend the row or set read.on_bad_row: drop{more}"
                    raise UserError(f"{self.named}: {first[0]}: {first[1]}; {remedy}")
        if first and number == bad:
            said = f"{first[1]}" + (f", and none of its {bad + 1} rows is good" if bad else "")
            remedy = first[1].remedy or "mend the file or remove it"
            raise UserError(f"{self.named}: {first[0]}: {said}; {remedy}")

    def _split(self) -> str:
        """The split of all rows; "" where a column says it."""
        layout = self.source.layout
        if self.part.split or layout.column("split"):
            return self.part.split
        if len(only := set(layout.splits.values())) == 1:
            return only.pop()
        remedy = "set splits to the one that it is, as {all: test}, or name its column: fields: {split: ...}"
        raise UserError(f"{self.named}: nothing says which split its rows are; {remedy}")

    def _row(
        self, decoder: Decoder, number: int, row: tables.Row, delimiter: str
    ) -> tuple[Row, BadRow | None]:
        """What becomes of a row, and what is wrong with it, if anything is."""
        source, layout, values = self.source, self.source.layout, row.values
        subject, split = self.part.subject or source.name, self.part.split
        fault = BadRow(*row.fault) if row.fault else None
        try:
            if not fault:
                subject, split = self._place(decoder, values)
        except BadRow as bad:
            fault = bad
        within = self.numbers[subject, split]
        self.numbers[subject, split] += 1
        entry = LedgerEntry(f"{source.name}/{subject}/{split}/{within}", self.shown, number)
        if self.reading.first_row_lost and layout.columns and number == 0:
            return Row(entry._replace(reason="first_row_lost", detail="taken for a header")), None
        try:
            if fault:
                raise fault
            if not decoder.wanted(values):
                return Row(entry._replace(reason="where", detail="by the benchmark's own condition")), None
            if split == UNLABELLED:
                return Row(entry._replace(reason=UNLABELLED, detail="its split has no answers")), None
            texts = self._texts(decoder, values, delimiter)
        except BadRow as bad:
            return Row(entry._replace(reason=bad.reason, detail=str(bad))), bad
        made = Question(
            entry.id,
            source.name,
            subject,
            split,
            within,
            source.language,
            texts.question,
            texts.options,
            texts.answer,
            texts.passage,
        )
        if self.reading.strip_letters and (left := rows.stripped(texts.options)):
            return Row(entry, replace(made, options=left), lettered=True), None
        return Row(entry, made), None

    def _place(self, decoder: Decoder, values: Mapping[str, Any]) -> tuple[str, str]:
        """Subject and split. Raises: BadRow: the row names none."""
        layout, subject, split = self.source.layout, self.part.subject, self.part.split
        if "subject" in layout.fields:
            subject = decoder.field(values, "subject").strip()
            if not subject or not subject.isprintable():
                raise BadRow("subject", f"the subject is {subject[:20]!r}")
        if "split" in layout.fields:
            said = decoder.field(values, "split")
            if not (split := layout.part(said) or ""):
                known = _listed(layout.splits, 9)
                raise BadRow("split", f"the split is {said[:20]!r}, not one of {known}", "add it to splits")
        return subject or self.source.name, split

    def _texts(self, decoder: Decoder, values: Mapping[str, Any], delimiter: str) -> Texts:
        broken = delimiter and self.reading.check_quotes and any(map(_SEVERAL_LINES, values.values()))
        if broken and rows.swallowed(values, self.source.layout, delimiter):
            raise BadRow(
                "swallowed",
                "a cell holds a line that ends as a row does: a quote lacks its pair",
                "mend the quotes, or set read.check_quotes: false if they are right",
            )
        return decoder.texts(values, PANDAS_NA if self.reading.pandas_na else frozenset())
