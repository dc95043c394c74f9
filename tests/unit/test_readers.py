import csv
import io
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcqlora.config import presets
from mcqlora.data import ledger, questions, readers
from mcqlora.data.layouts import Layout
from mcqlora.data.questions import Question, read_questions
from mcqlora.errors import UserError
from tests.helpers.mangling import edits_of, mangled
from tests.helpers.questions import read_layout

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
HEADER = ["", "Question", "A", "B", "C", "D", "Answer"]
ROW = ["What is a llama?", "A camelid", "A fish", "A fern", "A cloud", "A"]


def dump(rows, line_end="\n", last_newline=True):
    out = io.StringIO(newline="")
    # Python 3.11 leaves a lone carriage return unquoted if the line ends with another character.
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator=line_end, quoting=quoting).writerows(rows)
    text = out.getvalue()
    return text if last_newline else text.removesuffix(line_end)


def mmlu(root: Path, content: str | bytes, subject="llamas", split="test") -> Path:
    for name in questions.SPLITS:
        (root / "m" / name).mkdir(parents=True, exist_ok=True)
    file = root / "m" / split / f"{subject}_{split}.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def cmmlu(root: Path, content: str | bytes, subject="llamas", split="test") -> Path:
    for name in ("dev", "test"):
        (root / "c" / name).mkdir(parents=True, exist_ok=True)
    file = root / "c" / split / f"{subject}.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(root: Path, layout="mmlu", **options):
    """The questions, and an entry of every row."""
    return read_layout(root, layout, layout, layout[0], "en", **options)


def accounted(questions, entries):
    known = {question.id: question for question in questions}
    rows = [ledger.Row(entry, None if entry.reason else known[entry.id]) for entry in entries]
    with tempfile.TemporaryDirectory() as folder:
        if not questions:
            with pytest.raises(UserError, match="no question is left"):
                ledger.settle(rows, Path(folder, "questions.jsonl"))
            return None
        result = ledger.settle(rows, Path(folder, "questions.jsonl"))
        assert list(read_questions(Path(folder, "questions.jsonl"))) == questions
    assert result["read"] == result["kept"] + sum(result["dropped"].values())
    assert len(result["rows"]) == sum(result["dropped"].values())
    for name in ("read", "kept", "dropped"):
        assert sum(file[name] for file in result["files"]) == (
            result[name] if name != "dropped" else len(result["rows"])
        )
    return result


def test_mmlu_question_has_all_keys_in_order(tmp_path):
    mmlu(tmp_path, dump([ROW]))
    questions, entries = read(tmp_path)
    assert questions == [
        Question(
            id="mmlu/llamas/test/0",
            benchmark="mmlu",
            subject="llamas",
            split="test",
            row=0,
            language="en",
            question="What is a llama?",
            options=["A camelid", "A fish", "A fern", "A cloud"],
            answer="A",
        )
    ]
    assert list(asdict(questions[0]))[:4] == ["id", "benchmark", "subject", "split"]
    assert entries == [ledger.LedgerEntry("mmlu/llamas/test/0", "m/test/llamas_test.csv", 0)]
    assert questions[0].category == "mmlu/llamas"


def test_cmmlu_header_is_no_row_and_val_is_optional(tmp_path):
    cmmlu(tmp_path, dump([HEADER, ["0", *ROW], ["1", *ROW]]))
    questions, _ = read(tmp_path, "cmmlu")
    assert [q.id for q in questions] == ["cmmlu/llamas/test/0", "cmmlu/llamas/test/1"]
    (tmp_path / "c" / "val").mkdir()
    (tmp_path / "c" / "val" / "llamas.csv").write_text(dump([HEADER, ["0", *ROW]]))
    assert [q.split for q in read(tmp_path, "cmmlu")[0]] == ["val", "test", "test"]


def test_order_is_dev_val_test_then_file_name(tmp_path):
    for split in ("test", "val", "dev"):
        for subject in ("b", "a", "B"):
            mmlu(tmp_path, dump([ROW]), subject, split)
    (tmp_path / "m" / "dev" / "._a_dev.csv").write_text("litter")
    subjects = [(q.split, q.subject) for q in read(tmp_path)[0]]
    assert subjects == [(split, name) for split in ("dev", "val", "test") for name in ("B", "a", "b")]


