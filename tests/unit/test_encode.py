import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st
from texts import TEXTS, WORDS

from mcqlora import encode, prompt, tokenizer
from mcqlora.encode import IGNORE

DATA = Path(__file__).parents[3] / "shared/data"
REAL = DATA / "tokenizer/internlm_7b_tokenizer.model"
needs_data = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data beside the checkout")

TEMPLATE = prompt.Template(bos=1, eos=2, eoh=7, eoa=8, newline=9, pad=0)
RECORDS = [
    {"id": f"toy/t/{n}", "order": "ABCD", "instruction": "Say", "input": "x" * n, "output": "A"}
    for n in range(1, 9)
]

PARTS = [
    "\n",
    "\n\n",
    " ",
    "  ",
    "▁",
    "\t",
    "\r\n",
    "A.",
    "B.the river",
    "东河",
    "1987",
    "🦊",
    "<eoh>",
    "<s>",
    "\x00",
    "。",
]
MIXED = st.one_of(
    st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=25).map("".join),
    st.text(st.sampled_from("\n\n \t\rA.1东▁<eoh>"), max_size=60),
)


def spell(text):
    return [1000 + ord(character) for character in text]


def bpe(texts=TEXTS, **changes):
    """A model trained on whole texts, so that pieces do hold a newline followed by text or space."""
    options = {
        "model_type": "bpe",
        "vocab_size": 600,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
    }
    options |= {"remove_extra_whitespaces": False, "add_dummy_prefix": False}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        minloglevel=2,
        hard_vocab_limit=False,
        **options | changes,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def ours(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "t.model"
    tokenizer.train(TEXTS, path, 520)
    return tokenizer.load(path)


ACROSS = {"split_by_whitespace": False, "split_by_unicode_script": False}
SPACED = [text.replace("\n", "\n  ") for text in TEXTS]
ONE_LINE = [text.replace("\n", "") for text in TEXTS]

MODELS = {
    "ours": ours,
    "plain": lambda _: bpe(),
    "dummy prefix": lambda _: bpe(add_dummy_prefix=True),
    "pieces across words": lambda _: bpe(SPACED, **ACROSS),
    "across words, dummy prefix": lambda _: bpe(SPACED, **ACROSS, add_dummy_prefix=True),
    "symbols": lambda _: bpe(user_defined_symbols=["\nA. ", "the river", "▁x\n", "\n  "]),
    "newline unknown": lambda _: bpe(ONE_LINE, byte_fallback=False, vocab_size=300),
    "suffix": lambda _: bpe(treat_whitespace_as_suffix=True, add_dummy_prefix=True),
    "unigram": lambda _: bpe(model_type="unigram", vocab_size=400),
    "nmt_nfkc": lambda _: bpe(normalization_rule_name="nmt_nfkc"),
    "spaces removed": lambda _: bpe(remove_extra_whitespaces=True),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, tmp_path_factory):
    processor = MODELS[request.param](tmp_path_factory)
    return processor, encode.SegmentEncoder(processor)


@settings(deadline=None, max_examples=150)
@given(MIXED)
@example("")
@example("\n")
@example("A.\n🦊 🦊")
@example("the river\n  A. x\n  B.the river\n \n   ")
@example("\n\nA.the river\n B.x\n\n\n C. \n")
@example(" \n ▁\n▁ the river \nA. x\n")
def test_equals_the_processor(model, text):
    processor, encoder = model
    assert encoder(text) == processor.encode(text)
    assert encoder(text) == processor.encode(text)  # from the cache


@pytest.fixture(scope="module")
def real():
    if not REAL.exists():
        pytest.skip("needs ../shared/data beside the checkout")
    processor = tokenizer.load(REAL)
    return processor, encode.SegmentEncoder(processor)


@settings(deadline=None, max_examples=300)
@given(MIXED)
@example("} \n\t \n};\r\n\r\n x \n\n\n\n A.\n ")
def test_equals_internlms_processor(real, text):
    processor, encoder = real
    assert encoder(text) == processor.encode(text)


@needs_data
@pytest.mark.slow
def test_equals_internlms_processor_on_every_real_question(real):
    processor, encoder = real
    count = 0
    for file in sorted(DATA.glob("*mmlu/**/*.csv")):
        with open(file, encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                question, *options = row[-6:-1]
                for shown in (options, options[::-1]):
                    letters = "".join(
                        f"\n{letter}.{text}" for letter, text in zip("ABCD", shown, strict=False)
                    )
                    for text in (
                        f"<|User|>:{file.stem}\nQuestion: {question} {letters}",
                        f"Right: D.{shown[-1]}",
                    ):
                        assert encoder(text) == processor.encode(text), (file.name, count)
                        count += 1
    assert count > 100_000


def test_each_segment_is_encoded_once():
    class Counting:
        def __init__(self, processor):
            self.processor, self.seen = processor, []

        def __getattr__(self, name):
            return getattr(self.processor, name)

        def encode(self, text):
            self.seen.append(text)
            return self.processor.encode(text)

    processor = Counting(bpe(user_defined_symbols=["\n"]))
    encoder = encode.SegmentEncoder(processor)
    for options in itertools.permutations(["A.one two\n", "B.two one\n", "C.one\n"]):
        encoder("Which one?\n" + "".join(options))
    assert len(processor.seen) == len(set(processor.seen)) <= 8


def test_a_full_cache_starts_again(monkeypatch):
    monkeypatch.setattr(encode, "CACHED", 3)
    processor = bpe()
    encoder = encode.SegmentEncoder(processor)
    texts = [f"A.the {word}\nB.the river\n" for word in WORDS]
    assert [encoder(text) for text in texts] == [processor.encode(text) for text in texts]
    assert len(encoder._inner) <= 3


def row_of(n, n_prompt=4):
    return list(range(101, 101 + n)), n_prompt


@pytest.mark.parametrize("size", [10, 11, 50])
def test_shorter_or_equal_rows_keep_their_labels(size):
    input_ids, labels = encode.pad_row(*row_of(10), size, pad=2)
    assert input_ids.dtype == labels.dtype == np.int32
    assert input_ids.tolist() == [*range(101, 111), *[2] * (size - 10)]
    assert labels.tolist() == [*[IGNORE] * 4, *range(105, 111), *[IGNORE] * (size - 10)]


def test_longer_rows_are_dropped_or_masked():
    assert encode.pad_row(*row_of(10), 9, pad=2) is None
    input_ids, labels = encode.pad_row(*row_of(10), 9, pad=2, on_long="truncate")
    assert input_ids.tolist() == list(range(101, 110))
    assert labels.tolist() == [IGNORE] * 9
    assert encode.pad_row(*row_of(10), 9, pad=2, edge="reference") is None


def test_the_reference_edge():
    for n in (8, 9):
        same = [encode.pad_row(*row_of(n), 10, 2, edge=edge) for edge in ("corrected", "reference")]
        np.testing.assert_array_equal(*same)
    input_ids, labels = encode.pad_row(*row_of(10), 10, 2, edge="reference")
    assert input_ids.tolist() == list(range(101, 111))
    assert labels.tolist() == [IGNORE] * 10


def test_labels_are_the_answer_and_its_end():
    record = RECORDS[0]
    ids, n_prompt = encode.encode_row(spell, TEMPLATE, record)
    input_ids, labels = encode.pad_row(ids, n_prompt, 40, TEMPLATE.pad)
    learnt = labels != IGNORE
    assert labels[learnt].tolist() == [*spell("A"), 8, 9, 2]
    assert (labels[learnt] == input_ids[learnt]).all()


def test_split_counts_what_it_drops():
    length = len(encode.encode_row(spell, TEMPLATE, RECORDS[5])[0])
    rows, stats = encode.encode_split(iter(RECORDS), spell, TEMPLATE, length)
    rows = list(rows)
    assert [(row["input_ids"] == 1000 + ord("x")).sum() for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {(name, column.shape, column.dtype.name) for row in rows for name, column in row.items()} == {
        ("input_ids", (length,), "int32"),
        ("labels", (length,), "int32"),
    }
    assert stats.summary() == {
        "size": length,
        "records": 8,
        "rows": 6,
        "ids": 6 * length - 15,
        "useful_fraction": (6 * length - 15) / (6 * length),
        "longest": length + 2,
        "dropped": [
            {"id": "toy/t/7", "order": "ABCD", "length": length + 1},
            {"id": "toy/t/8", "order": "ABCD", "length": length + 2},
        ],
        "masked": [],
    }


def test_split_names_rows_without_labels():
    length = len(encode.encode_row(spell, TEMPLATE, RECORDS[5])[0])
    for options, masked in (
        ({"edge": "reference"}, ["toy/t/6"]),
        ({"on_long": "truncate"}, ["toy/t/7", "toy/t/8"]),
        ({"edge": "reference", "on_long": "truncate"}, ["toy/t/6", "toy/t/7", "toy/t/8"]),
    ):
        rows, stats = encode.encode_split(RECORDS, spell, TEMPLATE, length, **options)
        unlabelled = [(row["labels"] == IGNORE).all() for row in rows]
        assert sum(unlabelled) == len(masked)
        assert [name["id"] for name in stats.masked] == masked
        assert stats.rows + len(stats.dropped) == len(RECORDS)


def test_rows_stream():
    def endless():
        yield from itertools.cycle(RECORDS)

    rows, stats = encode.encode_split(endless(), spell, TEMPLATE, 100)
    assert len(list(itertools.islice(rows, 3))) == stats.rows == 3


def test_documents_are_the_rows_without_padding():
    length = len(encode.encode_row(spell, TEMPLATE, RECORDS[5])[0])
    documents, stats = encode.encode_documents(RECORDS, spell, TEMPLATE, length)
    rows, row_stats = encode.encode_split(RECORDS, spell, TEMPLATE, length)
    for document, row in itertools.zip_longest(documents, rows):
        n = len(document.ids)
        np.testing.assert_array_equal(document.ids, row["input_ids"][:n])
        np.testing.assert_array_equal(encode.label_ids(*document), row["labels"][:n])
    assert stats == row_stats


@needs_data
@pytest.mark.slow
def test_only_five_real_questions_are_longer_than_1024(real):
    processor, encoder = real
    template, long = prompt.from_tokenizer(processor), []
    instruction = (
        "Here is a question about college medicine, the correct answer is one of the options A/B/C/D. "
        "Please select the correct option and answer the question with 'The right option is'."
    )
    with open(next(DATA.glob("mmlu/**/college_medicine_test.csv")), encoding="utf-8", newline="") as lines:
        for index, (question, *options, answer) in enumerate(csv.reader(lines)):
            shown = "\n".join(f"{letter}.{text}" for letter, text in zip("ABCD", options, strict=True))
            output = f"The right option is {answer}.{options['ABCD'.index(answer)]}"
            record = {
                "instruction": instruction,
                "input": f"Question: {question} \n{shown}",
                "output": output,
            }
            ids, _ = encode.encode_row(encoder, template, record)
            if len(ids) > 1024:
                long.append(index)
    assert long == [6, 50, 66, 93, 162]
