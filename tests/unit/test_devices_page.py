"""docs/devices.md's tables of rendered keys: what reads each, what holds it, and that none is missing."""

import ast
import re
from dataclasses import replace
from importlib.metadata import files
from pathlib import Path

import pytest
import yaml

from tests.helpers.networks import INTERNLM_7B
from tests.unit.test_finetune import SMALL, cpu, rendered

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
PAGE = PAGE.partition("## What is rendered")[2].partition("\n## ")[0]
LINE = r"`([\w/]+\.py):(\d+)`"
ROWS = re.findall(rf"^\| `([\w.]+)` \| .* \| {LINE} \| `(tests/[\w/]+\.py)`, `(\w+)` \|$", PAGE, re.MULTILINE)
DEFAULTS = re.findall(rf"^\| `([\w.]+)` \| {LINE} \|$", PAGE, re.MULTILINE)
OTHERS = re.findall(r"`([\w.]+)`", "".join(re.findall(r"^\| [a-z][^`|]* \|(.*)\|$", PAGE, re.MULTILINE)))
KNOWN = [*(row[0] for row in ROWS + DEFAULTS), *OTHERS]


def renderings():
    """The golden ones, and one that has every key that only some trainings have."""
    added = {"head_dim": 64, "qk_norm": True, "tied": True, "bare_output": True}
    network = replace(INTERNLM_7B, **added, rope_scaling={"rope_type": "linear", "factor": 2.0})
    size = replace(SMALL, workers=8, tensor=4, batch_size=2, rows=40)
    golden = sorted((ROOT / "tests" / "golden").glob("training-*.yaml"))
    return [
        *(yaml.safe_load(path.read_text()) for path in golden),
        rendered(cpu(network=network, device="Ascend", size=size)),
    ]


def leaves(value, path=()):
    """(path, value) of all that holds no other keys; items of a list have the list's path."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [leaf for item in value for leaf in leaves(item, path)]
    return [(path, value)]


def names(path):
    """What the page may call a key or one that holds it: by its section, as `section.key`."""
    path = ["train_dataset" if key == "eval_dataset" else key for key in path]
    return {".".join(path[max(0, end - 2) : end]) for end in range(1, len(path) + 1)}


LEAVES = [leaf for config in renderings() for leaf in leaves(config)]


def source(file, line):
    file = file if file.startswith("mindspore/") else f"mindformers/{file}"
    installed = next(path for path in files(file.split("/")[0]) if str(path) == file)
    return Path(installed.locate()).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_the_tables_are_read():
    assert (len(ROWS) > 50, len(DEFAULTS) > 20, len(OTHERS) > 10) == (True, True, True)
    assert len(KNOWN) == len(set(KNOWN))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_as_it_says(row):
    key, file, line, test, name = row
    assert re.search(rf"\b{key.split('.')[-1]}\b", source(file, line))
    assert f"def {name}(" in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("row", DEFAULTS, ids=[row[0] for row in DEFAULTS])
def test_a_default_is_what_the_source_takes(row):
    """As `key = value`, `key: type = value` or `.get('key', value)`."""
    key, file, line = row
    taken = rf"\b{key.split('.')[-1]}(?:: \w+ =| =|=|',) ?(\"[^\"]*\"|'[^']*'|[-\w.]+)"
    default = ast.literal_eval(re.search(taken, source(file, line))[1])
    values = [value for path, value in LEAVES if key in names(path)]
    assert values and all(value == default for value in values)


def test_every_rendered_key_is_on_the_page():
    missing = {".".join(path) for path, _ in LEAVES if path[-1] != "type" and not names(path) & {*KNOWN}}
    assert sorted(missing) == []


def test_every_key_on_the_page_is_rendered():
    assert sorted({*KNOWN}.difference(*(names(path) for path, _ in LEAVES))) == []
