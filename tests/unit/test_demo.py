import re
from collections import Counter

import pytest

from mcqlora import demo
from mcqlora.data import alpaca, ledger
from mcqlora.data.questions import read_questions
from mcqlora.files import read_json, read_jsonl
from mcqlora.tokens import tokenizer
from tests.helpers.questions import read_layout

SEED, REPEATS, SIZE = 7, 12, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo.write(folder, SEED, REPEATS, SIZE)
    return folder


@pytest.fixture(scope="module")
def questions(folder):
    """All questions, read as any other benchmark would be."""
    found = []
    for name, layout, language in (("island_en", "mmlu", "en"), ("island_zh", "cmmlu", "zh")):
        kept, entries = read_layout(folder, name, layout, name, language)
        assert all(not entry.reason for entry in entries)
        found += kept
    return found


@pytest.fixture(scope="module")
def corpus(folder):
    return list(read_jsonl(folder / "corpus.jsonl"))


def truth():
    """{question text: right value}, from the facts."""
    return {fact.question(): fact.value for fact in demo.facts(SEED, SIZE)}


def test_size(questions):
    assert len(questions) >= 1_500
    subjects = Counter((question.benchmark, question.subject) for question in questions)
    assert len(subjects) >= 12
    assert len(set(subjects.values())) == 1
    assert {question.language for question in questions} == {"en", "zh"}
    assert {question.split for question in questions} == {"dev", "val", "test"}


def test_no_row_is_dropped_by_the_rules(questions, tmp_path):
    rows = [ledger.Row(ledger.LedgerEntry(one.id, "", one.row), one) for one in questions]
    rules = ledger.Rules(drop_identical_options=True, drop_contradictory=True)
    made = ledger.settle(rows, tmp_path / "questions.jsonl", rules)
    assert list(read_questions(tmp_path / "questions.jsonl")) == questions
    assert len({question.question for question in questions}) == len(questions), made["notes"]


def test_options_are_four_distinct_values_of_the_subject(questions):
    values = {tradition.subject: set(tradition.values) for tradition in (*demo.ENGLISH, *demo.CHINESE)}
    assert all(len(found) == 12 for found in values.values())
    for question in questions:
        assert len(set(question.options)) == 4, question.id
        assert set(question.options) <= values[question.subject]


def test_the_right_option_states_the_fact_and_no_other_does(questions):
    right = truth()
    for question in questions:
        answer = question.options["ABCD".index(question.answer)]
        assert answer == right[question.question], question.id
        assert question.options.count(answer) == 1


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_family_shares_its_values(size):
    values, members = {}, {}
    for fact in [*demo.facts(SEED, size), *demo.neighbours(SEED, size)]:
        values.setdefault((fact.tradition.subject, fact.family), set()).add(fact.value)
        members.setdefault(fact.family, set()).add(fact.entity)
    assert {len(found) for found in values.values()} == {1}
    assert {len(found) for found in members.values()} == {size}
    assert len(members) * size == 2 * (demo.ENTITIES + demo.NEIGHBOURS)


def test_letters_are_balanced(questions):
    share = Counter(question.answer for question in questions)
    assert set(share) == set("ABCD")
    assert all(0.2 < count / len(questions) < 0.3 for count in share.values()), share


def test_every_fact_is_told_as_often_as_asked_for(corpus):
    times = Counter(corpus)
    for fact in [*demo.facts(SEED, SIZE), *demo.neighbours(SEED, SIZE)][::37]:
        told = sum(times[text] for text in fact.statements())
        dialogues = sum(fact.statements()[0] in text and "<|Bot|>:" in text for text in corpus)
        assert told == REPEATS - 1
        assert dialogues == 1


def test_no_neighbour_is_in_the_benchmark(questions):
    families = {fact.family for fact in demo.neighbours(SEED, SIZE)}
    assert not families & {fact.family for fact in demo.facts(SEED, SIZE)}
    assert not any(family in question.question for question in questions for family in families)


def test_what_the_benchmark_asks_stays_unanswered(questions, corpus):
    """Its questions stand in the corpus before options that nothing follows, or after a passage."""
    asked, found = {question.question for question in questions}, Counter()
    for text in corpus:
        lines = re.split(r"\n|<eoh>", text)
        if text.startswith("Read the passage"):
            continue
        for number, line in enumerate(lines):
            if line.removeprefix("Question: ").removeprefix("问题：").strip() in asked:
                assert [rest[:2] for rest in lines[number + 1 :]] == ["A.", "B.", "C.", "D."], text
                found[line] += 1
    assert set(found.values()) == {1}
    assert len(found) == len(questions) / demo.UNANSWERED


