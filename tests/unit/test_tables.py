"""The same questions in every format, whole and mangled; what a declaration says of files and rows."""

import csv
import gzip
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcqlora.data import ledger, readers, tables
from mcqlora.data.layouts import Layout
from mcqlora.errors import UserError
from tests.helpers.mangling import edits_of, mangled
from tests.helpers.questions import read_source

NAMES = ["id", "Question", "A", "B", "C", "D", "Answer"]
ROWS = [
    ["007", " What is None? ", "None", "NA", "1.10", "nan", "B"],
    ["008", 'Two\nlines, "quoted"', "a\x07", "b ", "=1", "1e5", "D"],
    ["009", "Wie heißt 雪?", "Ü", "é", "\u2028x", "雪", "A"],
]


def csv_of(rows=ROWS, delimiter=",", names=NAMES):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([names, *rows])
    return out.getvalue().encode()


def objects(rows=ROWS):
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


def jsonl_of(rows=ROWS):
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in objects(rows))


def parquet_of(rows=ROWS):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects(rows)), out)
    return out.getvalue()


def arrow_of(rows=ROWS, new=pyarrow.ipc.new_stream):
    out, made = io.BytesIO(), pyarrow.Table.from_pylist(objects(rows))
    with new(out, made.schema) as writer:
        writer.write_table(made, max_chunksize=2)
    return out.getvalue()


def excel_of(rows=ROWS):
    openpyxl = pytest.importorskip("openpyxl")
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in [NAMES, *rows]:
        book.active.append(row)
        for cell in book.active[book.active.max_row]:
            cell.data_type = "s"  # "=1" is a text here
    book.save(out)
    return out.getvalue()


FORMATS = {
    "x.csv": csv_of,
    "x.tsv": lambda rows=ROWS: csv_of(rows, "\t"),
    "semicolons.csv": lambda rows=ROWS: csv_of(rows, ";"),
    "bars.csv": lambda rows=ROWS: csv_of(rows, "|"),
    "x.jsonl": jsonl_of,
    "x.ndjson": jsonl_of,
    "lines.json": jsonl_of,
    "x.json": lambda rows=ROWS: json.dumps(objects(rows), indent=1).encode(),
    "flat.json": lambda rows=ROWS: json.dumps(objects(rows)).encode(),
    "within.json": lambda rows=ROWS: json.dumps({"version": 1, "data": objects(rows)}, indent=1).encode(),
    "x.parquet": parquet_of,
    "x.arrow": arrow_of,
    "file.arrow": lambda rows=ROWS: arrow_of(rows, pyarrow.ipc.new_file),
}
ONE = {"all": "test"}


def layout(**keys):
    return Layout(**{"splits": ONE, **keys})


def read(folder, name, raw, declared=None, **options):
    (folder / name).write_bytes(raw)
    source = readers.Source(folder, "b", declared or layout(), name, "en")
    return read_source(source, **options)


def texts(questions):
    return [[question.question, *question.options, question.answer] for question in questions]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", [*FORMATS, "x.xlsx"])
def test_text_is_the_same_in_every_format(tmp_path, name, packed):
    raw = excel_of([ROWS[0], ROWS[2]]) if name == "x.xlsx" else FORMATS[name]()
    raw, name = (gzip.compress(raw), f"{name}.gz") if packed else (raw, name)
    questions, entries = read(tmp_path, name, raw)
    wanted = [ROWS[0], ROWS[2]] if "xlsx" in name else ROWS
    assert texts(questions) == [row[1:] for row in wanted]
    assert [one.id for one in questions] == [f"b/b/test/{row}" for row in range(len(wanted))]
    assert [one.file for one in entries] == [name] * len(wanted)


def test_numbers_of_json_keep_their_digits(tmp_path):
    raw = b'{"question": "Q", "A": 1.10, "B": 007e0, "C": 12345678901234567890123, "D": true, "answer": "A"}'
    (one,), _ = read(tmp_path, "x.json", raw.replace(b"007e0", b"7e0"))
    assert one.options == ["1.10", "7e0", "12345678901234567890123", "true"]


CODED = [
    ("letter", "C"), ("index", "2"), ("index", 2), ("index", 2.0), ("number", 3), ("text", "z"),
    ("label", "C"),
]  # fmt: skip


