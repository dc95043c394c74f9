import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from mcqlora.provenance.fingerprint import fingerprint, modules, software

ROOT = Path(__file__).parents[2]
SCRIPT = '''"""What it does."""

from mcqlora import first as alias
from mcqlora.second import helper

print(alias.value(helper(1)))
'''
MODULES = {
    "first": '"""First."""\n\n\ndef value(x):\n    """The value."""\n    return x + 1\n',
    "second": "def helper(x):\n    from mcqlora import third\n\n    return third.NUMBER * x\n",
    "third": "import mcqlora.first\n\nNUMBER = 3\n",  # a circle
    "unused": "NUMBER = 4\n",
}
LARGEST = {"convert": 13, "peft": 10, "groups": 5}  # modules of a hash


@pytest.fixture
def make(tmp_path):
    """A function that writes a script and a package, changed as told, and returns the fingerprint."""
    made = iter(range(100))

    def fingerprint_of(name="job.py", script=SCRIPT, **changes):
        folder = tmp_path / str(next(made))  # another one each time: files are read once a process
        (folder / "mcqlora").mkdir(parents=True)
        for module, text in (MODULES | changes).items():
            path = folder / "mcqlora" / f"{module}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
        (folder / "scripts").mkdir()
        (folder / "scripts" / name).write_text(script)
        return fingerprint(folder / "scripts" / name, source=folder)

    return fingerprint_of


def test_it_is_the_same_for_the_same_code_elsewhere(make):
    assert make() == make()
    assert len(make()) == 16


def test_it_is_the_same_in_every_python(make):
    """3.12 parses types' parameters, and the width of a number in another way."""
    code = (
        "class Kept:\n    async def of(self, x, width):\n        return f'{x:<{width}}'\n\n"
        + MODULES["first"]
    )
    assert make(first=code) == "4187ba7c5ca00cd0"