def test_text_is_kept_verbatim(tmp_path):
    row = ['  a "b"\r\n\tc\x07 ', " x ", "None", "1,000", "e\u2028f", " C "]
    mmlu(tmp_path, b"\xef\xbb\xbf" + dump([row, ROW], "\r\n", last_newline=False).encode())
    questions, _ = read(tmp_path)
    assert questions[0].question == row[0]
    assert questions[0].options == row[1:5]
    assert questions[0].answer == "C"
    assert questions[1].row == 1


def test_blank_lines_are_not_rows(tmp_path):
    mmlu(tmp_path, dump([ROW]) + "\n\r\n" + dump([ROW]) + "\n")
    questions, entries = read(tmp_path)
    assert [q.row for q in questions] == [0, 1]
    assert accounted(questions, entries)["read"] == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (dump([ROW, ROW[:-1]]), r"row 1 \(line 2\): 5 cells instead of 6"),
        (dump([[*ROW, "extra"]]), r"row 0 \(line 1\): 7 cells instead of 6"),
        (dump([[*ROW[:5], "E"]]), r"row 0 .*the answer is 'E'"),
        (dump([[*ROW[:5], "a"]]), r"row 0 .*the answer is 'a'"),
        (dump([[*ROW[:5], "AB"]]), r"row 0 .*the answer is 'AB'"),
        (dump([[*ROW[:5], ""]]), r"row 0 .*the answer is ''"),
        (dump([[" \n", *ROW[1:]]]), r"row 0 .*the question is empty"),
        (dump([[*ROW[:3], "", *ROW[4:]]]), r"row 0 .*option C is empty"),
        (dump([["two\nlines", *ROW[1:]], ROW[:2]]), r"row 1 \(line 3\): 2 cells"),
        (dump([ROW]) + '"open,A,B,C,D,A\n', r"row 1 \(from line 2\): not valid CSV"),
        (dump([ROW]) + '"closed"badly,A,B,C,D,A\n', r"row 1 \(from line 2\): not valid CSV"),
        (dump([["x" * 200_000, *ROW[1:]]]), r"row 0 .*field larger than field limit"),
        (dump([ROW]).encode() + b"caf\xe9,a,b,c,d,A\n", "line 2: not UTF-8"),
        (dump([ROW]) + "nul\0,a,b,c,d,A\n", "line 2: a NUL byte"),
        (dump([ROW]).encode("utf-16-le"), "line 1: a NUL byte"),
        (b"", "the file is empty"),
    ],
)
def test_bad_file_is_one_clear_line(tmp_path, content, expected):
    file = mmlu(tmp_path, content)
    with pytest.raises(UserError, match=expected) as error:
        read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message and "; " in message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW[:-1], "cells"),
        ([*ROW[:5], "E"], "answer"),
        (["", *ROW[1:]], "empty_question"),
        ([ROW[0], " ", *ROW[2:]], "empty_option"),
    ],
)
def test_bad_row_can_be_dropped(tmp_path, row, reason):
    mmlu(tmp_path, dump([ROW, row, ROW]))
    questions, entries = read(tmp_path, on_bad_row="drop")
    assert [q.row for q in questions] == [0, 2]
    result = accounted(questions, entries)
    assert result["dropped"] == {reason: 1}
    assert result["rows"][0]["id"] == "mmlu/llamas/test/1"
    assert result["rows"][0]["detail"]


