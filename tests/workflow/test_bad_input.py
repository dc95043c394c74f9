"""Bad input: one clear line, a non-zero exit, earlier results untouched."""

import csv

import pytest

from mcqlora import hashing
from tests.workflow.conftest import only_line, setting, snakemake, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def run(folder, data, *arguments):
    config = [f"data={data}", setting("tokenizer.path=tokenizer.model"), setting("base.text=train")]
    return snakemake(folder, "--cores", "1", *arguments, "--config", *config)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.lora_ranc=8", "train.lora_rank"),
        ("shufle=1", "shuffle"),
        ("train.workers=3", "npu"),
        ("train.lora_rank=none", "train.lora_rank"),
        ("data=nowhere", "nowhere"),
        ("base.path=nowhere", "base.path"),
    ],
)
def test_a_bad_key_is_one_line(tmp_path, change, said):
    line = only_line(snakemake(tmp_path, "-n", "--config", setting(change)))
    assert said in line


@pytest.mark.parametrize("key", ["tokenizer.path", "evaluate.squad"])
def test_a_missing_file_of_the_data_folder_is_one_line(tmp_path, data, key):
    given = {"tokenizer.path": "tokenizer.model", "base.text": "train"} | {key: "nowhere"}
    pairs = [setting(f"{name}={value}") for name, value in given.items()]
    line = only_line(snakemake(tmp_path, "-n", "--config", f"data={data}", *pairs))
    assert f"{data}/nowhere: no such file" in line


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["What?", "a", "b", "c", "A"], ["row 5", "5"]),
        (["What?", "a", "b", "c", "d", "E"], ["row 5", "E"]),
    ],
)
def test_a_bad_row_names_file_and_row_and_earlier_results_stay(tmp_path, data, cells, said):
    alpaca = tmp_path / "results/tiny/alpaca.json"
    first = run(tmp_path, data, "results/tiny/alpaca.json")
    assert first.returncode == 0, first.stderr
    before = hashing.sha256(alpaca)
    path = data / "island_en" / "dev" / "clan_trees_dev.csv"
    good = path.read_bytes()
    try:
        with open(path, "a", newline="") as file:
            csv.writer(file).writerow(cells)
        line = only_line(run(tmp_path, data, "results/tiny/alpaca.json"))
    finally:
        path.write_bytes(good)
    assert "clan_trees_dev.csv" in line and all(word in line for word in said)
    assert hashing.sha256(alpaca) == before