@pytest.mark.parametrize(
    "first",
    [
        "# A comment.\n" + MODULES["first"],
        MODULES["first"].replace("The value.", "Said\n    otherwise."),
        MODULES["first"].replace('"""First."""\n', ""),
        'def value(x):  return (x\n   + 1)  # why\n\n\n"""First."""\n'.replace('\n\n\n"""First."""', ""),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(make, first):
    assert make(first=first) == make()


def test_the_scripts_own_comments_do_not_count(make):
    assert make(script=SCRIPT.replace("What it does.", "Other words.") + "# the end\n") == make()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [("first", "+ 1", "+ 2"), ("second", "* x", "- x"), ("third", "NUMBER = 3", "NUMBER = 5")],
)
def test_a_change_in_a_module_counts_however_far_it_is(make, module, old, new):
    assert make(**{module: MODULES[module].replace(old, new)}) != make()


def test_a_change_in_the_script_counts(make):
    assert make(script=SCRIPT.replace("helper(1)", "helper(2)")) != make()


def test_a_module_that_is_not_imported_does_not_count(make):
    assert make(unused="NUMBER = 5\n") == make()


def test_text_that_is_no_docstring_counts(make):
    changed = MODULES["first"].replace("return x + 1", "return 'text'")
    assert make(first=changed) != make(first=changed.replace("'text'", "'other'"))


def test_the_package_itself_counts(make):
    assert make(__init__="NUMBER = 5\n") != make(__init__="NUMBER = 6\n")


def test_what_only_logs_and_records_does_not_count(make):
    script = SCRIPT.replace("second import", "job import")
    assert make(script=script, job="helper = 1\n") == make(script=script, job="helper = 2\n")


def test_a_module_in_a_package_counts_and_so_do_the_packages_that_hold_it(make):
    """Whichever way it is imported, at the top or in a function."""
    made = {"wing/__init__": "", "wing/inner/__init__": "", "wing/inner/leaf": "NUMBER = 1\n"}
    for line in (
        "from mcqlora.wing.inner import leaf",
        "from mcqlora.wing.inner.leaf import NUMBER",
        "import mcqlora.wing.inner.leaf as leaf",
        "def later():\n    from mcqlora.wing.inner import leaf",
        "if 0:\n    pass\nelse:\n    with x:\n        from mcqlora.wing.inner import leaf",
    ):
        script = f"{line}\n"
        before = make(script=script, **made)
        for name in made:
            assert make(script=script, **made | {name: "NUMBER = 2\n"}) != before, (line, name)


def test_a_type_checkers_imports_do_not_count(make):
    """What runs instead of them does, and so does a condition that is only named alike."""
    quiet = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from mcqlora import unused\n"
    first = quiet + MODULES["first"]
    plain = make(first="from typing import TYPE_CHECKING\n\n" + MODULES["first"])
    assert make(first=first) == plain
    assert make(first=first, unused="NUMBER = 5\n") == plain
    assert make(first=first.replace("if TYPE", "if typing.TYPE")) == plain
    assert make(first=first.replace("unused", "third")) == plain
    assert make(first=quiet + "else:\n    NUMBER = 1\n" + MODULES["first"]) != plain
    assert make(first=first.replace("if TYPE", "if not TYPE")) != plain


def test_only_the_recording_modules_themselves_are_left_out(make):
    script = SCRIPT.replace("second import", "jobs import")
    assert make(script=script, jobs="helper = 1\n") != make(script=script, jobs="helper = 2\n")


def test_a_file_that_was_changed_is_read_again(tmp_path):
    (tmp_path / "job.py").write_text("print(1)\n")
    before = fingerprint(tmp_path / "job.py", source=tmp_path)
    (tmp_path / "job.py").write_text("print(10)\n")
    assert fingerprint(tmp_path / "job.py", source=tmp_path) != before


def test_several_scripts_count_together(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(f"print('{name}')\n")
    paths = [tmp_path / "a.py", tmp_path / "b.py"]
    assert fingerprint(*paths, source=tmp_path) == fingerprint(*reversed(paths), source=tmp_path)
    assert fingerprint(*paths, source=tmp_path) != fingerprint(paths[0], source=tmp_path)


def test_software_is_what_the_code_imports(tmp_path):
    (tmp_path / "mcqlora").mkdir()
    (tmp_path / "mcqlora" / "own.py").write_text("def later():\n    import yaml\n")
    (tmp_path / "job.py").write_text(
        "import os\nimport numpy.random\nimport no_such_one\nfrom mcqlora import own\n"
    )
    found = software(tmp_path / "job.py", source=tmp_path)
    assert found.keys() == {"Python", "numpy", "PyYAML", "no_such_one"}
    assert found["numpy"] == numpy.__version__ and found["no_such_one"] == "not installed"


def test_a_script_may_have_the_name_of_a_module(make):
    assert make(name="first.py") != make(name="first.py", first=MODULES["first"].replace("+ 1", "+ 2"))


def test_of_the_project():
    """An import is a re-run: what a script's hash must hold, and what it must not."""
    scripts = ROOT / "workflow" / "scripts"
    found = {script.stem: modules(script) for script in sorted(scripts.glob("*.py"))}
    assert len({fingerprint(scripts / f"{name}.py") for name in found}) == len(found) > 5
    assert {"train/finetune", "train/workplace", "model/weights", "train/schedule", "files"} <= {
        *found["train"]
    }
    assert not {"report", "evaluate", "storage"} & {name.split("/")[0] for name in found["train"]}
    assert {
        name: len(found[name]) for name in ("convert", "peft", "groups") if len(found[name]) > LARGEST[name]
    } == {}
    assert not {"data/readers", "storage/archives"} & {*found["demo"]}


def test_the_table_in_the_documentation_is_that_of_the_code():
    made = subprocess.run([sys.executable, "scripts/closures"], cwd=ROOT, capture_output=True, text=True)
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert made.stdout.count("\n") > 20 and made.stdout in page, "run scripts/closures docs/architecture.md"
