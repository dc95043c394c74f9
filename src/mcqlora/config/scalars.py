"""Scalars as the sections want them, however they were written.

Keys nested in `--config` hand over texts, and YAML 1.1 takes `2023_01` for a number, `no` for a truth value
and `1e-4` for a text.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable
from typing import Annotated

import yaml
from pydantic import BeforeValidator, WrapValidator
from pydantic_core import PydanticCustomError

# Line ends, other control characters, and bytes that are no UTF-8.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _text(value: object) -> object:
    if isinstance(value, int | float | datetime.date):  # `loading.as_written` did not find how it was written
        raise PydanticCustomError("quotes", "was read as {value}; write it in quotes", {"value": str(value)})
    if isinstance(value, str) and (found := _UNWRITABLE.search(value)):
        said = "has the control character {found}, such as the end of a line; remove it"
        raise PydanticCustomError("control", said, {"found": ascii(found[0])})
    return value


def parsed(value: object) -> object:
    """What a text says."""
    if isinstance(value, str):
        for parse in (yaml.safe_load, float):
            with contextlib.suppress(yaml.YAMLError, ValueError):
                if not isinstance(found := parse(value), str):
                    return found
    return value


def _whole(value: object) -> object:
    value = parsed(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 1e3 and 2.0


def _as_given(value: object, check: Callable[[object], float]) -> object:
    """The checked number itself: an integer stays one, so that it is written as it was given."""
    value = parsed(value)
    check(value)
    return value


PARSED, TEXT, WHOLE = BeforeValidator(parsed), BeforeValidator(_text), BeforeValidator(_whole)
Number = Annotated[float, WrapValidator(_as_given)]
