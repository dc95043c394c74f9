"""Other instruction data: forms of files, what is dropped and why, shares, and the ids of its rows."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcqlora import files
from mcqlora.data import mix, squad
from mcqlora.errors import UserError
from mcqlora.evaluate import reading
from mcqlora.evaluate.asking import GenerationSettings
from mcqlora.tokens import encoding, packing, prompt
from tests.helpers.questions import make_question
from tests.helpers.templates import internlm

ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Name a bird.", "input": "", "output": "The auk."},
]
NOTHING_HELD = mix.Held(questions=[], reading=[])
PASSAGE = "The mill of Ost stands on the river. It was built of red stone by the two sons of the miller."


def source(tmp_path, content, name="x.json", share=0.1):
    """A file with this text, or with this value as JSON."""
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return mix.Source(path=path, name=f"our/{name}", share=share)


def said(records):
    return [{k: v for k, v in record.items() if k not in ("id", "order")} for record in records]


def reading_test(*paragraphs):
    """SQuAD v1.1 of (passage, question, answers)."""
    return {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": context,
                        "qas": [
                            {
                                "id": f"q{n}",
                                "question": asked,
                                "answers": [{"text": text} for text in answers],
                            }
                        ],
                    }
                    for n, (context, asked, answers) in enumerate(paragraphs)
                ]
            }
        ]
    }


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ALPACA),
        json.dumps(ALPACA, indent=2),
        "\n".join(map(json.dumps, ALPACA)),
        "\r\n".join(map(json.dumps, ALPACA)) + "\r\n\r\n",
        "\ufeff" + json.dumps(ALPACA),
        json.dumps(
            [ALPACA[0] | {"text": "Below is ..."}, {"instruction": "Name a bird.", "output": "The auk."}]
        ),
    ],
)
def test_alpaca_as_an_array_or_by_line_is_the_same(tmp_path, text):
    records, entries = mix.read(source(tmp_path, text))
    assert said(records) == ALPACA
    assert [record["id"] for record in records] == ["our/x.json/0", "our/x.json/1"]
    assert [(entry.file, entry.row, entry.reason) for entry in entries] == [
        ("our/x.json", 0, ""),
        ("our/x.json", 1, ""),
    ]


def test_squad_is_asked_in_the_prompt_of_the_reading_test(tmp_path):
    held = reading_test((PASSAGE, "What is it built of?", ["red stone", "stone"]))
    records, _ = mix.read(source(tmp_path, held))
    assert said(records) == [
        {"prompt": squad.prompt(PASSAGE, "What is it built of?"), "completion": " red stone"}
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "The sea is wide.\n\nIt is\u2028deep.\r\n"),
        ("X.TXT", "The sea is wide.\nIt is\u2028deep."),
        ("x.jsonl", '{"text": "The sea is wide."}\n{"text": "It is\u2028deep."}\n'),
        ("x.jsonl", '"The sea is wide."\n"It is\u2028deep."'),
        ("x.json", '["The sea is wide.", {"prompt": "", "completion": "It is\u2028deep."}]'),
    ],
)
def test_statements_have_no_prompt(tmp_path, name, text):
    records, _ = mix.read(source(tmp_path, text, name))
    assert said(records) == [
        {"prompt": "", "completion": "The sea is wide."},
        {"prompt": "", "completion": "It is\u2028deep."},
    ]


@pytest.mark.parametrize(
    ("row", "reason", "told"),
    [
        ('{"instruction": "Add."}', "keys", "has not instruction and output"),
        ("7", "keys", "has not instruction and output"),
        ('{"messages": []}', "keys", "has not instruction and output"),
        ('{"instruction": "Add.", "output": 3}', "keys", "'output' is no text"),
        ('{"instruction": "Add.", "input": ["1"], "output": "3"}', "keys", "'input' is no text"),
        ('{"instruction": " ", "output": "3"}', "empty", "'instruction' is empty"),
        ('{"prompt": "Add.", "completion": ""}', "empty", "'completion' is empty"),
        ('{"text": "x"', "json", "not valid JSON"),
    ],
)
def test_a_bad_row_is_named_or_counted(tmp_path, row, reason, told):
    given = source(tmp_path, f'{{"text": "good"}}\n\n{row}\n', "x.jsonl")
    with pytest.raises(UserError, match=rf"x.jsonl: row 2 \(line 3\): {told}.*read.on_bad_row: drop"):
        mix.read(given)
    records, entries = mix.read(given, "drop")
    assert said(records) == [{"prompt": "", "completion": "good"}]
    assert [(entry.row, entry.reason) for entry in entries] == [(0, ""), (2, reason)]


def test_a_bad_row_of_an_array_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.json: row 1: 'output' is empty"):
        mix.read(source(tmp_path, [ALPACA[0], ALPACA[1] | {"output": ""}]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps(ALPACA)[:-9], "x.json: not valid JSON .*fetch the file again"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no row of 2 is good: not valid JSON"),
        ("", "no row of 0 is good"),
        ("[]", "no row of 0 is good"),
        ('{"data": []}', "expected SQuAD v1.1"),
    ],
)
def test_a_file_of_no_use_is_refused_even_where_bad_rows_are_dropped(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        mix.read(source(tmp_path, text), "drop")


def test_a_text_file_that_is_not_utf8_and_a_missing_file_are_refused(tmp_path):
    given = source(tmp_path, "", "x.txt")
    given.path.write_bytes("Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"x\.txt: not UTF-8"):
        mix.read(given)
    given.path.unlink()
    with pytest.raises(UserError, match=r"x.txt: no such file; .* set train: {mix: \[\]}"):
        mix.read(given)


LONG = "Which of the birds of the northern islands was the last to be seen by anybody?"
HELD = mix.Held(
    questions=[make_question(0, question=LONG), make_question(1, question="Who ate it?")],
    reading=[
        squad.ReadingQuestion(
            id="r0",
            context=PASSAGE,
            question="Built of what?",
            answers=["x"],
            first=True,
            paragraph=0,
            article=0,
        )
    ],
)


QUESTION, FOLDER = "held_out_question", "toy/old_birds/test"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"instruction": f"Answer: {LONG} A. Dodo", "output": "A"}, (QUESTION, f"{FOLDER}/0")),
        ({"instruction": "Say", "output": f"... {LONG.upper()} ..."}, (QUESTION, f"{FOLDER}/0")),
        ({"instruction": "Question: who ate it", "output": "B"}, (QUESTION, f"{FOLDER}/1")),
        ({"instruction": "Say", "input": "Gone. Who ate it?", "output": "B"}, (QUESTION, f"{FOLDER}/1")),
        ({"text": squad.prompt(PASSAGE, "By whom?")}, ("reading_passage", "r0")),
        ({"text": squad.prompt("A hut.", "Built of what?")}, ("reading_question", "r0")),
        ({"instruction": "Do you know who ate it?", "output": "No"}, None),
        ({"text": PASSAGE[:60]}, None),
    ],
)
def test_what_is_held_out_is_not_mixed_in(tmp_path, value, expected):
    records, _ = mix.read(source(tmp_path, [value, "Another."]))
    found = mix.screen(records, HELD)
    assert found == ({records[0]["id"]: expected} if expected else {})


def test_the_ledger_accounts_for_every_row(tmp_path):
    rows = [f"Statement {n}." for n in range(40)]
    rows += ["Statement 7.", {"instruction": LONG, "output": "A"}, 7, ""]
    first = source(tmp_path, rows)
    second = source(tmp_path, ["Statement 7.", "Alone."], "y.json", share=0.3)
    made = mix.mix([first, second], 60, HELD, seed=3, on_bad_row="drop")
    one, two = made.ledger["sources"]
    assert (one["read"], one["drawn"], one["left"]) == (44, 10, 30)
    assert one["dropped"] == {"duplicate": 1, "empty": 1, "held_out_question": 1, "keys": 1}
    assert [(row["row"], row["reason"]) for row in one["rows"]] == [
        (40, "duplicate"),
        (41, "held_out_question"),
        (42, "keys"),
        (43, "empty"),
    ]
    for part in (one, two):
        assert part["read"] == sum(part["dropped"].values()) + part["drawn"] + part["left"]
    assert two["dropped"] == {"duplicate": 1} and said(made.records)[10:] == said(
        [{"prompt": "", "completion": "Alone."}]
    )
    assert (made.ledger["train"], made.ledger["records"]) == (60, 11)
    assert made.ledger["looked_for"] == {"questions": 2, "reading_passages": 1, "reading_questions": 1}
    assert [part["share"] for part in made.ledger["sources"]] == [10 / 71, 1 / 71]
    assert list(mix.shortfalls(made.ledger)) == [
        "train.mix: our/y.json has 1 records for the 30 of a share of 0.3; all are mixed in, a share of 0.014"
    ]


def test_a_file_of_held_out_texts_alone_is_refused(tmp_path):
    given = source(tmp_path, reading_test((PASSAGE, "Built of what?", ["red stone"])))
    with pytest.raises(UserError, match=r"x.json: nothing is left to mix in \(reading_passage 1\); name"):
        mix.mix([given], 60, HELD, seed=0)


@pytest.mark.parametrize(
    ("shares", "train", "expected"),
    [
        ([0.1], 7500, [833]),  # of 8,333
        ([0.5], 7, [7]),
        ([0.1, 0.2], 700, [100, 200]),
        ([0.001], 10, [1]),
        ([], 10, []),
    ],
)
def test_shares_are_of_all_training_records(shares, train, expected):
    assert mix.wanted(shares, train) == expected


texts = st.lists(st.text("abc", min_size=1, max_size=4), unique=True, max_size=30)


@given(texts, st.integers(0, 30), st.randoms(use_true_random=False))
def test_a_draw_depends_on_what_records_say_alone(spoken, count, random):
    records = [{"id": str(n), "order": "", "prompt": "", "completion": one} for n, one in enumerate(spoken)]
    turned = [record | {"id": f"other {n}"} for n, record in enumerate(records)]
    random.shuffle(turned)
    drawn = mix.draw(records, count, 5)
    assert said(drawn) == said(mix.draw(turned, count, 5))
    assert len(drawn) == min(count, len(records))
    assert mix.draw(records, count + 1, 5)[:count] == drawn


def test_another_seed_draws_others():
    records = [{"id": str(n), "order": "", "prompt": "", "completion": str(n)} for n in range(40)]
    assert said(mix.draw(records, 10, 0)) != said(mix.draw(records, 10, 1))


TEMPLATE = internlm(bos=1, eos=2, eoh=7, eoa=8, newline=9, pad=0)
PLAIN = {"id": "p", "order": "", "prompt": "ab:", "completion": " c"}
TALK = {"id": "t", "order": "", "instruction": "a", "input": "b", "output": "c"}
STATEMENT = {"id": "s", "order": "", "prompt": "", "completion": "ab"}


def spell(text):
    return [1000 + ord(character) for character in text]


class Spelling:
    @staticmethod
    def int32(text):
        return np.array(spell(text), np.int32).tobytes()


def test_rows_of_each_kind_by_hand(tmp_path):
    """Prompts have no label; a statement's first label is that of its first id after <s>."""
    paths = [tmp_path / "train.json", tmp_path / "mix.json"]
    files.write_json_array(paths[0], [TALK])
    files.write_json_array(paths[1], [PLAIN, STATEMENT])
    ids, shapes = tmp_path / "ids", tmp_path / "shapes.npy"
    lengths, _, _ = encoding.write_documents(paths, Spelling(), TEMPLATE, 40, ids, shapes, 2)
    documents, form = packing.read_documents(ids, shapes), packing.RowFormat(7, 0, "padded")
    user, bot = spell("<|User|>:a\nb"), spell("<|Bot|>:")
    assert lengths.tolist() == [1 + len(user) + 2 + len(bot) + 1 + 3, 7, 4]
    held = documents.ids.tolist()
    assert held[: lengths[0]] == [1, *user, 7, 9, *bot, *spell("c"), 8, 9, 2]
    (made,) = packing.batches(documents, packing.plan(lengths, 7, "padded"), form)
    assert made["input_ids"].tolist() == [
        [1, 1097, 1098, 1058, 1032, 1099, 2],
        [1, 1097, 1098, 2, 0, 0, 0],
    ]
    assert made["labels"].tolist() == [
        [-100, -100, -100, -100, 1032, 1099, 2],
        [-100, 1097, 1098, 2, -100, -100, -100],
    ]
    form = packing.RowFormat(11, 0, "packed")
    (made,) = packing.batches(documents, packing.plan(lengths, 11, "packed"), form)
    assert made["input_ids"].tolist() == [[1, 1097, 1098, 1058, 1032, 1099, 2, 1, 1097, 1098, 2]]
    assert made["document_ids"].tolist() == [[1] * 7 + [2] * 4]
    assert made["labels"].tolist() == [[-100] * 4 + [1032, 1099, 2, -100, 1097, 1098, 2]]


