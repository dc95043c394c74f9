from pathlib import Path

import pytest

from mcqlora.fingerprint import closure, fingerprint

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
        return fingerprint(folder / "scripts" / name, folder)

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


def test_a_script_may_have_the_name_of_a_module(make):
    assert make(name="first.py") != make(name="first.py", first=MODULES["first"].replace("+ 1", "+ 2"))


def test_of_the_project():
    source = ROOT / "src"
    scripts = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
    assert len({fingerprint(script, source) for script in scripts}) == len(scripts) > 5
    train = {path.stem for path in closure(ROOT / "workflow" / "scripts" / "train.py", source)}
    assert {"training", "network", "adapters", "schedule", "io"} <= train
    assert not {"figures", "statistics", "squad"} & train
