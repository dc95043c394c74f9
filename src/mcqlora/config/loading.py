"""The configuration: defaults, checks, and errors that name the nearest known key."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mcqlora.errors import UserError
from mcqlora.storage import addresses

GENERATED = "generated"  # value of `data` for the embedded benchmark


def check(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with every default of the schema filled in.

    Raises:
        UserError: a key is unknown (the nearest known one is named) or a value is of the wrong kind.
    """
    import jsonschema

    filled = _filled(config, schema)
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(filled), key=lambda e: list(map(str, e.path))
    )
    if errors:
        raise UserError("config: " + _explained(errors[0], schema))
    return filled


def _filled(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        filled = {key: _filled(item, properties.get(key, {})) for key, item in value.items()}
        for key, sub in properties.items():
            if key not in filled and "default" in sub:
                filled[key] = _filled(sub["default"], sub)
        return filled
    if isinstance(value, list):
        return [_filled(item, schema.get("items", {})) for item in value]
    if isinstance(value, str) and _types(schema) and "string" not in _types(schema):
        value = _parsed(value)
    if value == "null" and "null" in _types(schema):
        return None
    if isinstance(value, float) and value.is_integer() and _integer(schema):
        return int(value)  # 1e3 and 2.0, which are integers to JSON Schema
    return value


def _parsed(text: str) -> Any:
    """What `text` says: `--config` hands over values of nested keys so, and to YAML 1.1 1e-4 is a text."""
    for parse in (yaml.safe_load, float):
        with contextlib.suppress(yaml.YAMLError, ValueError):
            value = parse(text)
            if not isinstance(value, str):
                return value
    return text


def _types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    found = schema.get("type", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _integer(schema: Mapping[str, Any]) -> bool:
    return "integer" in _types(schema) and "number" not in _types(schema)


def _explained(error: Any, schema: Mapping[str, Any]) -> str:
    place = ".".join(map(str, error.path))
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = min(str(key) for key in error.instance if key not in known)
        name = f"{place}.{unknown}" if place else unknown
        everywhere = dict(known_keys(schema))
        near = difflib.get_close_matches(unknown, known, 1, 0.5) or difflib.get_close_matches(
            name, everywhere, 1, 0.6
        )
        hint = f"; did you mean {place + '.' if place and near[0] in known else ''}{near[0]}?" if near else ""
        return f"unknown key {name}{hint or '; config.yaml lists every key'}"
    if error.validator == "pattern":  # without the value, which may have a password in it
        return f"{place}: does not match {error.validator_value}"
    return f"{place or 'the file'}: {error.message}"


def known_keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, its schema) of every leaf."""
    for key, sub in schema.get("properties", {}).items():
        if "properties" in sub:
            yield from known_keys(sub, f"{prefix}{key}.")
        else:
            yield prefix + key, sub


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file, YAML or JSON; nothing in it is run.

    Raises:
        UserError: no such file, neither YAML nor JSON, or one that asks for objects or for evaluation:
            Snakemake would run Python expressions of a file with `__use_yte__: true`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); give a configuration file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{path}: line {mark.line + 1}" if mark else str(path)
            reason = " ".join(str(getattr(error, "problem", error)).split())[:200]
            raise UserError(f"{place}: not valid YAML ({reason}); mend it") from error
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys; config.yaml lists every one")
    if "__use_yte__" in found:
        raise UserError(f"{path}: __use_yte__ would run expressions of this file; remove it")
    return found


def benchmark_inputs(config: Mapping[str, Any]) -> list[str]:
    """The CSV files, or the archive, of each benchmark below `data`, sorted; not of those with an address.

    Raises:
        UserError: `data`, a benchmark's folder or archive is not there, a folder holds no CSV file, or a name
            has braces or is no line of text.
    """
    root = Path(config["data"])
    if not root.is_dir():
        raise UserError(
            f"data: there is no folder {root}; give the one that holds the benchmarks: --config data=FOLDER"
        )
    files: list[str] = []
    for benchmark in config["benchmarks"]:
        if addresses.is_address(benchmark["path"]):
            continue
        if addresses.suffix(benchmark["path"]):
            files.append(data_file(config, benchmark["path"]))
            continue
        folder = root / benchmark["path"]
        found = sorted(map(str, folder.glob("*/*.csv")))
        if not found:
            raise UserError(
                f"{folder}: no CSV files of benchmark {benchmark['name']}; set benchmarks or data"
            )
        files += map(_plain, found)
    return files


def data_file(config: Mapping[str, Any], path: str) -> str:
    """A file named in the config, relative to `data_root`.

    Raises:
        UserError: it is not there, or its name has braces or is no line of text.
    """
    file = data_root(config) / path
    if not file.is_file():
        raise UserError(f"{file}: no such file; paths in the config are relative to data ({config['data']})")
    return _plain(str(file))


def _plain(path: str) -> str:
    if not path.isprintable():  # nor is a name in bytes that are no UTF-8
        raise UserError(f"{path!a}: its name is no line of text; rename it")
    if "{" in path or "}" in path:
        raise UserError(f"{path}: to Snakemake braces in a path are wildcards; rename it")
    return path


def data_root(config: Mapping[str, Any]) -> Path:
    """What paths in the config are relative to: `data`, or the working directory if that is generated."""
    return Path() if config["data"] == GENERATED else Path(config["data"])
