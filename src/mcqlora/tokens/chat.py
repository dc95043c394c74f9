"""A tokenizer's own chat template, a Jinja text that came with a network: rendered once, in a sandbox."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mcqlora.errors import UserError
from mcqlora.files import Json
from mcqlora.tokens.tokenizer import Tokenizer
from mcqlora.tokens.tokenizer_config import special_piece

SLOT, _ANSWER = "\ue000 A Text \ue000", "\ue001 A Text \ue001"  # stand for the user's text and the answer
_EDGES = "\n \n ", " \n \n"  # around the user's, to see whether a template strips


class Turns(NamedTuple):
    """A dialogue of one question: the prompt as text around `SLOT`, and what follows the answer."""

    prompt: str
    ending: str
    strips: bool


class _Generation(Extension):
    """`{% generation %}`, by which transformers finds the answer's place; its content is kept as it is."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def turns(tokenizer: Tokenizer) -> Turns:
    """How the template of `tokenizer` spells one question and its answer.

    It is given what transformers gives it (utils/chat_template_utils.py), but for the date of today, which
    would make other rows tomorrow; templates that have a switch for thinking get `enable_thinking: false`.

    Raises:
        UserError: there is no template, it fails, or what it makes cannot be cut at the texts.
    """
    shown = SLOT.join(_EDGES)
    user, answer = {"role": "user", "content": shown}, {"role": "assistant", "content": _ANSWER}
    prompt = _render(tokenizer, [user], add_generation_prompt=True)
    start, _, ending = _render(tokenizer, [user, answer], add_generation_prompt=False).partition(_ANSWER)
    if start != prompt or _ANSWER in ending:
        raise _unusable(
            "an answer does not stand where the generation prompt ends, as if it were thought up first"
        )
    strips = shown not in prompt
    prompt = prompt.replace(shown, SLOT)
    if prompt.count(SLOT) != 1 or _EDGES[0] + SLOT in prompt or SLOT + _EDGES[1] in prompt:
        raise _unusable("it does not show the user's text once, as it is or stripped")
    return Turns(prompt, ending, strips)


def thinks(tokenizer: Tokenizer) -> bool:
    """Whether the template has a switch for thinking, which `turns` leaves off."""
    return "enable_thinking" in (_source(tokenizer.config) or "")


def _source(config: Json) -> str | None:
    """The template in a `tokenizer_config.json`; the one called default where there are several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        return next((one["template"] for one in found if one["name"] == "default"), None)
    return found


def _render(tokenizer: Tokenizer, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    if not (source := _source(tokenizer.config)):
        raise UserError(
            "tokenizer: its tokenizer_config.json has no chat_template; set another tokenizer.template"
        )
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    roles = ("bos_token", "eos_token", "unk_token", "pad_token")
    named = {role: piece for role in roles if (piece := special_piece(tokenizer.config, role))}
    try:
        return environment.from_string(source).render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
            **named,
        )
    except Exception as error:  # whatever the template's own code raises
        raise _unusable(" ".join(str(error).split())[:200]) from error


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _unusable(reason: str) -> UserError:
    said = f"its chat_template cannot be used ({reason})"
    return UserError(f"tokenizer: {said}; set tokenizer.template: chatml, llama3 or plain")
