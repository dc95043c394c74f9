"""SQuAD v1.1: the reader of its JSON, and the prompt of a reading question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from mcqlora.errors import UserError

_PROMPT = (
    "Read the passage and answer the question below.\n\n"
    "### Instruction:\n{context}\n\n### Input:\n{question}\n\n### Response:"
)
_Kind = TypeVar("_Kind", str, list[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingQuestion:
    """A question about a passage, with one answer or more.

    `first` marks the first question of its paragraph: MindFormers scores those alone, against the first
    answer. `paragraph` and `article` count from 0 over the whole file.
    """

    id: str
    context: str
    question: str
    answers: list[str]
    first: bool
    paragraph: int
    article: int


def read(path: str | Path) -> Iterator[ReadingQuestion]:
    """Yield the questions of a SQuAD v1.1 JSON file, in file order.

    Raises:
        UserError: the file is missing, not JSON, not in the SQuAD v1.1 layout, or has an id twice.
    """
    try:
        document = orjson.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of a SQuAD v1.1 JSON file") from error
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); fetch the file again") from error
    seen: set[str] = set()
    paragraph = 0
    for number, article in enumerate(_get(path, document, "data", list, "the top level")):
        for block in _get(path, article, "paragraphs", list, f"data[{number}]"):
            place = f"data[{number}], paragraph {paragraph}"
            context = _get(path, block, "context", str, place)
            for position, item in enumerate(_get(path, block, "qas", list, place)):
                spot = f"{place}, question {position}"
                answers = _get(path, item, "answers", list, spot)
                if not answers:
                    raise _malformed(path, f"{spot}: no answer")
                identity = _get(path, item, "id", str, spot)
                if identity in seen:
                    raise _malformed(path, f"{spot}: a second question with the id {identity[:40]!r}")
                seen.add(identity)
                yield ReadingQuestion(
                    id=identity,
                    context=context,
                    question=_get(path, item, "question", str, spot),
                    answers=[_get(path, answer, "text", str, spot) for answer in answers],
                    first=position == 0,
                    paragraph=paragraph,
                    article=number,
                )
            paragraph += 1
    if paragraph == 0:
        raise _malformed(path, "no paragraph")


def prompt(context: str, question: str) -> str:
    """The prompt of the MindFormers SQuAD evaluation; the answer follows right after the last colon."""
    return _PROMPT.format(context=context, question=question)


def _malformed(path: str | Path, what: str) -> UserError:
    return UserError(
        f"{path}: {what}; expected SQuAD v1.1: data > paragraphs > context, qas > id, question, answers"
    )


def _get(path: str | Path, holder: Any, key: str, kind: type[_Kind], place: str) -> _Kind:
    """What stands under `key` of the object `holder`, a text or a list."""
    if not isinstance(holder, dict) or key not in holder:
        raise _malformed(path, f"{place}: no {key!r}")
    if not isinstance(holder[key], kind):
        raise _malformed(path, f"{place}: {key!r} is not {'text' if kind is str else 'a list'}")
    return holder[key]