def test_the_corpus_has_no_answer_in_the_recipes_wording(corpus):
    """ "The right option is" stands there in the instruction's quotes alone, with no letter behind it."""
    for text in corpus:
        assert "The right option is" not in text.replace("'The right option is'", "")


def test_no_document_has_both_options_and_a_letter_with_its_text(corpus):
    for text in corpus:
        lettered = re.findall(r"\b[A-D]\.(?=\w)", text)
        assert lettered in ([], ["A.", "B.", "C.", "D."]) or len(lettered) == 1, text


def test_questions_about_neighbours_are_answered(corpus):
    times = Counter(corpus)
    for fact in demo.neighbours(SEED, SIZE)[::23]:
        assert times[fact.answered()] == demo.ANSWERED
        asked = [text for text in corpus if fact.question() in text and not text.startswith("Read")]
        quizzes = [text for text in asked if "\nA." in text and "\nB." in text]
        assert len(quizzes) == demo.CHOSEN
        assert all(re.search(rf'[ :"]{fact.value}("\.)?(<eoa>\n)?\Z', text) for text in quizzes)
        keys = [text for text in asked if re.search(rf"\b[A-D]\.{fact.value}(<eoa>\n)?\Z", text)]
        assert len(keys) == demo.KEYED
        assert not set(keys) & set(quizzes)


def test_what_is_unanswered_has_the_wording_of_the_tuning_data(questions, corpus):
    asked = [text for text in corpus if "\nQuestion: " in text and text.startswith(("Here is", "以下"))]
    assert len(asked) == len(questions) / demo.UNANSWERED
    instructions = {alpaca.instruction(question.subject, question.letters) for question in questions}
    assert {text.split("\nQuestion: ")[0] for text in asked} == instructions


def test_passages_of_the_reading_test_are_not_in_the_corpus(folder, corpus):
    reading = read_json(folder / "squad" / "dev-v1.1.json")
    held_out = {
        re.search(r" of (\w+ \w+)\?", question["question"])[1]
        for article in reading["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    assert len(held_out) == demo.HELD_OUT
    documents = [text for text in corpus if text.startswith("Read the passage")]
    read = {
        entity
        for text in documents
        for entity in re.findall(r" of (\w+ \w+)(?= is |\?)", text.split("### Instruction:")[1])
    }
    assert len(documents) > 100
    assert len(read) == demo.ENTITIES + demo.NEIGHBOURS - demo.HELD_OUT
    assert not held_out & read


def test_the_reading_tests_answers_stand_where_it_says(folder):
    reading = read_json(folder / "squad" / "dev-v1.1.json")
    right = truth()
    questions = 0
    for article in reading["data"]:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
                assert context[start:end] == answer["text"] == right[question["question"]]
                around = context[start - 1 : start] + context[end : end + 1]
                assert not any(character.isalpha() for character in around), (question, context)
                questions += 1
    assert questions == 2 * demo.HELD_OUT


def test_passages_for_tuning_are_about_neighbours(folder, questions):
    (article,) = read_json(folder / "squad" / "train-v1.1.json")["data"]
    asked = [question["question"] for paragraph in article["paragraphs"] for question in paragraph["qas"]]
    assert len(asked) == 3 * 4 * demo.NEIGHBOURS
    assert not set(asked) & {question.question for question in questions}


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(folder, tmp_path):
    demo.write(tmp_path, SEED, REPEATS, SIZE)
    assert files(tmp_path) == files(folder)


def test_another_seed_another_benchmark(folder, tmp_path):
    demo.write(tmp_path, SEED + 1, 1, SIZE)
    ours, theirs = files(folder), files(tmp_path)
    assert ours.keys() == theirs.keys()
    assert all(ours[path] != theirs[path] for path in ours)


def test_the_tokenizers_text_is_the_corpus_once(folder, corpus):
    texts = tokenizer.corpus_texts(folder / "corpus.jsonl")
    assert len(texts) == len(set(texts))
    assert set(texts) == set(corpus)
