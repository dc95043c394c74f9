"""Hashes of code: what a script and all that it imports of the package *mean*, not when they were saved."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, TypeGuard

PACKAGE = "mcqlora"
SOURCE = Path(__file__).parents[2]  # the folder that holds the package
RECORDING = ("mcqlora.job", "mcqlora.provenance")  # what they log and record decides no result
DISTRIBUTIONS = {"yaml": "PyYAML"}  # of imported names that are not their distribution's


def fingerprint(*scripts: Path, source: Path = SOURCE) -> str:
    """Hex hash over the syntax trees of `scripts` and of what they import of the package, directly or not.

    Comments, layout, docstrings and what only a type checker imports do not count. `source` is the folder
    that holds the package.
    """
    found = closure(*scripts, source=source)
    hashes = sorted((_name(path, source), _read(path, source).hash) for path in found)
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]


def closure(*scripts: Path, source: Path = SOURCE) -> set[Path]:
    """`scripts` and what they import of the package, directly or through one another; without `RECORDING`."""
    seen, waiting = set[Path](), list(scripts)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _read(path, source).own
    return seen


def modules(script: Path, source: Path = SOURCE) -> list[str]:
    """The modules that a script's hash holds, such as "data/alpaca", without the packages' `__init__`."""
    names = (_name(path, source / PACKAGE) for path in closure(script, source=source) - {script})
    return sorted(name.removesuffix(".py") for name in names if not name.endswith("__init__.py"))


def software(*scripts: Path, source: Path = SOURCE) -> dict[str, str]:
    """Versions of Python and of the libraries that the closure of `scripts` imports, by distribution."""
    imports = (_read(path, source).imports for path in closure(*scripts, source=source))
    names = {name.split(".")[0] for names in imports for name in names}
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name in sorted(names - {PACKAGE, "__future__"} - sys.stdlib_module_names):
        distribution = DISTRIBUTIONS.get(name, name)
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            found[distribution] = "not installed"
    return found


def _name(path: Path, source: Path) -> str:
    """A module's path in `source`, or a script's file name: the same wherever the checkout is."""
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name


class _File(NamedTuple):
    """What a file's syntax tree says."""

    hash: str
    imports: frozenset[str]  # dotted names of modules, and of names in them
    own: frozenset[Path]  # the files of the package that it imports, without `RECORDING`


def _read(path: Path, source: Path) -> _File:
    """Read a file once for each of its states, since a run asks for it once per script."""
    state = path.stat()
    return _parse(path, source, state.st_mtime_ns, state.st_size)


@functools.cache
def _parse(path: Path, source: Path, *state: int) -> _File:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom):
            # `from a.b import c`: c may be a module or a name in one; of a name there is no such file.
            imports |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
    meaning: list[str] = []
    _dump(tree, meaning)
    digest = hashlib.sha256("\0".join(meaning).encode()).hexdigest()
    return _File(digest, frozenset(imports), frozenset(_own(imports, source)))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements that run, and what holds some; drop docstrings and what only a type checker runs.

    `ast.walk` would look into every expression, which takes ten times as long.
    """
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
            node.body = [
                kept for one in node.body for kept in (one.orelse if _for_types_alone(one) else (one,))
            ]
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


def _for_types_alone(node: ast.stmt) -> TypeGuard[ast.If]:
    """Is it `if TYPE_CHECKING:`, of which only the `else` ever runs?"""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _dump(node: ast.AST, parts: list[str]) -> None:
    """Append the tree's nodes and values to `parts`, depth first; `ast.dump` would take twice as long.

    The same in each Python that runs the project: 3.12 has a new field, and an empty text in some f-strings.
    """
    parts.append(type(node).__name__)
    for field in node._fields:
        value = getattr(node, field, None)
        if field == "type_params" and not value:
            continue
        values = value if isinstance(value, list) else [value]
        if isinstance(node, ast.JoinedStr):
            values = [one for one in values if not (isinstance(one, ast.Constant) and one.value == "")]
        parts.append(str(len(values)))
        for one in values:
            if isinstance(one, ast.AST):
                _dump(one, parts)
            else:
                parts.append(repr(one))


def _own(imports: set[str], source: Path) -> Iterator[Path]:
    """Files of the package by imported names, and the `__init__.py` of the packages that hold them."""
    for name in imports:
        parts = name.split(".")
        if parts[0] != PACKAGE or any(name == one or name.startswith(f"{one}.") for one in RECORDING):
            continue
        packages = (source.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1))
        yield from filter(Path.exists, (source.joinpath(*parts).with_suffix(".py"), *packages))
