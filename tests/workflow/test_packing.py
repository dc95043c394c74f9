"""Packed rows from the real workflow: the same whatever the number of shards, and counted right."""

from pathlib import Path

import numpy as np
import pytest

from mcqlora import files
from mcqlora.tokens import packing
from tests.helpers.runs import rules, snakemake
from tests.helpers.shards import read_rows

pytestmark = pytest.mark.slow

PACKED = Path(__file__).parent / "config" / "packed.yaml"
ENCODED = {"encode", "shard"}


def shards(folder, count, part="train"):
    return [
        folder / f"results/packed/mindrecord/{part}/shard-{i}-of-{count}.mindrecord" for i in range(count)
    ]


def make(folder, count, *arguments):
    """Make the shards of training and validation; what the run would have done according to a dry run."""
    targets = [
        str(path.relative_to(folder)) for path in (*shards(folder, count), *shards(folder, 1, "valid"))
    ]
    options = ("--config", f"encode={{shards: {count}}}", *arguments)
    planned = rules(snakemake(folder, *targets, "-n", *options, configfile=PACKED))
    result = snakemake(folder, *targets, "--cores", "2", *options, configfile=PACKED)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return planned


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("packed")
    make(made, 4)
    return made


@pytest.fixture(scope="module")
def rows(folder):
    return list(read_rows(shards(folder, 4)))


def test_a_second_making_has_the_same_bytes(folder):
    files = [*shards(folder, 4), folder / "results/packed/packing.json"]
    files += [Path(f"{path}.db") for path in shards(folder, 4)]
    before = [path.read_bytes() for path in files]
    assert make(folder, 4, "--forcerun", *ENCODED) == ENCODED
    assert [path.read_bytes() for path in files] == before


def test_one_shard_has_the_rows_of_four_in_the_same_order(folder, rows):
    assert make(folder, 1) == ENCODED
    np.testing.assert_equal(list(read_rows(shards(folder, 1))), rows)


def test_packing_json_counts_the_rows_and_both_layouts(folder, rows):
    train = files.read_json(folder / "results/packed/packing.json")["train"]
    useful = sum(int((row["document_ids"] > 0).sum()) for row in rows)
    documents = sum(int(row["document_ids"].max()) for row in rows)
    questions = sum(1 for _ in files.read_json_array(folder / "results/packed/splits/train.json"))
    assert (train["layout"], train["size"], train["dropped"]) == ("packed", 257, 0)
    assert train["documents"] == documents == questions == 5 * (1620 - 15 * 12)
    assert train["packed"] == {"rows": len(rows), "useful_fraction": useful / (len(rows) * 257)}
    assert train["padded"] == {"rows": questions, "useful_fraction": useful / (questions * 257)}
    assert train["packed"]["rows"] <= questions / 2


def test_shards_stats_add_up(folder, rows):
    stats = [files.read_json(path.with_suffix(".json")) for path in shards(folder, 4)]
    assert sum(part["rows"] for part in stats) == len(rows)
    assert sum(part["documents"] for part in stats) == 5 * (1620 - 15 * 12)
    assert sum(part["ids"] for part in stats) == sum(int((row["document_ids"] > 0).sum()) for row in rows)


def test_validation_rows_are_padded(folder):
    (valid,) = shards(folder, 1, "valid")
    row = next(read_rows([valid]))
    assert row.keys() == set(packing.COLUMNS["padded"])
    assert row["input_ids"].shape == (256,)
    assert files.read_json(folder / "results/packed/packing.json")["valid"]["layout"] == "padded"


def test_encoded_ids_are_temporary(folder):
    assert list((folder / "results/packed/encoded").rglob("*.*")) == []
