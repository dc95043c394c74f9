"""A model from elsewhere is asked as one of ours with its tokenizer; the parity suite asks a whole one."""

import json

import pytest

from mcqlora.errors import UserError
from mcqlora.evaluate import foreign
from mcqlora.interop import export
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.fast_tokenizers import CHATML, write
from tests.helpers.texts import TEXTS

TURNS = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CLASS = {"tokenizer_class": "PreTrainedTokenizerFast"}
CHAT = CLASS | {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
KINDS = {
    "chat_template": {"special": CHATML, "chat_template": TURNS, **CHAT},
    "plain": {"special": CHATML, **CHAT},
}


def internlm(folder):
    """SentencePiece's, as a run exports it."""
    given = folder / "given.model"
    tokenizer.train(TEXTS, given, 400)
    ours = tokenizer.load(given)
    export.write_tokenizer(given, ours, prompt.template(ours), folder, 64)
    return folder / "tokenizer.model"


@pytest.mark.parametrize("name", [*KINDS, "internlm"])
def test_prompts_are_those_of_our_own(tmp_path, name):
    path = write(tmp_path, **KINDS[name]) if name in KINDS else internlm(tmp_path)
    ours, theirs = tokenizer.load(path), foreign.tokenization(str(tmp_path), None)
    template = prompt.template(ours)
    assert theirs.template == template and template.name == name
    assert theirs.start == list(ours.start)
    for text in ("What is 小于?\nA.x", "it spells <|im_end|> and </s>", ""):
        assert theirs.encode(text) == ours.encode(text)
        assert theirs.prompt("Choose.", text) == prompt.prompt_ids(ours.encode, template, "Choose.", text)
    beyond = ours.vocab_size() + 7  # of a padded vocabulary
    assert theirs.processor.decode([*ours.encode("a b"), beyond]).strip() == "a b"


def test_turns_are_the_run_s_where_the_vocabulary_has_them(tmp_path):
    write(tmp_path, **KINDS["plain"])
    assert foreign.tokenization(str(tmp_path), "chatml").template.name == "chatml"
    assert foreign.tokenization(str(tmp_path), "llama3").template.name == "plain"
    assert foreign.tokenization(str(tmp_path), "reference").template.name == "plain"


def test_a_text_ends_where_the_network_says_so(tmp_path):
    path = write(tmp_path, **KINDS["plain"])
    other = tokenizer.load(path).id_of("<|endoftext|>")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [other]}))
    found = foreign.tokenization(str(tmp_path), None)
    assert found.stops == {other, found.processor.eos}


def test_a_tokenizer_without_an_end_is_named(tmp_path):
    write(tmp_path, special=CHATML, **CLASS)
    with pytest.raises(UserError, match="its tokenizer has no eos_token; add it"):
        foreign.tokenization(str(tmp_path), None)
