import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcqlora import files
from mcqlora.errors import UserError
from mcqlora.tokens import prompt, segments, tokenizer
from mcqlora.tokens.encoding import row_encoder, write_documents
from mcqlora.tokens.packing import Document, read_documents
from tests.helpers.texts import TEXTS, WORDS

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
    return processor, segments.SegmentEncoder(processor)


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
    return processor, segments.SegmentEncoder(processor)


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


class Counting:
    """A processor that remembers what it was asked to encode."""

    def __init__(self, processor):
        self.processor, self.seen = processor, []

    def __getattr__(self, name):
        return getattr(self.processor, name)

    def encode(self, text):
        self.seen.append(text)
        return self.processor.encode(text)


def test_each_piece_of_text_is_encoded_once():
    processor = Counting(bpe(user_defined_symbols=["\n"]))
    encoder = segments.SegmentEncoder(processor)
    for options in itertools.permutations(["A.one two\n", "B.two one\n", "C.one\n"]):
        encoder("Which one?\n" + "".join(options))
    assert len(processor.seen) == len(set(processor.seen)) == 11


def test_an_option_under_another_letter_is_not_encoded_again():
    processor = Counting(bpe(user_defined_symbols=["\n"]))
    encoder = segments.SegmentEncoder(processor)
    encoder("A.东河 is the other river\nB.东河")
    before = len(processor.seen)
    encoder("Z.东河 is the other river\nY.东河 is the other river")
    assert processor.seen[before:] == ["Z", "Y"]


def test_a_full_cache_starts_again(monkeypatch):
    monkeypatch.setattr(segments, "CACHED", 3)
    processor = Counting(bpe())
    encoder = segments.SegmentEncoder(processor)
    texts = [f"A.the {word}\nB.the river\n" for word in WORDS]
    assert [encoder(text) for text in texts] == [processor.processor.encode(text) for text in texts]
    assert len(set(processor.seen)) < len(processor.seen)


@pytest.mark.parametrize("text", ["Line {}", "One line\nand {}", "{}\nA.the river"])
def test_a_cache_never_holds_more_than_it_may(monkeypatch, text):
    monkeypatch.setattr(segments, "CACHED", 20)
    made = []

    class Watched(segments._Cache):
        def __init__(self, encode):
            super().__init__(encode)
            made.append(self)

    monkeypatch.setattr(segments, "_Cache", Watched)
    encoder = segments.SegmentEncoder(bpe(user_defined_symbols=["\n"]))
    largest = 0
    for number in range(200):
        encoder(text.format(f"{number} of many"))
        largest = max(largest, *map(len, made))
    assert len(made) == 4 and 10 < largest <= 20


class Spelling:
    """An encoder whose documents a reader can check."""

    @staticmethod
    def int32(text):
        return np.array(spell(text), np.int32).tobytes()


def row(record):
    """The ids of a record by the template's other way, that of inference."""
    return prompt.row_ids(spell, TEMPLATE, record["instruction"], record["input"], record["output"])


def written(tmp_path, records, size, workers=1):
    """The documents of `records` and the names of the long ones, by way of the files."""
    source, ids, shapes = tmp_path / "records.json", tmp_path / "ids.int32", tmp_path / "shapes.npy"
    files.write_json_array(source, records)
    lengths, long, _ = write_documents([source], Spelling(), TEMPLATE, size, ids, shapes, workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.int32", "records.json", "shapes.npy"]
    documents = listed(read_documents(ids, shapes))
    assert [len(document.ids) for document in documents] == lengths.tolist()
    return documents, long


def listed(held):
    """The documents one by one."""
    return [Document(held.ids[start:][:length], n_prompt) for length, n_prompt, start in held.shapes.tolist()]


@pytest.mark.parametrize("workers", [1, 3])
def test_segments_are_the_encoded_records(tmp_path, workers):
    documents, _ = written(tmp_path, RECORDS, 100, workers)
    assert len(documents) == len(RECORDS)
    for document, record in zip(documents, RECORDS, strict=True):
        ids, n_prompt = row(record)
        assert (document.ids.tolist(), document.n_prompt) == (ids, n_prompt)
        assert document.ids.dtype == np.int32
        assert ids[n_prompt:] == [*spell("A"), TEMPLATE.eoa, TEMPLATE.newline, TEMPLATE.eos]


def test_segments_are_read_in_any_order_and_stay_on_disk(tmp_path):
    documents, _ = written(tmp_path, RECORDS, 100)
    for index in (7, 0, 3):
        assert (documents[index].ids.tolist(), documents[index].n_prompt) == row(RECORDS[index])
    assert isinstance(documents[3].ids.base.base, np.memmap)


def test_an_encoder_goes_to_a_worker(tmp_path):
    source = tmp_path / "records.json"
    files.write_json_array(source, RECORDS)
    encoder = segments.SegmentEncoder(bpe())
    for workers in (1, 2):
        write_documents([source], encoder, TEMPLATE, 9, tmp_path / "i", tmp_path / "s", workers)
        documents = listed(read_documents(tmp_path / "i", tmp_path / "s"))
        for document, record in zip(documents, RECORDS, strict=True):
            assert document.ids.tobytes() == row_encoder(encoder.int32, TEMPLATE)(record)[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_record_is_named_and_nothing_is_left(tmp_path, workers):
    source = tmp_path / "records.json"
    files.write_json_array(source, RECORDS)
    source.write_bytes(source.read_bytes().replace(b'"xxx"', b'"xxx'))
    with pytest.raises(UserError, match=r"records.json:4: not valid JSON"):
        write_documents([source], Spelling(), TEMPLATE, 9, tmp_path / "i", tmp_path / "s", workers)
    assert list(tmp_path.iterdir()) == [source]


def test_same_records_same_bytes(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, RECORDS, 100)
    for name in ("ids.int32", "shapes.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_records(tmp_path, workers):
    documents, long = written(tmp_path, [], 100, workers)
    assert (list(documents), long) == ([], [])


@pytest.mark.parametrize("workers", [1, 2])
def test_records_that_fill_a_row_are_named(tmp_path, workers):
    length = len(row(RECORDS[5])[0])
    _, long = written(tmp_path, RECORDS, length, workers)
    assert long == [
        {"index": 5, "id": "toy/t/6", "order": "ABCD", "length": length},
        {"index": 6, "id": "toy/t/7", "order": "ABCD", "length": length + 1},
        {"index": 7, "id": "toy/t/8", "order": "ABCD", "length": length + 2},
    ]


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
            ids, _ = row_encoder(encoder.int32, template)(record)
            if len(ids) // 4 > 1024:
                long.append(index)
    assert long == [6, 50, 66, 93, 162]