def dummy_prefix(text):
    """An encoder that puts a space before every text, as LLaMA's does."""
    return spell(" " + text)


def merging(text):
    """An encoder with a piece for ': '."""
    return [9 if one == "\0" else 1000 + ord(one) for one in text.replace(": ", "\0")]


@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (spell, (spell("ab:"), spell(" c"))),
        (dummy_prefix, (spell(" ab:"), spell(" c"))),
        (merging, (spell("ab:"), spell(" c"))),
    ],
)
def test_a_completion_goes_on_with_the_prompt(encode, expected):
    """The prompt's ids are those that inference feeds, and no id of the completion is lost."""
    assert prompt.continued(encode, "ab:", " c") == expected
    start, answer = expected
    assert prompt.plain_ids(encode, TEMPLATE, "ab:", " c") == ([1, *start, *answer, 2], 1 + len(start))


def test_a_mixed_reading_question_is_fed_as_the_reading_test_feeds_it(tmp_path):
    given = source(tmp_path, reading_test((PASSAGE, "What is it built of?", ["red stone"])))
    (record,), _ = mix.read(given)
    ids, n_prompt = prompt.plain_ids(spell, TEMPLATE, record["prompt"], record["completion"])
    fed = []

    class Tokens:
        encode, template = staticmethod(spell), TEMPLATE

        class processor:
            decode = staticmethod(lambda ids: "".join(chr(one - 1000) for one in ids))

    class Model:
        name, tokens, engine = "base", Tokens, type("Engine", (), {"limit": 10_000})

        @staticmethod
        def write(prompts, most, stop, what):
            fed.extend(prompts)
            assert ids[-1] in stop
            return [ids[n_prompt:-1]]

    found = reading.read(Model, str(given.path), GenerationSettings(9, 9), 0)
    assert fed == [ids[:n_prompt]]
    assert found["official"]["em"] == 100.0


def test_numbers_of_each_file_in_packing_json():
    lengths = np.array([5, 5, 4, 9, 6])
    plan = packing.plan(lengths, 8, "padded")
    found = packing.mixed(lengths, plan, 8, {"a": 2, "b": 1})
    assert found == [
        {"file": "a", "documents": 2, "share": 0.4, "ids": 4, "share_of_ids": 0.2, "long": 1},
        {"file": "b", "documents": 1, "share": 0.2, "ids": 6, "share_of_ids": 0.3, "long": 0},
    ]
    cut = packing.mixed(lengths, packing.plan(lengths, 8, "padded", "truncate"), 8, {"a": 2, "b": 1})
    assert [one["ids"] for one in cut] == [12, 6] and cut[0]["long"] == 1
