"""Hashes of code: what a script and everything of ours that it imports *mean*, not when they were saved."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGE = "mcqlora"
SOURCE = Path(__file__).parents[2]  # the folder that holds the package
RECORDING = ("mcqlora.job", "mcqlora.provenance")  # what they log and record decides no result
DISTRIBUTIONS = {"yaml": "PyYAML"}  # of imported names that are not their distribution's


def fingerprint(*scripts: Path, source: Path = SOURCE) -> str:
    """Hex hash over the syntax trees of `scripts` and of what they import of the package, directly or not.

    Comments, layout and docstrings don't count. `source` is the folder that holds the package.
    """
    hashes = sorted((_name(path, source), _source(path).hash) for path in closure(*scripts, source=source))
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]


def closure(*scripts: Path, source: Path = SOURCE) -> set[Path]:
    """`scripts` and what they import of the package, directly or through one another; without `RECORDING`."""
    seen: set[Path] = set()
    waiting = [Path(script) for script in scripts]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting += _own(path, source)
    return seen


def software(*scripts: Path, source: Path = SOURCE) -> dict[str, str]:
    """Versions of Python and of the libraries that the closure of `scripts` imports, by distribution."""
    names = {
        name.split(".")[0] for path in closure(*scripts, source=source) for name in _source(path).imports
    }
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name in sorted(names - {PACKAGE, "__future__"} - sys.stdlib_module_names):
        distribution = DISTRIBUTIONS.get(name, name)
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            found[distribution] = "not installed"
    return found


def _own(path: Path, source: Path) -> Iterator[Path]:
    """Files of the package that a file imports, and those of the packages that hold them, but `RECORDING`."""
    for name in _source(path).imports:
        if name.split(".")[0] != PACKAGE or name.startswith(RECORDING):
            continue
        parts = name.split(".")
        module = source.joinpath(*parts).with_suffix(".py")
        if module.exists():
            yield module
        for depth in range(1, len(parts) + 1):
            package = source.joinpath(*parts[:depth], "__init__.py")
            if package.exists():
                yield package


def _name(path: Path, source: Path) -> str:
    """A module's path in the package, or a script's file name: the same wherever the checkout is."""
    return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.name


def _once(read):
    """`read(path)`, once for every state of the file."""
    cached = functools.cache(lambda path, *state: read(path))

    @functools.wraps(read)
    def wrapped(path: Path):
        state = path.stat()
        return cached(path, state.st_mtime_ns, state.st_size)

    return wrapped


class _Source(NamedTuple):
    """What a file's syntax tree says: its hash, and the dotted names of modules that it imports."""

    imports: frozenset[str]
    hash: str


@_once
def _source(path: Path) -> _Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom):
            # `from a.b import c`: c may be a module or a name in one; where it is none there is no such file.
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return _Source(frozenset(names), hashlib.sha256(ast.dump(tree).encode()).hexdigest())


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements and what holds some; `ast.walk` looks into every expression, which takes ten times.

    What is imported for a type checker alone (`if TYPE_CHECKING`) runs nowhere, and is left out.
    """
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())
