"""What `recipe: reference` sets, a switch for each deviation; docs/data.md explains them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcqlora.config.scalars import parsed

Keys = Mapping[str, Any]
REFERENCE: Keys = {
    "split": "recipe",
    "read": {
        "first_row_lost": True,
        "pandas_na": True,
        "strip_letters": False,
        "drop_identical_options": False,
        "drop_contradictory": False,
    },
    "shuffle": {"pin_references": False, "balance_letters": False, "reparse_options": True},
    "holdout": {"near_duplicate_threshold": None},
    "tokenizer": {"unused_marks": True},
    "encode": {"mask_full_rows": True, "on_long": "truncate"},
}


def implied(config: Keys, named: object, defaults: Keys, switches: Keys = REFERENCE) -> dict[str, Any]:
    """`config` with the recipe's switches; one that is `named`, or differs from its default, wins."""
    made, given = dict(config), parsed(named)  # the command line hands over a section as text, too
    known = given if isinstance(given, Mapping) else {}
    for key, value in switches.items():
        own = config.get(key, defaults[key])
        if not isinstance(value, Mapping):
            if key not in known and own == defaults[key]:
                made[key] = value
        elif (section := parsed(own)) is None or isinstance(section, Mapping):  # else the sections refuse it
            made[key] = implied(section or {}, known.get(key), defaults[key], value)
    return made


def in_force(made: Keys, switches: Keys = REFERENCE) -> bool:
    """Is any of the switches on?"""
    return any(in_force(made[k], v) if isinstance(v, Mapping) else made[k] == v for k, v in switches.items())