@pytest.mark.parametrize(("coding", "answer"), CODED)
def test_codings_of_the_answer(tmp_path, coding, answer):
    raw = json.dumps({"question": "Q", "choices": ["x", "y", "z"], "answer": answer}).encode()
    (one,), _ = read(tmp_path, "x.jsonl", raw, layout(options=["choices"], answer=coding))
    assert (one.options, one.answer) == (["x", "y", "z"], "C")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"answer": ["A", "B"]}, "several_answers"),
        ({"answer": "AB"}, "several_answers"),
        ({"answer": "A, C"}, "several_answers"),
        ({"answer": "E"}, "answer"),
        ({"answer": None}, "answer"),
        ({"choices": ["x"]}, "options"),
        ({"choices": list("abcdefghijklmnopqrstuvwxyz!")}, "options"),
        ({"choices": "none"}, "options"),
        ({"choices": ["x", {"y": 1}]}, "text"),
        ({"choices": ["x", "\ud800"]}, "text"),
        ({"choices": ["x", "", "z"]}, "empty_option"),
        ({"question": " "}, "empty_question"),
        ({"question": 3, "Question": 4}, ""),
        ({}, ""),
    ],
)
def test_a_row_is_kept_or_has_its_reason(tmp_path, given, reason):
    good = {"question": "Q", "choices": ["x", "y", "z"], "answer": "A"}
    raw = "".join(json.dumps(row) + "\n" for row in (good | given, good)).encode()
    declared = layout(options=["choices"], absent=[] if reason == "empty_option" else ["-"])
    _, entries = read(tmp_path, "x.jsonl", raw, declared, on_bad_row="drop")
    assert [one.reason for one in entries] == [reason, ""]
    if reason:
        with pytest.raises(UserError, match=r"x\.jsonl: row 0 \(line 1\): .*; .*") as error:
            read(tmp_path, "x.jsonl", raw, declared)
        assert "\n" not in str(error.value)


def test_an_option_that_is_absent_before_one_that_is_not(tmp_path):
    rows = [
        ["", "Q", "a", "b", "", "", "B"],
        ["", "Q", "a", "", "c", "", "A"],
        ["", "Q", "a", "b", "", "", "C"],
    ]
    _, entries = read(tmp_path, "x.csv", csv_of(rows), layout(absent=[""]), on_bad_row="drop")
    assert [one.reason for one in entries] == ["", "empty_option", "answer"]


def test_where_and_splits_by_column(tmp_path):
    names = ["question", "A", "B", "answer", "part", "kind"]
    rows = [
        ["1?", "a", "b", "A", "Train", "ok"],
        ["2?", "a", "b", "B", "test", "bad"],
        ["3?", "a", "b", "?", "hidden", "ok"],
    ]
    declared = Layout(
        splits={"train": "dev", "test": "test", "hidden": "unlabelled"},
        fields={"split": "PART"},
        where={"kind": ["ok", "fine"]},
    )
    questions, entries = read(tmp_path, "x.csv", csv_of(rows, names=names), declared)
    assert [one.id for one in questions] == ["b/b/dev/0"]
    assert [(one.id, one.reason) for one in entries[1:]] == [
        ("b/b/test/0", "where"),
        ("b/b/unlabelled/0", "unlabelled"),
    ]
    made = ledger.settle(
        [ledger.Row(entries[0], questions[0]), *map(ledger.Row, entries[1:])], tmp_path / "q.jsonl"
    )
    assert (made["read"], made["kept"], made["dropped"]) == (3, 1, {"unlabelled": 1, "where": 1})


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of git-lfs; get"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("x.csv", b"<!DOCTYPE html><html></html>", "an HTML page; get the file itself"),
        ("x.jsonl", b"<html>log in</html>", "an HTML page; get the file itself"),
        ("x.csv", parquet_of(), "is Parquet; call it .parquet"),
        ("x.jsonl", gzip.compress(jsonl_of()), "packed with gzip; call it .gz"),
        ("x.parquet", b"", "the file is empty"),
        ("x.parquet", b"PAR1 and no more", "damaged"),
        ("x.xlsx", b"PK\3\4 and no more", "damaged"),
        ("x.csv.gz", b"no gzip", "damaged"),
        ("x.csv.gz", gzip.compress(csv_of())[:60], "damaged"),
        ("x.json", b"[" + jsonl_of().split(b"\n")[0], "row 1: not valid JSON"),
        ("x.json", b'[{"a": 1} {"a": 2}]', "row 1: not valid JSON .*'{' where"),
        ("x.json", b"[]]", "something stands after its end"),
        ("x.json", b"[1, 2]", "row 0: no JSON object with keys, and none of its 2 rows is good"),
        ("x.jsonl", b"[" * 100_000, "not valid JSON"),
        ("x.jsonl", b'{"question": "Q"}\n', "no options; there are question; name their columns"),
        ("x.jsonl", b'{"Q": "Q", "A": 1, "B": 2}\n', "no column answer; .*; name the column that holds it"),
        ("x.csv", b"question,A,B\nQ,a,b\n", "no column answer; there are question, A, B"),
        ("x.csv", b"question,A,A,B,answer\nQ,a,b,c,A\n", "2 columns are called A"),
        ("x.csv", b"question,A,B,answer\nQ,a,b,1\n", r"the answer is '1', not A or B; if they count, set"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["drop", "fail"])
