"""The one template: token ids of a prompt and of a training row, for training and inference alike.

A row is

    <s> enc("<|User|>:{instruction}\\n{input}") <eoh> newline enc("<|Bot|>:") enc(output) <eoa> newline </s>

every `enc` by itself and without special tokens. Inference feeds the part before enc(output).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sentencepiece import SentencePieceProcessor

from mcqlora.errors import UserError
from mcqlora.tokens import tokenizer

Encode = Callable[[str], list[int]]
Part = int | str  # of a row: an id, or a text that is encoded by itself

USER, BOT = "<|User|>:", "<|Bot|>:"
PARSE = re.compile(r"The right option is ([A-D])")


class Template(NamedTuple):
    """Token ids that no text is encoded to on purpose."""

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
    bos, eos = _bos_eos(processor)
    return Template(
        bos=bos,
        eos=eos,
        eoh=_piece(processor, tokenizer.EOH),
        eoa=_piece(processor, tokenizer.EOA),
        newline=_piece(processor, "\n", "<0x0A>"),
        pad=processor.pad_id() if processor.pad_id() >= 0 else eos,
    )


def reference(processor: SentencePieceProcessor) -> Template:
    """The template of MindFormers' research/internlm/alpaca_data_preprocess.py, defects included.

    It marks the turns with two unused pieces instead of <eoh> and <eoa>, takes the byte piece for a newline
    and pads with id 0.

    Raises:
        UserError: the tokenizer lacks one of these pieces.
    """
    bos, eos = _bos_eos(processor)
    return Template(
        bos=bos,
        eos=eos,
        eoh=_piece(processor, "<TOKENS_UNUSED_140>"),
        eoa=_piece(processor, "<TOKENS_UNUSED_139>"),
        newline=_piece(processor, "<0x0A>"),
        pad=processor.unk_id(),
    )


def template(processor: SentencePieceProcessor, as_reference: bool) -> Template:
    """The template of a recipe: `reference` or `from_tokenizer`."""
    return reference(processor) if as_reference else from_tokenizer(processor)


def prompt_parts(template: Template, instruction: str, input: str) -> tuple[Part, ...]:
    """All up to the answer, which is what inference feeds; an empty `input` takes its newline with it."""
    user = f"{USER}{instruction}\n{input}" if input else f"{USER}{instruction}"
    return template.bos, user, template.eoh, template.newline, BOT


def row_parts(
    template: Template, instruction: str, input: str, output: str
) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """A whole training row of any length: its prompt, and the answer with its end."""
    answer = (output, template.eoa, template.newline, template.eos)
    return prompt_parts(template, instruction, input), answer


def prompt_ids(encode: Encode, template: Template, instruction: str, input: str) -> list[int]:
    """The ids of `prompt_parts`."""
    return _ids(encode, prompt_parts(template, instruction, input))


def answer_ids(encode: Encode, output: str) -> list[int]:
    """The answer without its end: what is scored against the continuations of a prompt."""
    return list(encode(output))


def row_ids(
    encode: Encode, template: Template, instruction: str, input: str, output: str
) -> tuple[list[int], int]:
    """The ids of `row_parts`, and how many of them belong to the prompt."""
    prompt, answer = (_ids(encode, parts) for parts in row_parts(template, instruction, input, output))
    return prompt + answer, len(prompt)


def _ids(encode: Encode, parts: Iterable[Part]) -> list[int]:
    return [id for part in parts for id in ((part,) if isinstance(part, int) else encode(part))]


def parse_answer(text: str) -> str | None:
    """The letter of the first 'The right option is X' in a generated text, or None."""
    match = PARSE.search(text)
    return match[1] if match else None


def _piece(processor: SentencePieceProcessor, *spellings: str) -> int:
    """The id of the first of these pieces that the vocabulary has."""
    for piece in spellings:
        index = processor.piece_to_id(piece)
        if processor.id_to_piece(index) == piece:  # an unknown piece has the id of <unk>
            return index
    wanted = " or ".join(map(repr, spellings))
    raise UserError(f"tokenizer: no piece {wanted}; give a model of the InternLM family")


def _bos_eos(processor: SentencePieceProcessor) -> tuple[int, int]:
    if processor.bos_id() < 0 or processor.eos_id() < 0:
        raise UserError("tokenizer: no <s> or </s>; give a model of the InternLM family")
    return processor.bos_id(), processor.eos_id()
