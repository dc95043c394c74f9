import io
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from mcqlora.data.questions import LETTERS
from mcqlora.errors import UserError
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.texts import TEXTS

REAL = Path(__file__).parents[3] / "shared/data/tokenizer/internlm_7b_tokenizer.model"
TEMPLATE = prompt.Template(bos=1, eos=2, eoh=7, eoa=8, newline=9, pad=0)


def spell(text):
    """An encoder that anyone can read: a code point an id, from 1,000 on."""
    return [1000 + ord(character) for character in text]


def train(texts=TEXTS, **changes):
    model = io.BytesIO()
    options = {
        "model_type": "bpe",
        "vocab_size": 420,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
    }
    options |= {"remove_extra_whitespaces": False, "user_defined_symbols": ["<eoh>", "<eoa>"]}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        minloglevel=2,
        hard_vocab_limit=False,
        **options | {"add_dummy_prefix": False} | changes,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_row_is_the_documented_sequence():
    ids, n_prompt = prompt.row_ids(spell, TEMPLATE, "Say", "A or B", "A")
    asked = [1, *spell("<|User|>:Say\nA or B"), 7, 9, *spell("<|Bot|>:")]
    assert ids == [*asked, *spell("A"), 8, 9, 2]
    assert n_prompt == len(asked)


def test_inference_feeds_what_training_has_before_the_answer():
    ids, n_prompt = prompt.row_ids(spell, TEMPLATE, "Say", "it", "this")
    assert prompt.prompt_ids(spell, TEMPLATE, "Say", "it") == ids[:n_prompt]
    assert spell("this") == ids[n_prompt:-3]


def test_empty_input_leaves_no_newline():
    assert prompt.prompt_ids(spell, TEMPLATE, "Say", "") == [
        1,
        *spell("<|User|>:Say"),
        7,
        9,
        *spell("<|Bot|>:"),
    ]


def test_template_of_a_trained_tokenizer(tmp_path):
    tokenizer.train(TEXTS, tmp_path / "t.model", 420)
    processor = tokenizer.load(tmp_path / "t.model")
    template = prompt.from_tokenizer(processor)
    assert template[:4] == (1, 2, 3, 4)
    assert processor.id_to_piece(template.newline) == "\n"
    assert template.pad == template.eos  # no pad in the model


def test_tokenizer_with_a_pad_uses_it():
    assert prompt.from_tokenizer(train(pad_id=3)).pad == 3


def test_newline_does_not_depend_on_a_dummy_prefix():
    processor = train(add_dummy_prefix=True)
    assert processor.encode("\n", out_type=str) == ["▁\n"]
    assert processor.id_to_piece(prompt.from_tokenizer(processor).newline) == "\n"


ONE_LINE = [text.replace("\n", " ") for text in TEXTS]


def test_newline_may_be_a_byte():
    processor = train(ONE_LINE)
    assert processor.id_to_piece(prompt.from_tokenizer(processor).newline) == "<0x0A>"


def test_tokenizer_without_newlines():
    with pytest.raises(UserError, match=r"no piece '\\n' or '<0x0A>'"):
        prompt.from_tokenizer(train(ONE_LINE, byte_fallback=False))


@pytest.mark.parametrize("missing", ["<eoh>", "<eoa>"])
def test_missing_turn_piece_is_named(missing):
    symbols = [symbol for symbol in ("<eoh>", "<eoa>") if symbol != missing]
    with pytest.raises(UserError, match=f"no piece '{missing}'"):
        prompt.from_tokenizer(train(user_defined_symbols=symbols))


def test_reference_names_its_pieces():
    processor = train(user_defined_symbols=["<TOKENS_UNUSED_139>", "<TOKENS_UNUSED_140>"])
    template = prompt.reference(processor)
    assert template._replace(newline=0) == (1, 2, 4, 3, 0, 0)
    assert processor.id_to_piece(template.newline) == "<0x0A>"
    with pytest.raises(UserError, match="no piece '<TOKENS_UNUSED_140>'"):
        prompt.reference(train())


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data beside the checkout")
def test_internlm_ids():
    processor = tokenizer.load(REAL)
    assert prompt.from_tokenizer(processor) == (1, 2, 103027, 103028, 364, 2)
    assert prompt.reference(processor) == (1, 2, 103167, 103166, 13, 0)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The right option is C.the Arn", "C"),
        ("Well. The right option is A", "A"),
        ("The right option is B.\nThe right option is D.", "B"),
        ("The right option is E.", None),
        ("the right option is A", None),
        ("A", None),
        ("", None),
    ],
)
def test_parse_answer(text, letter):
    assert prompt.parse_answer(text, "ABCD") == letter


@given(st.text(max_size=9), st.sampled_from(LETTERS), st.integers(2, 26))
def test_an_answer_is_one_of_the_letters_that_the_question_has(before, letter, options):
    known = LETTERS[:options]
    text = f"{before}The right option is {letter}.the Arn"
    assert prompt.parse_answer(text, known) == (letter if letter in known else None)