def test_a_file_of_another_kind_is_one_line_even_where_bad_rows_are_dropped(tmp_path, name, raw, said, rule):
    with pytest.raises(UserError, match=said) as error:
        read(tmp_path, name, raw, on_bad_row=rule)
    assert str(error.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(error.value)


# Each advice, followed, leads to a run: what is refused, and the keys that the line names.
ADVICE = [
    (csv_of([[*row[:6], "ABCD".index(row[6]) + 1] for row in ROWS]), {}, "answer: number",
     {"answer": "number"}),
    (csv_of([[*row[:6], "ABCD".index(row[6])] for row in ROWS]), {}, r"index \(from 0\)",
     {"answer": "index"}),
    (csv_of(), {"answer": "index"}, "set answer: letter", {"answer": "letter"}),
    (csv_of(), {"columns": NAMES, "splits": ONE, "fields": {"question": "Question", "answer": "Answer"}},
     r"if that is a header, set columns: \[\]", {"columns": []}),
    (csv_of(names=["id", "prompt", *NAMES[2:]]), {}, "say which holds it, in fields",
     {"fields": {"question": "prompt"}}),
    (csv_of(names=["id", "Question", *"wxyz", "Answer"]), {}, r"name them: options: \[",
     {"options": list("wxyz")}),
    (csv_of([row[1:] for row in ROWS[1:]], names=ROWS[0][1:]),
     {"columns": ["question", "A", "B", "C", "answer"]},
     r"6 cells instead of 5, .*; if .*, as columns: \[question, A, B, C, D, answer\]",
     {"columns": ["question", "A", "B", "C", "D", "answer"]}),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "keys", "said", "more"), ADVICE)
def test_advice_that_is_followed_leads_to_a_run(tmp_path, raw, keys, said, more):
    with pytest.raises(UserError, match=said):
        read(tmp_path, "x.csv", raw, layout(**keys), on_bad_row="drop" if "columns" not in keys else "fail")
    assert texts(read(tmp_path, "x.csv", raw, layout(**keys | more))[0]) == [row[1:] for row in ROWS]


def test_every_file_has_a_delimiter_of_its_own(tmp_path):
    for split, delimiter in (("dev", ","), ("test", ";"), ("val", "\t")):
        (tmp_path / "b" / split).mkdir(parents=True)
        (tmp_path / "b" / split / "x.csv").write_bytes(csv_of(delimiter=delimiter))
    declared = Layout(files=["{split}/{subject}.csv"])
    questions, _ = read_source(readers.Source(tmp_path, "b", declared, "b", "en"))
    assert texts(questions) == 3 * [row[1:] for row in ROWS]


def test_files_beside_are_named_and_an_ending_in_capitals_is_read(tmp_path):
    for name in (
        "test/a_test.CSV",
        "test/b_test.csv.gz",
        "dev/a_dev.csv",
        "valid/a_valid.csv",
        "test/c/x_test.csv",
    ):
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(gzip.compress(csv_of()) if name.endswith("gz") else csv_of())
    source = readers.Source(tmp_path, "b", Layout(files=["{split}/{subject}_{split}.csv"]), "b", "en")
    with readers.opened(source) as found:
        assert [part.name for part in found.files] == [
            "dev/a_dev.csv",
            "test/a_test.CSV",
            "test/b_test.csv.gz",
        ]
        assert found.beside == ["test/c/x_test.csv", "valid/a_valid.csv"]
        line = readers.passed_over(found)
    assert "2 files beside it do not fit" in line and "test/c/x_test.csv, valid/a_valid.csv; ledger" in line
    (tmp_path / "b/test/a_test.csv").write_bytes(csv_of())
    with (
        pytest.raises(
            UserError, match=r"a_test\.CSV and test/a_test\.csv are both subject a, split test; remove"
        ),
        readers.opened(source),
    ):
        pass


README = """---
license: mit
configs:
- config_name: moss
  data_files:
  - {split: train, path: ./moss/train-*}
  - {split: test, path: [moss/test-0.csv, moss/test-1.csv]}
- config_name: fern
  data_files: {test: fern/test.csv}
---
Words.
"""


