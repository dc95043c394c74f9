"""From what Snakemake hands over to settings: texts as written, named keys, defaults, clear errors."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mcqlora.config import inputs, recipe
from mcqlora.config.scalars import parsed
from mcqlora.config.sections import Benchmark, Judged, Mix, Model, Samples, Section, Settings
from mcqlora.errors import UserError

LISTED: Mapping[str, type[Section]] = {  # lists of sections
    "benchmarks": Benchmark,
    "train.mix": Mix,
    "judge.models": Judged,
    "judge.samples": Samples,
}
Config = Mapping[str, Any]  # keys and values as a file or the command line has them


class Namespace(dict):
    """A mapping whose keys are attributes too, for rules; pickled as a plain dict, which scripts get."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def namespace(settings: Settings) -> Namespace:
    """The settings as the `config` of Snakemake's rules: `config.train.lora_rank`."""
    return json.loads(json.dumps(settings.model_dump()), object_hook=Namespace)


def load(
    config: Config, named: Config | None = None, files: Iterable[Path] = (), arguments: Iterable[str] = ()
) -> Settings:
    """The settings of a run: what was named, what its recipe implies, and defaults.

    `checks.check` is for what goes across sections.

    Args:
        config: all keys, those of config.yaml among them.
        named: the keys of an overlay or the command line. Of the others only those win over the recipe that
            differ from their defaults, since config.yaml has every key. None: all of `config` are named.
        files, arguments: where they were read, see `as_written`.

    Raises:
        UserError: a key is unknown (the nearest known one is named), or a value is wrong.
    """
    if config.get("recipe") == "reference":
        config = recipe.implied(config, config if named is None else named, Settings().model_dump())
    try:
        settings = Settings.model_validate(as_written(config, files, arguments))
    except ValidationError as error:
        raise UserError("config: " + _explained(error)) from error
    if settings.recipe == "reference" and not recipe.in_force(settings.model_dump()):
        raise UserError(
            "recipe: reference turns nothing on, since every switch is named otherwise; leave them out"
        )
    if settings.base.path:
        settings = settings.model_copy(update={"model": _named_model(settings, config, named)})
    return inputs.with_tokenizer_of_base(settings)


def _named_model(settings: Settings, config: Config, named: Config | None) -> Model:
    """What is said of a given base: keys that were named, or changed in config.yaml itself; else None."""
    told = (config if named is None else named).get("model") or {}
    usual = Model()
    values = {
        key: value if key in told or value != getattr(usual, key) else None
        for key, value in settings.model.model_dump().items()
    }
    return settings.model.model_copy(update=values)


def as_written(config: Config, files: Iterable[Path], arguments: Iterable[str]) -> dict[str, Any]:
    """`config` as Snakemake read it, its numbers, dates and truth values as the texts that they were.

    A text such as `2023_01` or `no` is lost where a value is read without knowing that a text is wanted.
    It was read from `files`, or from one section of theirs, and from `KEY=VALUE` of the command line, the
    `arguments`.
    """
    made: Any = _texts(config, dict(argument.split("=", 1) for argument in arguments if "=" in argument))
    for path in files:
        with contextlib.suppress(yaml.YAMLError, ValueError):  # JSON with tabs keeps its values
            for text in _mappings(yaml.load(Path(path).read_text(encoding="utf-8"), _TextLoader)):
                made = _texts(made, text)
    return _named(made)


def _mappings(text: Any) -> list[Any]:
    """A file, which counts first, and its sections: a module's `config:` may be any of them."""
    parts = text.values() if isinstance(text, Mapping) else ()
    return [text, *(one for value in parts for one in _mappings(value))]


def _named(value: Any) -> Any:
    """Without keys that are no texts, such as numbers."""
    if isinstance(value, list):
        return [_named(item) for item in value]
    return {str(key): _named(item) for key, item in value.items()} if isinstance(value, Mapping) else value


