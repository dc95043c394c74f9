"""Hashes of code: what a script and everything of ours that it imports *mean*, not when they were saved."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "mcqlora"


def fingerprint(script: Path, source: Path) -> str:
    """Hex hash over the syntax trees of `script` and of the package modules that it imports, directly or not.

    Comments, layout and docstrings don't count. `source` is the folder that holds the package.
    """
    # Pairs, not a mapping: scripts/base.py and the package's base.py have one name.
    hashes = sorted((path.name, _tree_hash(path)) for path in closure(script, source))
    return hashlib.sha256(repr(hashes).encode()).hexdigest()[:16]


def closure(script: Path, source: Path) -> set[Path]:
    """`script` and the files of the package that it imports, directly or through one another."""
    seen: set[Path] = set()
    waiting = [Path(script)]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting += [source / PACKAGE / f"{name}.py" for name in _imports(path)]
    return seen


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE + "."):
            modules.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            modules |= {a.name.split(".")[1] for a in node.names if a.name.startswith(PACKAGE + ".")}
    return tuple(sorted(modules))


@functools.cache
def _tree_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