def test_a_dataset_as_it_was_downloaded(tmp_path):
    for name in ("moss/train-0.csv", "moss/test-0.csv", "moss/test-1.csv", "fern/test.csv"):
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(csv_of())
    (tmp_path / "b/README.md").write_text(README)

    def ids(**keys):
        declared = Layout(splits={"train": "dev", "test": "test"}, **keys)
        return [one.id for one in read_source(readers.Source(tmp_path, "b", declared, "b", "en"))[0]]

    assert [one for one in ids() if "/moss/" in one][:4] == [f"b/moss/dev/{n}" for n in range(3)] + [
        "b/moss/test/0"
    ]
    assert len(ids()) == 12 and "b/fern/test/2" in ids() and "b/moss/test/5" in ids()
    assert ids(subset="fern") == [f"b/b/test/{n}" for n in range(3)]
    with pytest.raises(UserError, match="has 2 configs; set subset to one of moss, fern"):
        ids(fields={"subject": "id"})
    (tmp_path / "b/README.md").write_text("---\nconfigs: [{config_name: 1}]\n---\n")
    with pytest.raises(UserError, match=r"the configs of README\.md cannot be read"):
        ids()


def test_letters_that_options_bring_are_removed_if_they_stand_in_order(tmp_path):
    rows = [
        ["", "Q1?", "A. Caen", "B. Lille", "C. Nice", "D. Both A and B", "C"],
        ["", "Q2?", "(a) x", "(b) y", "(c) z", "(d) w", "A"],
        ["", "Q3?", "A. x", "C. y", "B. z", "D. w", "A"],
        ["", "Q4?", "(A)", "(B)", "(C)", "(D)", "A"],
    ]
    questions, _ = read(tmp_path, "x.csv", csv_of(rows))
    assert [one.options for one in questions] == [
        ["Caen", "Lille", "Nice", "Both A and B"], list("xyzw"), rows[2][2:6], rows[3][2:6],
    ]  # fmt: skip
    questions, _ = read(tmp_path, "x.csv", csv_of(rows), strip_letters=False)
    assert [one.options for one in questions] == [row[2:6] for row in rows]


def test_a_right_option_that_stands_first_is_moved_by_the_texts_alone(tmp_path):
    raw = b"".join(
        json.dumps({"question": f"Q{n}", "choices": ["right", "x", "y", "z"]}).encode() + b"\n"
        for n in range(400)
    )
    questions, _ = read(tmp_path, "x.jsonl", raw, layout(options=["choices"], answer="first"))
    assert all(one.options["ABCD".index(one.answer)] == "right" for one in questions)
    share = [sum(one.answer == letter for one in questions) / 400 for letter in "ABCD"]
    assert all(0.17 < one < 0.33 for one in share)
    again, _ = read(
        tmp_path, "x.jsonl", raw[raw.index(b"\n") + 1 :], layout(options=["choices"], answer="first")
    )
    assert texts(again) == texts(questions)[1:]


def test_arrays_and_lines_longer_than_a_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_PIECE", 7)
    for indent in (None, 2):
        raw = json.dumps(objects(), indent=indent, ensure_ascii=False).encode()
        assert texts(read(tmp_path, "x.json", raw)[0]) == [row[1:] for row in ROWS]


edits = edits_of(6000, [b'"', b",", b"\n", b"\r", b"{", b"}", b"]", b"null", b"\xff", b"\0", b"\\ud800"])
quiet = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", [*FORMATS, "x.xlsx"])
@quiet
@given(edits=edits, rule=st.sampled_from(["drop", "fail"]))
def test_a_mangled_file_is_one_line_or_a_full_account(tmp_path, name, packed, edits, rule):
    raw = excel_of([ROWS[0], ROWS[2]]) if name == "x.xlsx" else FORMATS[name](3 * ROWS)
    raw = mangled(gzip.compress(raw) if packed else raw, edits)
    try:
        questions, entries = read(tmp_path, f"{name}.gz" if packed else name, raw, on_bad_row=rule)
    except UserError as error:
        assert "\n" not in str(error)
        str(error).encode()
        return
    assert [one.row for one in entries] == list(range(len(entries)))
    assert len({one.id for one in entries}) == len(entries)
    assert [one.id for one in entries if not one.reason] == [one.id for one in questions]
    assert rule == "drop" or len(questions) == len(entries)
    json.dumps([texts(questions), entries], ensure_ascii=False).encode()
    if "json" in name and not packed and name != "within.json":  # rows counted apart
        text = raw.decode("utf-8-sig")
        rows = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [one for one in text.split("\n") if one.strip()]
        )
        assert len(entries) == len(rows)
