"""docs/devices.md's table of rendered keys: what reads them, and what holds them."""

import re
from importlib.metadata import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = r"^\| `(\w+)` \| .* \| `([\w/]+\.py):(\d+)` \| `(tests/[\w/]+\.py)`(?:, `(\w+)`)? \|$"
ROWS = re.findall(ROW, (ROOT / "docs" / "devices.md").read_text(encoding="utf-8"), re.MULTILINE)


def rendered(value):
    """Every key of a YAML, at any depth."""
    if isinstance(value, dict):
        return {*value, *(key for inner in value.values() for key in rendered(inner))}
    return {key for inner in value for key in rendered(inner)} if isinstance(value, list) else set()


def test_the_table_is_read():
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_a_row_is_as_it_says(row):
    key, file, line, test, name = row
    installed = next(path for path in files("mindformers") if str(path) == f"mindformers/{file}")
    assert re.search(rf"\b{key}\b", Path(installed.locate()).read_text().splitlines()[int(line) - 1])
    text = (ROOT / test).read_text(encoding="utf-8")
    assert not name or f"def {name}(" in text


def test_every_row_is_of_a_key_that_is_rendered():
    yaml = pytest.importorskip("yaml")
    keys = rendered(yaml.safe_load((ROOT / "tests/golden/training-ascend.yaml").read_text()))
    keys |= {"num_samples", "qkv_has_bias", "attn_proj_has_bias"}  # with train.rows; by our own class
    assert [row[0] for row in ROWS if row[0] not in keys] == []
