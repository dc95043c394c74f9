import io

import pytest
import sentencepiece

from mcqlora.errors import UserError
from mcqlora.tokens import tokenizer
from tests.helpers.texts import TEXTS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    tokenizer.train(TEXTS, path, 480)
    return path


@pytest.fixture(scope="module")
def processor(path):
    return tokenizer.load(path)


def test_size_and_special_ids(processor):
    assert processor.vocab_size() == 480
    assert [processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id()] == [0, 1, 2, -1]
    assert [processor.id_to_piece(i) for i in (1, 2, 3, 4)] == ["<s>", "</s>", "<eoh>", "<eoa>"]


def test_same_texts_same_bytes(path, tmp_path):
    tokenizer.train(iter(TEXTS), tmp_path / "again.model", 480)
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("text", [" a", "a ", "a  b", "a\nb", "\n\n", "\r\n\t", "１２ｋｇ", "ﬁ", "🦊", ""])
def test_text_survives(processor, text):
    assert processor.decode(processor.encode(text)) == text


def test_ids_of_a_padded_vocabulary_have_no_text(processor):
    assert processor.decode([*processor.encode("a b"), 480, 151_935]) == "a b"


def test_no_dummy_prefix_and_single_digits(processor):
    assert processor.encode("A", out_type=str) == ["A"]
    assert processor.encode("2024", out_type=str) == ["2", "0", "2", "4"]


def test_unseen_ascii_has_pieces(processor):
    assert not any(processor.is_byte(i) for i in processor.encode("\n<|User|>:{}~"))
    assert all(processor.is_byte(i) for i in processor.encode("🦊"))


def test_no_piece_holds_a_newline_followed_by_text(processor):
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    assert "\n" in pieces
    assert not [piece for piece in pieces if "\n" in piece.rstrip("\n")]


@pytest.mark.parametrize("size", [300, 50_000])
def test_impossible_size(tmp_path, size):
    with pytest.raises(UserError, match=rf"{size} pieces .* change vocab_size") as caught:
        tokenizer.train(TEXTS, tmp_path / "t.model", size)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_failed_training_keeps_the_old_model(path, tmp_path):
    old = tmp_path / "t.model"
    old.write_bytes(path.read_bytes())
    with pytest.raises(UserError):
        tokenizer.train([], old, 480)
    assert old.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"no model", b"\x00" * 64, bytes(range(256)), b'{"model": 1}'])
def test_load_refuses_what_is_no_model(tmp_path, content):
    (tmp_path / "t.model").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.model: not a SentencePiece model"):
        tokenizer.load(tmp_path / "t.model")


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_load_refuses_a_cut_off_model(path, tmp_path, part):
    whole = path.read_bytes()
    (tmp_path / "t.model").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError, match="not a SentencePiece model"):
        tokenizer.load(tmp_path / "t.model")


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.model: cannot read the tokenizer \(No such file"):
        tokenizer.load(tmp_path / "none.model")


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, minloglevel=2, hard_vocab_limit=False, **options
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_settings_of_our_own_model(processor):
    assert tokenizer.settings(processor) == (True, True, False, False, False, False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"maps_characters": True, "dummy_prefix": True, "remove_extra_whitespaces": True}),
        (
            {"model_type": "bpe", "byte_fallback": True, "treat_whitespace_as_suffix": True},
            {"is_bpe": True, "byte_fallback": True, "whitespace_as_suffix": True},
        ),
        (
            {
                "normalization_rule_name": "identity",
                "add_dummy_prefix": False,
                "remove_extra_whitespaces": False,
            },
            {"maps_characters": False, "dummy_prefix": False, "remove_extra_whitespaces": False},
        ),
    ],
)
def test_settings_of_other_models(options, expected):
    found = tokenizer.settings(train(vocab_size=400, **options))
    assert expected.items() <= found._asdict().items()


def test_load_refuses_a_model_cut_between_two_fields(path, tmp_path):
    raw = path.read_bytes()
    fields = list(tokenizer._fields(raw))
    assert fields[-1][0] == 3
    end = len(raw) - len(fields[-1][1]) - 2  # its tag, its length of one byte
    (tmp_path / "cut.model").write_bytes(raw[:end])
    sentencepiece.SentencePieceProcessor().Load(str(tmp_path / "cut.model"))  # to the library it is whole
    with pytest.raises(UserError, match="not a SentencePiece model"):
        tokenizer.load(tmp_path / "cut.model")
