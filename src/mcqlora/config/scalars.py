"""Scalars as the sections want them, however they were written.

Keys nested in `--config` hand over texts, and YAML 1.1 takes `2023_01` for a number, `no` for a truth value
and `1e-4` for a text.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from typing import Annotated

import yaml
from pydantic import BeforeValidator, WrapValidator
from pydantic_core import PydanticCustomError


def _text(value: object) -> object:
    if isinstance(value, bool | float | datetime.datetime):
        raise PydanticCustomError("quotes", "was read as {value}; write it in quotes", {"value": str(value)})
    return str(value) if isinstance(value, int | datetime.date) else value


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
