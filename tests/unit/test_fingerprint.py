from pathlib import Path

import numpy
import pytest

from mcqlora.provenance.fingerprint import closure, fingerprint, software

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


@pytest.fixture
def make(tmp_path):
    """A function that writes a script and a package, changed as told, and returns the fingerprint."""
    made = iter(range(100))

    def fingerprint_of(name="job.py", script=SCRIPT, **changes):
        folder = tmp_path / str(next(made))  # another one each time: files are read once a process
        (folder / "mcqlora").mkdir(parents=True)
        for module, text in (MODULES | changes).items():
            (folder / "mcqlora" / f"{module}.py").write_text(text)
        (folder / "scripts").mkdir()
        (folder / "scripts" / name).write_text(script)
        return fingerprint(folder / "scripts" / name, source=folder)

    return fingerprint_of


def test_it_is_the_same_for_the_same_code_elsewhere(make):
    assert make() == make()
    assert len(make()) == 16


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
    source = ROOT / "src"
    scripts = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
    assert len({fingerprint(script, source=source) for script in scripts}) == len(scripts) > 5
    train = {path.stem for path in closure(ROOT / "workflow" / "scripts" / "train.py", source=source)}
    assert {"finetune", "workplace", "weights", "schedule", "files"} <= train
    assert not {"figures", "intervals", "squad"} & train
