"""SQuAD v1.1: the reader of its JSON, and the prompt of a reading question."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mcqlora.errors import UserError

if TYPE_CHECKING:
    pass

_PROMPT = (
    "Read the passage and answer the question below.\n\n"
    "### Instruction:\n{context}\n\n### Input:\n{question}\n\n### Response:"
)


def read(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the questions of a SQuAD v1.1 JSON file, in file order.

    Each is `{"id", "context", "question": str, "answers": [str, ...] (one or more), "first": bool,
    "paragraph": int, "article": int}`; `first` marks the first question of its paragraph (MindFormers scores
    those alone, against the first answer); `paragraph` and `article` count from 0 over the whole file.

    Raises:
        UserError: the file is missing, not JSON, not in the SQuAD v1.1 layout, or has an id twice.
    """
    seen: set[str] = set()
    try:
        articles = orjson.loads(Path(path).read_bytes())["data"]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of a SQuAD v1.1 JSON file") from error
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); fetch the file again") from error
    except (KeyError, TypeError) as error:
        raise _malformed(path, "the top level has no 'data'") from error
    paragraph = 0
    for number, article in enumerate(_list(path, articles, "'data'")):
        place = f"data[{number}]"
        for block in _list(path, _get(path, article, "paragraphs", place), f"{place}.paragraphs"):
            inside = f"{place}, paragraph {paragraph}"
            context = _text(path, block, "context", inside)
            questions = _list(path, _get(path, block, "qas", inside), f"{inside}: 'qas'")
            for position, item in enumerate(questions):
                spot = f"{inside}, question {position}"
                answers = _list(path, _get(path, item, "answers", spot), f"{spot}: 'answers'")
                if not answers:
                    raise _malformed(path, f"{spot}: no answer")
                identity = _text(path, item, "id", spot)
                if identity in seen:
                    raise _malformed(path, f"{spot}: a second question with the id {identity[:40]!r}")
                seen.add(identity)
                yield {
                    "id": identity,
                    "context": context,
                    "question": _text(path, item, "question", spot),
                    "answers": [_text(path, answer, "text", spot) for answer in answers],
                    "first": position == 0,
                    "paragraph": paragraph,
                    "article": number,
                }
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


def _get(path: str | Path, holder: Any, key: str, place: str) -> Any:
    if not isinstance(holder, dict) or key not in holder:
        raise _malformed(path, f"{place}: no {key!r}")
    return holder[key]


def _text(path: str | Path, holder: Any, key: str, place: str) -> str:
    value = _get(path, holder, key, place)
    if not isinstance(value, str):
        raise _malformed(path, f"{place}: {key!r} is not text")
    return value


def _list(path: str | Path, value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise _malformed(path, f"{place} is not a list")
    return value
