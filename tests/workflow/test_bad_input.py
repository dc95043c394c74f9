"""Bad input: one clear line, a non-zero exit, earlier results untouched."""

import csv

import pytest

from mcqlora import hashing
from tests.helpers.data_folder import write_data
from tests.helpers.runs import ROOT, TINY, jobs, only_line, setting, snakemake


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
        ('run="demo\\n"', "run: does not match"),
    ],
)
def test_a_bad_key_is_one_line(tmp_path, dry, change, said):
    line = only_line(dry.run(tmp_path, "--config", setting(change)))
    assert said in line


@pytest.mark.parametrize("run", ["20250601", "2023_01"])
def test_a_name_that_looks_like_a_number_is_a_text(tmp_path, dry, run):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"run: {run}\n")
    for arguments, configfile in ((["--config", f"run={run}"], TINY), ([], overlay)):
        assert jobs(dry.run(tmp_path, f"results/{run}/alpaca.json", *arguments, configfile=configfile))


@pytest.mark.parametrize("key", ["tokenizer.path", "evaluate.squad"])
def test_a_missing_file_of_the_data_folder_is_one_line(tmp_path, dry, data, key):
    given = {"tokenizer.path": "tokenizer.model", "base.text": "train"} | {key: "nowhere"}
    pairs = [setting(f"{name}={value}") for name, value in given.items()]
    line = only_line(dry.run(tmp_path, "--config", f"data={data}", *pairs))
    assert f"{data}/nowhere: no such file" in line


@pytest.fixture(scope="module")
def made(tmp_path_factory, data):
    """A folder with earlier results."""
    folder = tmp_path_factory.mktemp("made")
    first = run(folder, data, "results/tiny/alpaca.json")
    assert first.returncode == 0, first.stderr
    return folder


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["What?", "a", "b", "c", "A"], ["row 5", "5"]),
        (["What?", "a", "b", "c", "d", "E"], ["row 5", "E"]),
    ],
)
def test_a_bad_row_names_file_and_row_and_earlier_results_stay(made, data, cells, said):
    alpaca = made / "results/tiny/alpaca.json"
    before = hashing.sha256(alpaca)
    path = data / "island_en" / "dev" / "clan_trees_dev.csv"
    good = path.read_bytes()
    try:
        with open(path, "a", newline="") as file:
            csv.writer(file).writerow(cells)
        line = only_line(run(made, data, "results/tiny/alpaca.json"))
    finally:
        path.write_bytes(good)
    assert "clan_trees_dev.csv" in line and all(word in line for word in said)
    assert hashing.sha256(alpaca) == before


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nonexistent", ""])
def test_a_home_that_cannot_be_written_is_no_matter(tmp_path, monkeypatch, home):
    """Nobody can write there, not even root; `train` is in test_msrun.py."""
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/questions.jsonl")
    assert result.returncode == 0 and "Traceback" not in result.stderr, result.stderr
    assert (tmp_path / "results/tiny/questions.jsonl").is_file()


def test_nor_is_it_on_ascend(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    profile = str(ROOT / "profiles" / "ascend")
    assert "train" in jobs(snakemake(tmp_path, "-n", "--workflow-profile", profile))