def test_a_file_cut_anywhere_is_a_user_error_or_whole_rows(tmp_path):
    rows = [ROW, ['He said "no",\nthen\nleft', *ROW[1:]], ROW]
    content = dump(rows)
    whole = [[*row[:1], *row[1:5], row[5]] for row in rows]
    for keep in range(1, len(content)):
        mmlu(tmp_path, content[:keep])
        try:
            questions, _ = read(tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        found = [[q.question, *q.options, q.answer] for q in questions]
        assert found == whole[: len(found)]


def test_formula_cells_are_text(tmp_path):
    row = ["=cmd|'/C calc'!A0", "+1+1", "-2", "@SUM(A1)", "=1", "A"]
    mmlu(tmp_path, dump([row]))
    (question,), _ = read(tmp_path)
    assert [question.question, *question.options] == row[:5]


def test_a_cell_of_50_mb_is_one_line(tmp_path):
    mmlu(tmp_path, b'"' + b"x" * 50_000_000 + b'",a,b,c,d,A\n')
    with pytest.raises(UserError, match=r"row 0 \(from line 1\): not valid CSV \(field larger than") as error:
        read(tmp_path)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("subject", ["a b 'c'", '"q"', "-rf", "{run}", "=cmd|x", "C:\\x", "x" * 240, "é"])
def test_subjects_are_what_the_files_are_called(tmp_path, subject):
    mmlu(tmp_path, dump([ROW]), subject)
    (question,), _ = read(tmp_path)
    assert question.subject == subject


@pytest.mark.parametrize("subject", ["a\nb", "a\x1b[2Jb", "caf\udce9"])
def test_subjects_that_are_no_line_of_text(tmp_path, subject):
    mmlu(tmp_path, dump([ROW]), subject)
    with pytest.raises(UserError, match="its name is no line of text; rename it") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
    str(error.value).encode()


def test_an_open_quote_fails_even_when_bad_rows_are_dropped(tmp_path):
    mmlu(tmp_path, dump([ROW]) + '"open')
    with pytest.raises(UserError, match="not valid CSV"):
        read(tmp_path, on_bad_row="drop")


def test_missing_places(tmp_path):
    with pytest.raises(UserError, match="m: no such file or directory"):
        read(tmp_path)
    mmlu(tmp_path, dump([ROW])).unlink()
    with pytest.raises(UserError, match=r"no file fits .* dev, val, test; it holds no file of rows"):
        read(tmp_path)
    (tmp_path / "m" / "test" / "llamas.csv").touch()
    with pytest.raises(UserError, match=r"no file fits .*; it holds test/llamas\.csv; mend path"):
        read(tmp_path)


def test_a_column_s_name_with_a_line_break_stays_on_the_line(tmp_path):
    cmmlu(tmp_path, '"Question\n, A","x\ry"\n')
    with pytest.raises(UserError, match=r"^[^\r\n]*there are Question , A, x y; name them[^\r\n]*$"):
        read(tmp_path, "cmmlu")


def test_header_is_checked(tmp_path):
    cmmlu(tmp_path, dump([["0", *ROW]]))
    with pytest.raises(UserError, match="no options: no columns A, B and so on; there are 0, What is"):
        read(tmp_path, "cmmlu")
    cmmlu(tmp_path, dump([["", "Q", "A", "B", "C", "D", "Answer"], ["0", *ROW]]))
    with pytest.raises(UserError, match=r"no column question; there are , Q, A, .*; say which holds it"):
        read(tmp_path, "cmmlu")
    cmmlu(tmp_path, "\n\n")
    with pytest.raises(UserError, match="no header"):
        read(tmp_path, "cmmlu")


def test_first_row_lost_only_without_a_header(tmp_path):
    mmlu(tmp_path, dump([ROW, ROW]))
    cmmlu(tmp_path, dump([HEADER, ["0", *ROW]]))
    questions, entries = read(tmp_path, first_row_lost=True)
    assert [q.id for q in questions] == ["mmlu/llamas/test/1"]
    assert accounted(questions, entries)["dropped"] == {"first_row_lost": 1}
    assert len(read(tmp_path, "cmmlu", first_row_lost=True)[0]) == 1


def test_pandas_na(tmp_path):
    mmlu(tmp_path, dump([["None", "None", "", "none", "nan", "D"]]))
    (question,), _ = read(tmp_path, pandas_na=True)
    assert question.options == ["nan", "nan", "none", "nan"]
    assert question.question == "None"


def test_pandas_na_is_what_pandas_does():
    pandas = pytest.importorskip("pandas")
    for cell in [*readers.PANDAS_NA - {""}, "none", "-1", "Na", "N/A "]:
        value = pandas.read_csv(io.StringIO(f'h,k\n"{cell}",1\n'))["h"][0]
        assert pandas.isna(value) == (cell in readers.PANDAS_NA), cell


def question(identity, text, options, answer):
    return Question(identity, "b", "s", "test", 0, "en", text, options, answer)


FOUND = [
    question("right twice", "Q", ["x", " x", "y", "z"], "A"),
    question("wrong twice", "Q2", ["x", "y", "y", "z"], "A"),
    question("one", "Q3 ?", ["1", "-1", "3", "4"], "A"),
    question("two", "Q3  ?", ["4", "3", "-1", "1"], "C"),
    question("same", "Q4", ["1", "2", "3", "4"], "A"),
    question("same again", "Q4", ["2", "1", "3", "4"], "B"),
]
ROWS = [ledger.Row(ledger.LedgerEntry(q.id, "f.csv", row), q) for row, q in enumerate(FOUND)]


def settled(tmp_path, rows, **rules):
    made = ledger.settle(rows, tmp_path / "questions.jsonl", ledger.Rules(**rules))
    return [q.id for q in read_questions(tmp_path / "questions.jsonl")], made


def test_settle_notes_without_dropping(tmp_path):
    kept, made = settled(tmp_path, ROWS)
    assert kept == [q.id for q in FOUND] and made["kept"] == 6 and not made["rows"]
    notes = made["notes"]
    assert notes["identical_options"]["ids"] == ["right twice", "wrong twice"]
    assert notes["right_option_twice"]["ids"] == ["right twice"]
    assert notes["contradictory"] == {"groups": 1, "questions": 2, "ids": [["one", "two"]]}
    assert notes["duplicates"] == {"groups": 2, "questions": 4}
    assert "own_letters" not in notes


def test_settle_drops_by_rule(tmp_path):
    bad = ledger.Row(ledger.LedgerEntry("bad", "g.csv", 0, "answer", "the answer is ''"))
    kept, made = settled(
        tmp_path, [*ROWS[:2], bad, *ROWS[2:]], drop_identical_options=True, drop_contradictory=True
    )
    assert kept == ["wrong twice", "same", "same again"]
    assert made["dropped"] == {"answer": 1, "contradictory": 2, "identical_options": 1}
    assert [(row["id"], row["row"], row["detail"]) for row in made["rows"]] == [
        ("right twice", 0, "the right option stands twice"),
        ("bad", 0, "the answer is ''"),
        ("one", 2, "same question as two"),
        ("two", 3, "same question as one"),
    ]
    assert made["files"] == [
        {"file": "f.csv", "read": 6, "kept": 3, "dropped": 3},
        {"file": "g.csv", "read": 1, "kept": 0, "dropped": 1},
    ]


def test_questions_on_two_passages_are_no_duplicates(tmp_path):
    twice = [ROWS[2], ROWS[3]]
    parted = [
        row._replace(question=replace(row.question, passage=text))
        for row, text in zip(twice, "ab", strict=True)
    ]
    for rows, groups in ((twice, 1), (parted, 0)):
        assert settled(tmp_path, rows)[1]["notes"]["duplicates"]["groups"] == groups


def test_nothing_left_is_said_and_no_file_is_made(tmp_path):
    with pytest.raises(UserError, match=r"^read: no question is left \(identical_options 1\); mend"):
        settled(tmp_path, ROWS[:1], drop_identical_options=True)
    assert not list(tmp_path.iterdir())


# Any text a CSV may hold: no surrogates and no NUL; a cell of a question must not be blank.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
filled = cells.filter(lambda text: text.strip())
rows = st.lists(
    st.tuples(filled, filled, filled, filled, filled, st.sampled_from("ABCD")), min_size=1, max_size=5
)
quiet = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quiet
@given(rows=rows, line_end=st.sampled_from(["\n", "\r\n"]), last=st.booleans(), bom=st.booleans())
def test_round_trip_through_both_layouts(tmp_path, rows, line_end, last, bom):
    start = "\ufeff" if bom or rows[0][0].startswith("\ufeff") else ""
    mmlu(tmp_path, start + dump(rows, line_end, last))
    cmmlu(tmp_path, start + dump([HEADER, *(["0", *row] for row in rows)], line_end, last))
    for layout in ("mmlu", "cmmlu"):
        questions, entries = read(tmp_path, layout)
        assert [(q.question, *q.options, q.answer) for q in questions] == rows
        accounted(questions, entries)


edits = edits_of(
    2000, [b'"', b",", b"\n", b"\r", b'""', b'"\n"', b",,,,,A\n", b"\xff", b"\0", b"\xef\xbb\xbf"]
)


@settings(quiet, max_examples=400)
@given(
    rows=rows, edits=edits, layout=st.sampled_from(["mmlu", "cmmlu"]), rule=st.sampled_from(["drop", "fail"])
)
def test_mangled_files_give_a_user_error_or_a_full_account(tmp_path, rows, edits, layout, rule):
    whole = [HEADER, *(["0", *row] for row in rows)] if layout == "cmmlu" else rows
    raw = mangled(dump(whole).encode(), edits)
    (mmlu if layout == "mmlu" else cmmlu)(tmp_path, raw)
    try:
        questions, entries = read(tmp_path, layout, on_bad_row=rule)
    except UserError as error:
        assert "\n" not in str(error)
        return
    # Counted apart: what stands between unquoted line ends, blank lines and the header aside.
    lines = [cells for cells in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")) if cells]
    lines = lines[1:] if layout == "cmmlu" else lines
    assert [entry.row for entry in entries] == list(range(len(lines)))
    result = accounted(questions, entries)
    assert result["read"] == len(lines)
    kept = {q.row: [q.question, *q.options] for q in questions}
    for row, cells in enumerate(lines):
        assert kept.get(row, cells[-6:-1]) == cells[-6:-1]  # kept as it stands, or in the ledger
        assert (row in kept) != (row in {entry["row"] for entry in result["rows"]})
    assert all(len(q.options) == 4 and q.answer in "ABCD" for q in questions)
    assert rule == "drop" or not result["rows"]


@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("cell", range(5))
@pytest.mark.parametrize("layout", ["mmlu", "cmmlu"])
def test_two_stray_quotes_do_not_make_one_row_of_several(tmp_path, layout, cell, rows):
    """Valid CSV, and still one or two questions would be gone without a word."""
    index = "0," if layout == "cmmlu" else ""
    cells = [[f"Q{n}", "a", "b", "c", "d", "A"] for n in range(rows)]
    cells[0][cell] = '"' + cells[0][cell]
    cells[-1][cell] += '"'
    lines = [index + ",".join(row) for row in cells]
    head = ",".join(HEADER) + "\n" if layout == "cmmlu" else ""
    good = index + ",".join(ROW)
    (mmlu if layout == "mmlu" else cmmlu)(tmp_path, head + "\n".join([*lines, good]) + "\n")
    with pytest.raises(UserError, match=r"row 0 \(line \d\): a cell holds a line that ends as a row does"):
        read(tmp_path, layout)
    questions, entries = read(tmp_path, layout, on_bad_row="drop")
    assert accounted(questions, entries)["dropped"] == {"swallowed": 1} and len(questions) == 1
    assert len(read(tmp_path, layout, check_quotes=False)[0]) == 2


def test_lines_of_a_quoted_table_are_a_question(tmp_path):
    """Unless its first line could end a row, and its last one start the next."""
    table = "Which day was dry?\nday,rain,sun,wind,A\n2021-01-01,10,20,30,40,A\nSay one."
    mmlu(tmp_path, dump([[table, *ROW[1:]], ROW]))
    assert read(tmp_path)[0][0].question == table


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip("needs the real benchmarks in ../shared/data, which are not part of the project")
    return REAL


def real_rows(root, **options):
    for name, language in (("mmlu", "en"), ("cmmlu", "zh")):
        source = readers.Source(root, name, Layout(**presets.LAYOUTS[name]), name, language)
        with readers.opened(source) as benchmark:
            assert not benchmark.beside
            yield from benchmark.rows(readers.Reading(**options))


def read_real(root, **options):
    rows = list(real_rows(root, **options))
    return [row.question for row in rows if row.question], [row.entry for row in rows]


@pytest.mark.integration
def test_real_benchmarks(real, tmp_path):
    questions, _ = read_real(real)
    assert len(questions) == 27_775
    assert len({q.category for q in questions}) == 124
    _, result = settled(tmp_path, real_rows(real), drop_identical_options=True, drop_contradictory=True)
    assert result["notes"]["own_letters"] == {
        "questions": 1, "ids": ["mmlu/high_school_macroeconomics/test/269"]
    }  # fmt: skip
    notes = result["notes"]
    assert result["dropped"] == {"contradictory": 10, "identical_options": 5}
    assert len(result["files"]) == 171 + 134
    assert notes["contradictory"]["groups"] == 5


def test_real_benchmarks_as_the_reference_read_them(real):
    questions, entries = read_real(real, first_row_lost=True, pandas_na=True)
    assert len(questions) == 27_604
    assert accounted(questions, entries)["dropped"] == {"first_row_lost": 171}
    assert sum(q.options.count("nan") for q in questions) == 12
