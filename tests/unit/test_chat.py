"""Turns by a tokenizer's own chat template, and ours, against transformers' `apply_chat_template`."""

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mcqlora.errors import UserError
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.fast_tokenizers import CHATML, write

SYSTEM = "You are of help."
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_SYSTEM = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    f"{{%- else %}}{{{{- '<|im_start|>system\n{SYSTEM}<|im_end|>\n' }}}}{{%- endif %}}" + CHATML_TEMPLATE
)
THINKING = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if '</think>' in content %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + content.lstrip('\\n') + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MARKED = CHATML_TEMPLATE.replace(
    "message['content']", "'' }}{% generation %}{{ message['content'] }}{% endgeneration %}{{ ''"
)
LLAMA_MARKS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
CHAT = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
LLAMA = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
FILES = {
    "chatml": {"special": CHATML, "chat_template": CHATML_TEMPLATE, **CHAT},
    "smollm2": {"kind": "smollm2", "special": CHATML, "chat_template": WITH_SYSTEM, **CHAT},
    "qwen2.5": {"special": CHATML, "chat_template": WITH_SYSTEM, **CHAT},
    "qwen3": {"special": CHATML, "added": ["<think>", "</think>"], "chat_template": THINKING, **CHAT},
    "llama3": {
        "kind": "llama3",
        "special": LLAMA_MARKS,
        "start": "<|begin_of_text|>",
        "chat_template": LLAMA_3,
        **LLAMA,
    },
    "generation": {"special": CHATML, "chat_template": MARKED, **CHAT},
    "named": {
        "special": CHATML,
        "chat_template": [
            {"name": "default", "template": CHATML_TEMPLATE},
            {"name": "tool_use", "template": ""},
        ],
        **CHAT,
    },
}
RECORD = ("Please select.", " Which river? \nA.the one\nB.东河 \n", "The right option is B.东河")


@pytest.fixture(params=FILES)
def chat(request, tmp_path):
    path = write(tmp_path, **FILES[request.param])
    theirs = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(path)))
    said = {**FILES[request.param]}
    theirs.chat_template = said["chat_template"] if request.param != "named" else CHATML_TEMPLATE
    theirs.bos_token, theirs.eos_token = said.get("bos_token"), said["eos_token"]
    return request.param, tokenizer.load(path), theirs


def test_equals_apply_chat_template(chat):
    name, ours, theirs = chat
    template = prompt.template(ours)
    assert template.name == "chat_template"
    instruction, input, output = RECORD
    ids, n_prompt = prompt.row_ids(ours.encode, template, instruction, input, output)
    asked = [{"role": "user", "content": f"{instruction}\n{input}"}]
    switch = {"enable_thinking": False}
    assert ids[:n_prompt] == theirs.apply_chat_template(asked, add_generation_prompt=True, **switch)
    whole = theirs.apply_chat_template([*asked, {"role": "assistant", "content": output}], **switch)
    assert whole[: len(ids)] == ids
    assert ids[-1] == ours.eos
    assert theirs.decode(whole[len(ids) :]).strip() == ""  # what nobody reads
    assert ids[n_prompt:] == [*ours.encode(output), ours.eos]
    assert template.stop == (ours.eos,)
    if name == "llama3":
        assert template.strips and template.before[0] == ours.id_of("<|begin_of_text|>")


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_named_turns_are_those_of_the_templates(tmp_path, name):
    ours = tokenizer.load(write(tmp_path, **FILES[name]))
    named, own = prompt.template(ours, name), prompt.template(ours, "chat_template")
    made = [prompt.row_ids(ours.encode, one, *RECORD) for one in (named, own)]
    assert made[0] == made[1]
    assert (named.stop, named.pad) == (own.stop, own.pad)


def test_a_question_that_spells_a_mark_asks_the_same(chat):
    _, ours, _ = chat
    template = prompt.template(ours)
    mark = max(ours.marks, key=lambda piece: (piece in ("<|im_end|>", "<|eot_id|>"), piece))
    plain, spelt = (prompt.prompt_ids(ours.encode, template, "x", text) for text in ("", mark))
    assert spelt.count(ours.marks[mark]) == plain.count(ours.marks[mark]) > 0


def test_thinking_is_off_and_said(tmp_path):
    off, without = (tokenizer.load(write(tmp_path / name, **FILES[name])) for name in ("qwen3", "qwen2.5"))
    line = "tokenizer.template: chat_template, by the tokenizer's pieces"
    assert prompt.said(off, None)[0] == line and "thinking" in prompt.said(off, None)[1]
    assert prompt.said(without, None) == (line, None)
    think = off.id_of("<think>")
    assert think in prompt.prompt_ids(off.encode, prompt.template(off), "x", "y")


def test_plain_without_a_chat_template(tmp_path):
    ours = tokenizer.load(write(tmp_path, eos_token="<|endoftext|>"))
    template = prompt.template(ours)
    assert template.name == "plain"
    ids, n_prompt = prompt.row_ids(ours.encode, template, "x", "y", "z")
    assert (ids[:n_prompt], ids[n_prompt:]) == (ours.encode("x\ny\n"), [*ours.encode("z"), ours.eos])
    assert all("\n" in ours.decode([index]) for index in template.line_ends)
    assert set(ours.encode("a\nb")) & set(template.line_ends)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "{{ messages[0].content }}{{ messages[0].content }}{{ messages[1] and messages[1].content }}",
            "text once",
        ),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "an answer does not stand"),
        ("{% for m in messages %}{{ m.content | lower }}{% endfor %}", "an answer does not stand"),
        ("{% for m in messages %}{{ m.content.lstrip() }}\n{% endfor %}", "once, as it is or stripped"),
        ("{% for m in messages %}", "endfor"),
        ("{{ raise_exception('no user') }}", "no user"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ strftime_now('%Y') }}", "strftime_now"),
        ("{{ messages.append(1) }}", "unsafe"),
        (THINKING.replace("<think>\\n\\n</think>\\n\\n' }}", "<think>\\n' }}"), "an answer does not stand"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(tmp_path, source, reason):
    ours = tokenizer.load(write(tmp_path, chat_template=source, **CHAT))
    with pytest.raises(UserError, match=reason) as caught:
        prompt.template(ours)
    assert "\n" not in str(caught.value)
    assert "set tokenizer.template: chatml, llama3 or plain" in str(caught.value)


def test_without_a_template_or_an_end_the_key_is_named(tmp_path):
    with pytest.raises(UserError, match="has no chat_template; set another"):
        prompt.template(tokenizer.load(write(tmp_path / "a", **CHAT)), "chat_template")
    with pytest.raises(UserError, match="with eos_token, beside it"):
        prompt.template(tokenizer.load(write(tmp_path / "b")), "plain")
    with pytest.raises(UserError, match=r"no piece '<\|start_header_id\|>'; set tokenizer.template"):
        prompt.template(tokenizer.load(write(tmp_path / "c", **CHAT)), "llama3")


def test_a_template_in_a_file_of_its_own(tmp_path):
    path = write(tmp_path, **CHAT)
    (tmp_path / "chat_template.jinja").write_text(CHATML_TEMPLATE)
    assert prompt.template(tokenizer.load(path)).name == "chat_template"
