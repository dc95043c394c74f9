"""The one template: token ids of a prompt and of a training row, for training and inference alike.

A row is the prompt, the answer and what ends it. InternLM's (v1) is

    <s> enc("<|User|>:{instruction}\\n{input}") <eoh> newline enc("<|Bot|>:") enc(output) <eoa> newline </s>

with every `enc` on its own and without special tokens. Inference feeds the part before enc(output). Marks
come in as ids, never by way of a text, so a question that spells one is still a question.

A plain text, which is no dialogue, is `<s> enc(prompt + completion) </s>`, without <s> where the tokenizer
puts none before a text. Inference feeds all before the completion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from mcqlora.errors import UserError
from mcqlora.tokens.marks import BOT, EOA, EOH, USER
from mcqlora.tokens.tokenizer import Tokenizer

Encode = Callable[[str], list[int]]
Part = int | str  # of a row: an id, or a text that is encoded on its own
Parts = tuple[Part, ...]
_Ids = TypeVar("_Ids", list[int], bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What stands around a user's text and an answer."""

    name: str
    start: tuple[int, ...]  # before a plain text
    eos: int
    pad: int
    before: Parts  # of the prompt, up to the text that holds the user's
    opening: str  # encoded in one with the user's text
    closing: str  # likewise, after it
    after: Parts  # of the prompt, from there to the answer
    end: tuple[int, ...]  # after the answer
    stop: tuple[int, ...]  # any of them ends a written answer; the first is eos
    line_ends: tuple[int, ...]  # any of them ends a line of plain text
    strips: bool = False  # spaces around the user's text and the answer are left out


def template(tokenizer: Tokenizer, name: str | None = None) -> Template:
    """The template of that name, see `tokenizer.template` in the configuration; None: by the tokenizer.

    The tokenizer's is InternLM's where it has <eoh> and <eoa>, else its own chat template, else none (plain).
    Every id is what the tokenizer itself says it is; `pad` is eos where it has no pad.

    Raises:
        UserError: the tokenizer lacks one of the pieces, or its chat template cannot be used.
    """
    if name is None:
        own = tokenizer.id_of(EOH) is not None and tokenizer.id_of(EOA) is not None
        name = "internlm" if own else "chat_template" if tokenizer.config.get("chat_template") else "plain"
    return TEMPLATES[name](tokenizer)


def said(tokenizer: Tokenizer, name: str | None) -> tuple[str, str | None]:
    """A line for the log on the template that is used, and one for the user where it leaves something out.

    Raises:
        UserError: as `template`.
    """
    found = template(tokenizer, name).name
    notice = None
    if found == "chat_template":
        from mcqlora.tokens import chat

        if chat.thinks(tokenizer):
            notice = "tokenizer.template: thinking, for which the chat template has a switch, is off"
    return f"tokenizer.template: {found}" + ("" if name else ", by the tokenizer's pieces"), notice


def internlm(tokenizer: Tokenizer) -> Template:
    """InternLM's (v1); a newline is the id of a lone one in a text, a byte piece if it has no other."""
    return _turns_of_internlm(tokenizer, EOH, EOA, ("\n", "<0x0A>"))


def reference(tokenizer: Tokenizer) -> Template:
    """The template of MindFormers' research/internlm/alpaca_data_preprocess.py, defects included.

    It marks the turns with two unused pieces instead of <eoh> and <eoa>, takes the byte piece for newlines,
    and pads with id 0.
    """
    found = _turns_of_internlm(tokenizer, "<TOKENS_UNUSED_140>", "<TOKENS_UNUSED_139>", ("<0x0A>",))
    return replace(found, name="reference", pad=0 if tokenizer.unk is None else tokenizer.unk)


def chatml(tokenizer: Tokenizer) -> Template:
    """Turns as OpenAI's ChatML marks them, without a system message: Qwen, SmolLM2, Yi, InternLM2."""
    begin, end = _piece(tokenizer, "<|im_start|>"), _piece(tokenizer, "<|im_end|>")
    return _template(
        tokenizer,
        name="chatml",
        before=(*tokenizer.start, begin),
        opening="user\n",
        after=(end, "\n", begin, "assistant\n"),
        end=(end,),
    )


def llama3(tokenizer: Tokenizer) -> Template:
    """Llama 3's turns, without a system message.

    Source: https://github.com/meta-llama/llama3, llama/tokenizer.py, `ChatFormat`.
    """
    marks = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    begin, of, end = (_piece(tokenizer, mark) for mark in marks)
    return _template(
        tokenizer,
        name="llama3",
        before=(*tokenizer.start, begin, "user", of),
        opening="\n\n",
        after=(end, begin, "assistant", of, "\n\n"),
        end=(end,),
        strips=True,
    )


def plain(tokenizer: Tokenizer) -> Template:
    """For a network that knows no turns: the user's text, a newline, the answer, eos."""
    return _template(tokenizer, name="plain", before=tokenizer.start, closing="\n")


def chat_template(tokenizer: Tokenizer) -> Template:
    """The tokenizer's own, rendered once around a stand-in for the user's text.

    Equal to what transformers' `apply_chat_template` makes of one user message, encoded; thinking, where
    the template has a switch for it, is off. What follows the end mark of an answer is left out.

    Raises:
        UserError: there is none, it fails, changes the texts it is given, or has an answer start elsewhere
            than its own generation prompt ends.
    """
    from mcqlora.tokens import chat  # with Jinja

    turns = chat.turns(tokenizer)
    prompt, ending = _parts(tokenizer, turns.prompt), _parts(tokenizer, turns.ending)
    (place,) = (i for i, part in enumerate(prompt) if chat.SLOT in str(part))
    opening, closing = str(prompt[place]).split(chat.SLOT)
    marks = [i for i, part in enumerate(ending) if isinstance(part, int)]
    return _template(
        tokenizer,
        name="chat_template",
        before=prompt[:place],
        opening=opening,
        closing=closing,
        after=prompt[place + 1 :],
        end=tuple(_ids(tokenizer.encode, ending[: marks[0] + 1])) if marks else (),
        strips=turns.strips,
    )


