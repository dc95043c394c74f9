"""Who may import whom. An import is a re-run, since the hash of a rule holds what its script imports."""

import ast
import subprocess
import sys
from functools import cache, partial
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "mcqlora"
PATHS = sorted(PACKAGE.rglob("*.py"))

# Each imports only from the lines above its own; those on one line do not import each other.
FLOORS = [
    {"errors"},
    {"files"},
    {"hashing"},
    {"launch", "storage"},
    {"data"},
    {"tokens"},
    {"model"},
    {"train", "evaluate"},
    {"interop", "report"},
    {"compare"},
    {"config"},
]
# Beside these floors, for scripts and Snakefile alone.
BESIDE = {
    "demo": {"errors", "files", "hashing", "data", "tokens"},
    "job": {"errors", "files"},
    "machine": {"errors", "launch"},
    "provenance": {"errors", "files", "hashing", "storage"},
    "terminal": {"files", "report"},
}
# No hash holds provenance, so nothing that decides a result may come from there. These take hashes and names.
OF_PROVENANCE = {
    "config/checks",
    "evaluate/foreign",
    "evaluate/model",
    "job",
    "train/pretrain",
    "train/workplace",
}

MINDSPORE = {"mindspore", "mindformers"}
NEEDS_MINDSPORE = {"model/decoder", "model/flash", "model/turns", "train/dropout", "train/in_turns"}
NEEDS_MINDSPORE |= {"train/step", "train/callbacks", "train/validation_rows"}


def name(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")


def wing(module):
    return module.split("/")[0]


def running(root, functions=True):
    """The nodes of a tree that run, without `if TYPE_CHECKING:`; on demand without those in functions."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif functions or not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path, nodes=ast.walk):
    """Dotted names that a file imports: modules, and names in them."""
    for node in nodes(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import, which the fingerprint does not follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(parts):
    """The module that a dotted name of the package is, or is in."""
    path = PACKAGE.joinpath(*parts)
    there = path.with_suffix(".py").exists() or path.is_dir()
    return "/".join(parts) if there else module_of(parts[:-1])


def graph(nodes):
    """What of the package each module imports."""
    return {
        name(path): {
            module_of(imported.split(".")[1:])
            for imported in imports(path, nodes)
            if imported.split(".")[0] == PACKAGE.name
        }
        for path in PATHS
        if path.name != "__init__.py"
    }


GRAPH = graph(ast.walk)  # with what only a type checker imports


def test_every_wing_has_its_floor():
    wings = {wing(module) for module in GRAPH}
    assert wings == set().union(*FLOORS, BESIDE)


def test_imports_go_down():
    allowed = {
        own: set().union(*FLOORS[:floor]) | {own} for floor, wings in enumerate(FLOORS) for own in wings
    }
    allowed |= {own: below | {own} for own, below in BESIDE.items()}
    up = [
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other in sorted(others)
        if wing(other) not in allowed[wing(module)]
        and not (module in OF_PROVENANCE and wing(other) == "provenance")
    ]
    assert up == []


def test_no_module_imports_itself_by_others():
    TopologicalSorter(graph(running)).prepare()  # raises CycleError


def test_mindspore_is_imported_late():
    """But in the modules that are made of its classes."""
    at_the_top = partial(running, functions=False)
    early = {
        name(path) for path in PATHS if MINDSPORE & {one.split(".")[0] for one in imports(path, at_the_top)}
    }
    assert early == NEEDS_MINDSPORE


def test_everything_else_is_imported_without_mindspore():
    """In a process that has imported nothing yet; also not by a library."""
    light = sorted(f"mcqlora.{module.replace('/', '.')}" for module in GRAPH.keys() - NEEDS_MINDSPORE)
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'mindspore', 'mindformers'} & sys.modules.keys(), name\n"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, *light], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_no_module_has_the_name_of_one_of_the_standard_library():
    assert {module for module in GRAPH if Path(module).name in sys.stdlib_module_names} == set()


@pytest.mark.parametrize("path", [path for path in PATHS if path.name == "__init__.py"], ids=name)
def test_a_package_says_in_a_sentence_what_is_in_it(path):
    (only,) = tree(path).body
    said = ast.literal_eval(only.value)
    assert said.endswith(".") and said.count(". ") == 0 and "\n" not in said


def test_private_names_stay_in_their_module():
    private = [
        f"{path.relative_to(ROOT)}: {imported}"
        for path in [*PATHS, *(ROOT / "workflow" / "scripts").glob("*.py")]
        for imported in imports(path)
        if imported.startswith(f"{PACKAGE.name}.") and any(part[0] == "_" for part in imported.split("."))
    ]
    assert private == []
