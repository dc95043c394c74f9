"""Held-out questions in another tool's training data: the planted ones are found, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora import demo
from mcqlora.data import alpaca, trained_on
from mcqlora.data.questions import Question
from mcqlora.errors import UserError
from tests.helpers.questions import read_layout

STEM = "Which of these statements about the reign of the second king of the island is true?"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """The embedded benchmark's, in both languages."""
    folder = tmp_path_factory.mktemp("demo")
    demo.write(folder, seed=7, repeats=1)
    both = (("island_en", "mmlu", "en"), ("island_zh", "cmmlu", "zh"))
    return [
        question
        for name, layout, language in both
        for question in read_layout(folder, name, layout, name, language)[0]
    ]


@pytest.fixture(scope="module")
def parts(questions):
    held = questions[::7]
    return {"valid": held[::2], "test": held[1::2]}


def rest(questions, parts):
    held = {question.id for part in parts.values() for question in part}
    return [question for question in questions if question.id not in held]


def plain(question):
    return alpaca.record(question)


def reordered(question):
    """In another order, named by the option's text alone."""
    record = alpaca.shuffled_record(question, "DCBA")
    return {key: record[key] for key in ("instruction", "input")} | {"output": record["output"][-1:] + "."}


def shouted(question):
    letter = question.answer
    lines = "\n".join(f"({a}) {b.upper()}" for a, b in zip(question.letters, question.options, strict=True))
    return {"instruction": f"{question.question.upper()}\n{lines}", "input": "", "output": letter}


def one_changed(question):
    """The right option itself is another."""
    options = ["none that stands here" if a == question.answer else b for a, b in pairs(question)]
    inline = " ".join(f"{a}. {b}" for a, b in zip(question.letters, options, strict=True))
    return {"instruction": f"Q: {question.question} {inline}", "output": question.answer}


def open_ended(question):
    right = dict(pairs(question))[question.answer]
    return {"instruction": question.question, "input": "", "output": right}


def pairs(question):
    return list(zip(question.letters, question.options, strict=True))


def messages(record):
    """LLaMA-Factory's OpenAI form of an Alpaca record."""
    user = "\n".join(filter(None, (record["instruction"], record.get("input"))))
    turns = [("system", "You are of help."), ("user", user), ("assistant", record["output"])]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def sharegpt(record):
    user = "\n".join(filter(None, (record["instruction"], record.get("input"))))
    return {"conversations": [{"from": "human", "value": user}, {"from": "gpt", "value": record["output"]}]}


FORMS = {"alpaca": dict, "messages": messages, "sharegpt": sharegpt}
PLANTS = (plain, reordered, shouted, one_changed, open_ended)


def write(path, rows):
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_what_was_planted_is_found_and_nothing_else(questions, parts, form, ending, tmp_path):
    others = [plain(question) for question in rest(questions, parts)]
    planted = {}
    for name, part in parts.items():
        for number, plant in enumerate(PLANTS):
            planted[part[5 + 3 * number].id] = name, plant(part[5 + 3 * number])
    rows = others[:400] + [record for _, record in planted.values()] + others[400:]
    path = write(tmp_path / f"train.{ending}", [FORMS[form](row) for row in rows])
    found = trained_on.leaks([path], parts, questions)
    assert set(found["ids"]) == planted.keys()
    assert found["files"][0]["rows"] == len(rows)
    for name, part in parts.items():
        rows_of = {one["id"]: one["row"] for one in found["files"][0][name]}
        order = list(planted)
        assert rows_of == {one: 400 + order.index(one) for one in order if planted[one][0] == name}
        counts = found[name]["found_by"]
        assert (found[name]["questions"], found[name]["found"]) == (len(part), len(PLANTS))
        assert counts == {"question_and_options": 4, "question_and_answer": 1, "question_text": 0}


def test_all_of_the_run_s_own_training_questions_are_no_leak(questions, parts, tmp_path):
    path = write(tmp_path / "train.json", [plain(question) for question in rest(questions, parts)])
    assert trained_on.leaks([path], parts, questions)["ids"] == []


def long(number, text, options=("red", "green", "blue", "grey"), answer="A"):
    return Question(f"b/s/test/{number}", "b", "s", "test", number, "en", text, list(options), answer)


def found_by(question, row, others=()):
    questions = [question, *others]
    _, found = trained_on.look([row], {"test": [question]}, trained_on.known(questions))
    return found["test"][0]["by"] if found["test"] else None


def test_a_long_text_suffices_unless_it_is_a_general_stem():
    stems = [long(i, STEM, (f"it was {i}", "b", "c", "d")) for i in range(1, 6)]
    alone = long(0, STEM, ("it was short", "b2", "c2", "d2"))
    assert found_by(alone, f"Somebody asked: {STEM} Nobody knew.") == "question_text"
    assert found_by(alone, f"Somebody asked: {STEM} Nobody knew.", stems) is None
    assert found_by(alone, {"q": STEM, "a": "it was short"}, stems) == "question_and_answer"


def test_a_short_text_needs_its_options():
    question = long(0, "Which is it?")
    assert found_by(question, {"q": "Which is it?", "choices": ["one", "two", "three", "four"]}) is None
    assert found_by(question, {"q": "Which is it?", "choices": ["grey", "blue", "green", "pink"]})
    assert found_by(question, {"q": "But which is it?", "choices": ["grey", "blue", "green", "red"]}) is None


def test_the_text_alone_of_numbers_is_found(tmp_path):
    question = long(0, "2 + 2 = ?", ("3", "4", "5", "6"), "B")
    assert found_by(question, {"question": "2 + 2 = ?", "choices": [3, 4, 5, 7]}) == "question_and_options"


@given(
    st.recursive(
        st.none() | st.text() | st.floats() | st.booleans(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_row_can_be_looked_through(row):
    assert found_by(long(0, STEM), row) is None


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("a.json", b"[{]", "not valid JSON"),
        ("a.jsonl", b'{"a": "b"}\n{"a"\n', "line 2 is not valid JSON"),
        ("a.parquet", b"PAR1xxxx", "cannot read this Parquet file"),
    ],
)
def test_a_file_in_no_such_form_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(UserError, match=said):
        list(trained_on.read(tmp_path / name))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.json: cannot read .*correct trained_on"):
        list(trained_on.read(tmp_path / "none.json"))


def test_of_an_object_its_lists_are_the_rows(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"version": "1", "data": [{"q": "a"}, {"q": "b"}]}))
    assert list(trained_on.read(tmp_path / "a.json")) == [{"q": "a"}, {"q": "b"}]
