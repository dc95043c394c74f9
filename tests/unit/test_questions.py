"""questions.jsonl."""

from mcqlora.data.questions import Question, read_questions, write_questions
from tests.helpers.questions import make_question


def test_letters_are_as_many_as_options():
    assert make_question(options=["yes", "no"]).letters == "AB"
    assert make_question(options=[str(i) for i in range(26)]).letters[-1] == "Z"


def test_a_passage_is_written_where_there_is_one(tmp_path):
    questions = [make_question(0), make_question(1, passage="The moa was a bird.", options=["yes", "no"])]
    write_questions(tmp_path / "questions.jsonl", questions)
    assert list(read_questions(tmp_path / "questions.jsonl")) == questions
    first, second = (tmp_path / "questions.jsonl").read_text().splitlines()
    assert '"passage"' not in first
    assert second.endswith(',"passage":"The moa was a bird."}')


def test_shown_names_the_letter_at_the_place():
    question = Question("t/s/test/0", "t", "s", "test", 0, "en", "?", ["v", "w", "x", "y", "z"], "E")
    assert question.shown("EDCBA") == (["z", "y", "x", "w", "v"], "A")