class _TextLoader(yaml.SafeLoader):
    """Reads every scalar as its text, whatever it looks like; `<<` still merges."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012 (PyYAML's)


def _texts(value: Any, text: Any) -> Any:
    if isinstance(value, Mapping):
        known = text if isinstance(text, Mapping) else {}
        written = {repr(parsed(key)): key for key in known}  # False is a language's tag, `no:`
        names = [key if isinstance(key, str) else written.get(repr(key), key) for key in value]
        return {name: _texts(item, known.get(name)) for name, item in zip(names, value.values(), strict=True)}
    if isinstance(value, list | tuple):
        alike = isinstance(text, list) and len(text) == len(value)
        return [_texts(item, text[i] if alike else None) for i, item in enumerate(value)]
    if value is None or isinstance(value, str) or not isinstance(text, str):
        return value
    for parse in (int, float, yaml.safe_load):
        with contextlib.suppress(ValueError, yaml.YAMLError, RecursionError):
            if (found := parse(text)) == value and type(found) is type(value):
                return text
    return value


def _explained(error: ValidationError) -> str:
    """The first error: the key, and what is wrong with it."""
    where = [
        (tuple(map(str, one["loc"])), one) for one in error.errors()
    ]  # an unknown key before what it lacks
    first = min(where, key=lambda one: (one[0][:-1], one[1]["type"] != "extra_forbidden", one[0]))[1]
    keys = [key if key.isprintable() else ascii(key) for key in map(str, first["loc"])]
    place, said = ".".join(key for key in keys if key != "[key]"), first["msg"]
    shown = re.sub(r"(?<=://)[^\s'\"]+", "...", repr(first["input"]))  # an address may have a password in it
    for start in ("Input", "String", "List"):
        said = said.replace(f"{start} should", f"{shown} should", 1)
    match first["type"]:
        case "extra_forbidden":
            return _unknown(keys)
        case "missing":
            return f"{'.'.join(keys[:-1])}: has no {keys[-1]}; add it"
        case "model_type":
            return f"{place}: {shown} should be a section of keys"
        case "string_pattern_mismatch":  # without the value, which may have a password in it
            return f"{place}: does not match {first['ctx']['pattern']}"
    return f"{place}: {said.replace(' after validation', '')}"


def _unknown(keys: list[str]) -> str:
    name, everywhere = ".".join(keys), []
    for section, value in Settings().model_dump().items():
        everywhere += [f"{section}.{key}" for key in value] if isinstance(value, dict) else [section]
    prefix = name.removesuffix(keys[-1])
    kind = LISTED.get(".".join(keys[:-2]))
    known = [f"{prefix}{key}" for key in kind.model_fields] if kind else everywhere
    beside = sorted({key.removeprefix(prefix).split(".")[0] for key in known if key.startswith(prefix)})
    near = [prefix + key for key in difflib.get_close_matches(keys[-1], beside, 1, 0.5)]
    near = near or difflib.get_close_matches(name, everywhere, 1, 0.6)
    return f"unknown key {name}" + (f"; did you mean {near[0]}?" if near else "; config.yaml lists every key")


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file, YAML or JSON; nothing in it is run.

    Raises:
        UserError: no such file, neither YAML nor JSON, or one that asks for objects or for evaluation:
            Snakemake would run Python expressions of a file with `__use_yte__: true`.
    """
    try:
        text = path.read_text(encoding="utf-8")
        with contextlib.suppress(ValueError, RecursionError):
            return _harmless(path, json.loads(text))
        return _harmless(path, yaml.safe_load(text))
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); give a configuration file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}: line {mark.line + 1}" if mark else str(path)
        reason = " ".join(str(getattr(error, "problem", error)).split())[:200]
        raise UserError(f"{place}: not valid YAML ({reason}); mend it") from error


def _harmless(path: Path, found: Any) -> dict[str, Any]:
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys; config.yaml lists every one")
    if "__use_yte__" in found:
        raise UserError(f"{path}: __use_yte__ would run expressions of this file; remove it")
    return found
