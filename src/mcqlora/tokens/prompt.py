"""The one template: token ids of a prompt and of a training row, for training and inference alike.

A row is

    <s> enc("<|User|>:{instruction}\\n{input}") <eoh> newline enc("<|Bot|>:") enc(output) <eoa> newline </s>

with every `enc` on its own and without special tokens. Inference feeds the part before enc(output).

A plain text, which is no dialogue, is `<s> enc(prompt + completion) </s>`. Inference feeds `<s> enc(prompt)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from sentencepiece import SentencePieceProcessor

from mcqlora.errors import UserError
from mcqlora.tokens.marks import BOT, EOA, EOH, USER

Encode = Callable[[str], list[int]]
Part = int | str  # of a row: an id, or a text that is encoded on its own
Parts = tuple[Part, ...]
_Ids = TypeVar("_Ids", list[int], bytes)


class Template(NamedTuple):
    """Ids of the special tokens, which no text is meant to encode to."""

    bos: int
    eos: int
    eoh: int
    eoa: int
    newline: int
    pad: int


def from_tokenizer(processor: SentencePieceProcessor) -> Template:
    """The corrected template: every id is what the tokenizer itself says it is.

    `newline` is the id of a lone newline in a text, a byte piece only where the vocabulary has no other;
    `pad` is eos where the tokenizer has no pad.

    Raises:
        UserError: the tokenizer lacks <s>, </s>, <eoh>, <eoa> or a newline.
    """
    return _template(processor, ([EOH], [EOA], ["\n", "<0x0A>"]), processor.pad_id())


def reference(processor: SentencePieceProcessor) -> Template:
    """The template of MindFormers' research/internlm/alpaca_data_preprocess.py, defects included.

    It marks the turns with two unused pieces instead of <eoh> and <eoa>, takes the byte piece for newlines,
    and pads with id 0.

    Raises:
        UserError: the tokenizer lacks one of these pieces.
    """
    marks = (["<TOKENS_UNUSED_140>"], ["<TOKENS_UNUSED_139>"], ["<0x0A>"])
    return _template(processor, marks, processor.unk_id())


def template(processor: SentencePieceProcessor, as_reference: bool) -> Template:
    """The template of a recipe: `reference` or `from_tokenizer`."""
    return reference(processor) if as_reference else from_tokenizer(processor)


def prompt_parts(template: Template, instruction: str, input: str) -> Parts:
    """All up to the answer, which is what inference feeds; without an `input` its newline is left out too."""
    user = f"{USER}{instruction}\n{input}" if input else f"{USER}{instruction}"
    return template.bos, user, template.eoh, template.newline, BOT


def row_parts(template: Template, instruction: str, input: str, output: str) -> tuple[Parts, Parts]:
    """A whole training row of any length: its prompt, and the answer with its end marks."""
    answer = (output, template.eoa, template.newline, template.eos)
    return prompt_parts(template, instruction, input), answer


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
    return [template.bos, *start, *answer, template.eos], 1 + len(start)


def _ids(encode: Encode, parts: Parts) -> list[int]:
    return [id for part in parts for id in ([part] if isinstance(part, int) else encode(part))]


def parse_answer(text: str, letters: str) -> str | None:
    """The letter of the first 'The right option is X' in a generated text, X one of `letters`, or None."""
    match = re.search(rf"The right option is ([{letters}])", text)
    return match[1] if match else None


def _piece(processor: SentencePieceProcessor, *spellings: str) -> int:
    """The id of the first of these pieces that the vocabulary has."""
    for piece in spellings:
        index = processor.piece_to_id(piece)
        if processor.id_to_piece(index) == piece:  # an unknown piece has the id of <unk>
            return index
    wanted = " or ".join(map(repr, spellings))
    raise UserError(f"tokenizer: no piece {wanted}; give a model of the InternLM family")


def _template(processor: SentencePieceProcessor, marks: Iterable[Sequence[str]], pad: int) -> Template:
    """`marks`: spellings of eoh, eoa and newline."""
    bos, eos = processor.bos_id(), processor.eos_id()
    if bos < 0 or eos < 0:
        raise UserError("tokenizer: no <s> or </s>; give a model of the InternLM family")
    eoh, eoa, newline = (_piece(processor, *spellings) for spellings in marks)
    return Template(bos, eos, eoh, eoa, newline, pad if pad >= 0 else eos)