TEMPLATES = {one.__name__: one for one in (internlm, chatml, llama3, plain, chat_template, reference)}


def _template(
    tokenizer: Tokenizer,
    *,
    name: str,
    before: Parts,
    opening: str = "",
    closing: str = "",
    after: Parts = (),
    end: tuple[int, ...] = (),
    line_ends: tuple[int, ...] | None = None,
    strips: bool = False,
) -> Template:
    if tokenizer.eos is None:
        raise UserError(
            "tokenizer: no end of text; lay the base's tokenizer_config.json, with eos_token, beside it"
        )
    eos = tokenizer.eos
    ends = end or (eos,)
    if line_ends is None:
        # In byte-level vocabularies a newline is spelled Ċ.
        ids = range(tokenizer.vocab_size())
        line_ends = tuple(i for i in ids if re.search("\n|Ċ|<0x0A>", tokenizer.id_to_piece(i)))
    return Template(
        name=name,
        start=tokenizer.start,
        eos=eos,
        pad=eos if tokenizer.pad is None else tokenizer.pad,
        before=before,
        opening=opening,
        closing=closing,
        after=after,
        end=ends,
        stop=tuple(dict.fromkeys((eos, ends[-1]))),
        line_ends=line_ends,
        strips=strips,
    )


def _turns_of_internlm(tokenizer: Tokenizer, eoh: str, eoa: str, newlines: tuple[str, ...]) -> Template:
    human, assistant, newline = _piece(tokenizer, eoh), _piece(tokenizer, eoa), _piece(tokenizer, *newlines)
    made = _template(
        tokenizer,
        name="internlm",
        before=tokenizer.start,
        opening=USER,
        after=(human, newline, BOT),
        end=(assistant, newline),
        line_ends=(newline,),
    )
    return replace(made, end=(*made.end, made.eos), stop=(made.eos, assistant))


def _parts(tokenizer: Tokenizer, text: str) -> Parts:
    """A rendered text: its marks as ids, and the texts between them."""
    marks = sorted(tokenizer.marks, key=len, reverse=True)
    if not marks:
        return (text,) if text else ()
    cut = re.split(f"({'|'.join(map(re.escape, marks))})", text)
    return tuple(tokenizer.marks.get(part, part) for part in cut if part)


def prompt_parts(template: Template, instruction: str, input: str) -> Parts:
    """All up to the answer, which is what inference feeds; without an `input` its newline is left out too."""
    user = f"{instruction}\n{input}" if input else instruction
    shown = user.strip() if template.strips else user
    return *template.before, f"{template.opening}{shown}{template.closing}", *template.after


def row_parts(template: Template, instruction: str, input: str, output: str) -> tuple[Parts, Parts]:
    """A whole training row of any length: its prompt, and the answer with its end marks."""
    answer = output.strip() if template.strips else output
    return prompt_parts(template, instruction, input), (answer, *template.end)


def prompt_ids(encode: Encode, template: Template, instruction: str, input: str) -> list[int]:
    """The ids of `prompt_parts`."""
    return _ids(encode, prompt_parts(template, instruction, input))


def row_ids(
    encode: Encode, template: Template, instruction: str, input: str, output: str
) -> tuple[list[int], int]:
    """The ids of `row_parts`, and how many of them belong to the prompt."""
    prompt, answer = (_ids(encode, parts) for parts in row_parts(template, instruction, input, output))
    return prompt + answer, len(prompt)


def continued(encode: Callable[[str], _Ids], prompt: str, completion: str) -> tuple[_Ids, _Ids]:
    """The ids of a prompt, as inference feeds them, and of the completion that goes on with the text.

    They are those of the whole text, of which the prompt's are the start. Where the tokenizer merges across
    the seam they are not, and the completion is encoded on its own.
    """
    start, whole = encode(prompt), encode(prompt + completion)
    return start, whole[len(start) :] if whole[: len(start)] == start else encode(completion)


def plain_ids(encode: Encode, template: Template, prompt: str, completion: str) -> tuple[list[int], int]:
    """The ids of a plain text's row, and how many of them belong to the prompt."""
    start, answer = continued(encode, prompt, completion)
    return [*template.start, *start, *answer, template.eos], len(template.start) + len(start)


def _ids(encode: Encode, parts: Parts) -> list[int]:
    return [id for part in parts for id in ([part] if isinstance(part, int) else encode(part))]


def parse_answer(text: str, letters: str) -> str | None:
    """The letter of the first 'The right option is X' in a generated text, X one of `letters`, or None."""
    match = re.search(rf"The right option is ([{letters}])", text)
    return match[1] if match else None


def _piece(tokenizer: Tokenizer, *spellings: str) -> int:
    """The id of the first of these pieces that the vocabulary has."""
    for piece in spellings:
        if (index := tokenizer.id_of(piece)) is not None:
            return index
    wanted = " or ".join(map(repr, spellings))
    raise UserError(
        f"tokenizer: no piece {wanted}; set tokenizer.template to one that it has the pieces of, or plain"
    )
