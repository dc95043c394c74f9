"""`python -m mcqlora.config` writes config.yaml and the JSON schema, which are made from the sections."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from mcqlora import files
from mcqlora.config.sections import Section, Settings

PROJECT = Path(__file__).parents[3]
SCHEMA = "workflow/schemas/config.schema.yaml"
CONFIG_HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
# The embedded default: the whole pipeline on a laptop's CPU in minutes, on a benchmark generated from rules.
# Every key that there is, with what it does. Change values here, in an overlay (--configfile config/X.yaml),
# or on the command line (--config run=mine 'train={{lora_rank: 8}}').
# The defaults are in src/mcqlora/config/sections.py.

"""
SCHEMA_HEAD = """\
# Made from src/mcqlora/config/sections.py by python -m mcqlora.config, for editors: config.yaml names it.
$schema: https://json-schema.org/draft/2020-12/schema
"""
BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def config_yaml() -> str:
    """config.yaml: every key with its default, and what it is for as a comment."""
    settings, lines = Settings(), []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Section):
            lines += ["", f"{name}: # {field.description}"]
            lines += [_line(key, getattr(value, key), own) for key, own in type(value).model_fields.items()]
        elif name == "benchmarks":
            lines += ["", f"{name}: # {field.description}"]
            lines += [f"  - {_flow(one)}" for one in value]
        else:
            lines.append(_line(name, value, field).strip())
    return CONFIG_HEAD + "\n".join(lines) + "\n"


def _line(key: str, value: Any, field: FieldInfo) -> str:
    return f"  {key}: {_flow(value)} # {field.description}"


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Section):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, list):
        value = [one.model_dump(exclude_none=True) if isinstance(one, Section) else one for one in value]
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def schema_yaml() -> str:
    made = _tidy(Settings.model_json_schema())
    return SCHEMA_HEAD + yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=110)


def _tidy(node: Any) -> Any:
    """Without the titles that repeat names, and with `type: [integer, "null"]` for a choice of two."""
    if isinstance(node, list):
        return [_tidy(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key != "title" or not isinstance(value, str)}
    made = {BOUNDS.get(key, key): _tidy(value) for key, value in kept.items()}
    if {"type": "null"} in made.get("anyOf", []):
        (other,) = [one for one in made.pop("anyOf") if one != {"type": "null"}]
        made |= other | {"type": [other["type"], "null"]}
        if "enum" in other:
            made["enum"] = [*other["enum"], None]
    return made


if __name__ == "__main__":
    files.write_text(PROJECT / "config.yaml", config_yaml())
    files.write_text(PROJECT / SCHEMA, schema_yaml())
