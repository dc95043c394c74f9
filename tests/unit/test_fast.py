import json
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from mcqlora.errors import UserError
from mcqlora.tokens import segments, tokenizer
from tests.helpers.fast_tokenizers import KINDS, write

PIECES = [
    "\n",
    " ",
    "  ",
    "\r\n",
    "\t",
    "A.",
    "B",
    ".",
    "/",
    "'s",
    "1",
    "23",
    "é",
    "\u0301",
    "东河",
    "。",
    "(",
    ")\n",
]
PIECES += [
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x1c",
    "the river",
    "<|im_end|>",
    "<tool>",
    "🦊",
    "Ω",
    "\u2126",
    "｡",
]
MIXED = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=2)), max_size=20).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def given_kind(request, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("fast"), request.param, added=["<tool>"])
    return request.param, path, tokenizer.load(path)


def test_where_lines_may_be_cut(given_kind):
    name, _, found = given_kind
    assert found.line_cut == KINDS[name][1]


@settings(deadline=None, max_examples=200)
@given(MIXED)
@example("")
@example("x \n\nA.the river\n B.x\n1 \n<tool>\n/ \n)\n.A")
@example("A.x \nA.y(\n\nB. 1  2 \nC.")
def test_equals_the_library(given_kind, text):
    _, path, found = given_kind
    library, encoder = _library(path), segments.SegmentEncoder(found)
    expected = library.encode(text, add_special_tokens=False).ids
    assert found.encode(text) == expected
    assert encoder(text) == expected
    assert encoder(text) == expected  # from the cache


@cache
def _library(path):
    made = Tokenizer.from_file(str(path))
    made.encode_special_tokens = True
    return made


def test_a_special_piece_in_a_text_is_text(given_kind):
    _, _, found = given_kind
    assert found.marks.keys() == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>"}
    mark = found.id_of("<|im_end|>")
    assert found.id_to_piece(mark) == "<|im_end|>" and found.vocab_size() == found.marks["<tool>"] + 1
    assert mark not in found.encode("a<|im_end|>b")
    assert found.decode([*found.encode("a<|im_end|>b"), mark]).strip() == "a<|im_end|>b"
    beyond = found.vocab_size() + 5  # of a padded vocabulary
    assert found.decode([*found.encode("a b"), beyond]).strip() == "a b"


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": normalizers.NFKC()},
        {"normalizer": normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])},
        {"added": ["two words"]},
        {"added": ["name"]},
    ],
    ids=str,
)
def test_a_tokenizer_that_looks_further_is_asked_for_whole_texts(tmp_path, changes):
    found = tokenizer.load(write(tmp_path, **changes))
    assert found.line_cut is None
    asked = []
    found.encode = lambda text: asked.append(text) or []
    segments.SegmentEncoder(found)("Which?\nA.one two")
    assert asked == ["Which?\nA.one two"]


def test_copies_of_a_question_share_their_segments(tmp_path):
    for kind in ("qwen2", "gpt2"):
        found, asked = tokenizer.load(write(tmp_path, kind)), []
        encode = found.encode
        found.encode = lambda text, encode=encode, asked=asked: asked.append(text) or encode(text)
        encoder = segments.SegmentEncoder(found)
        encoder("Which river? \nA.the one\nB.two two\nC.x")
        before = len(asked)
        assert len(set(asked)) == before
        encoder("Which river? \nA.x\nB.the one\nC.two two")
        assert [text for text in asked[before:] if text.strip("\n. ") not in ("x", "two", "")] == []


def test_special_ids_come_from_the_files(tmp_path):
    said = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "bos_token": None}
    found = tokenizer.load(write(tmp_path, **said))
    assert (found.bos, found.eos, found.pad, found.unk) == (None, 392, 390, None)
    assert found.start == ()


@pytest.mark.parametrize(
    ("start", "config", "expected"),
    [
        (None, {}, ()),
        ("<|im_start|>", {}, (391,)),
        ("<|im_start|>", {"add_bos_token": False, "bos_token": "<|im_start|>"}, ()),
        (None, {"bos_token": "<|endoftext|>"}, ()),
        (None, {"bos_token": "<|endoftext|>", "tokenizer_class": "LlamaTokenizerFast"}, (390,)),
    ],
)
def test_what_stands_before_a_text(tmp_path, start, config, expected):
    assert tokenizer.load(write(tmp_path, start=start, **config)).start == expected


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": 1}', "\x00"])
def test_a_broken_file_is_one_line(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(
        UserError, match=r"tokenizer\.json: not a tokenizer\.json of .*; fetch it again"
    ) as caught:
        tokenizer.load(tmp_path / "tokenizer.json")
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_one_line(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="fetch it again"):
        tokenizer.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: cannot read the tokenizer \(No such file"):
        tokenizer.load(tmp_path / "none.json")


def test_a_config_without_keys_is_named(tmp_path):
    path = write(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"tokenizer_config\.json: holds no keys"):
        tokenizer.load(path)
