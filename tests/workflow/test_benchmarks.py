"""A third benchmark is an entry in the configuration, as a folder, an archive or a URL."""

import csv
import functools
import hashlib
import http.server
import threading
import zipfile

import pytest
import yaml

from mcqlora import files
from tests.helpers.runs import TINY, jobs, only_line, snakemake

SUBJECT = "fern_lore"


def rows(split):
    for n in range(12):
        options = [f"{word} {split} {n}" for word in ("frond", "spore", "root", "stem")]
        yield [f"Which part of fern {n} of the {split} garden is oldest?", *options, "ABCD"[n % 4]]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with the benchmark unpacked (ferns/) and packed (ferns.zip), and its URL."""
    folder = tmp_path_factory.mktemp("shelf")
    for split in ("dev", "val", "test"):
        (folder / "ferns" / split).mkdir(parents=True)
        with open(folder / "ferns" / split / f"{SUBJECT}_{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows(split))
    (folder / "reading.json").write_text("{}")  # named by the configuration, opened by no stage here
    (folder / "tokenizer.model").write_text("")
    with zipfile.ZipFile(folder / "ferns.zip", "w") as packed:
        for path in sorted((folder / "ferns").rglob("*.csv")):
            packed.write(path, path.relative_to(folder))
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/ferns.zip"
        server.shutdown()


def overlay(folder, data, *entries):
    """An overlay of the tiny configuration with these entries as its benchmarks."""
    made = yaml.safe_load(TINY.read_text()) | {"data": str(data), "benchmarks": list(entries)}
    if data != "generated":
        made |= {"tokenizer": {"path": "tokenizer.model"}, "base": {"text": "train"}}
        made["evaluate"]["squad"] = "reading.json"
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


def entry(path, **more):
    return {"name": "ferns", "layout": "mmlu", "path": path, "language": "en"} | more


def questions(folder):
    return list(files.read_jsonl(folder / "results/tiny/questions.jsonl"))


@pytest.mark.parametrize("path", [pytest.param("ferns", marks=pytest.mark.slow), "ferns.zip"])
def test_a_third_benchmark_is_an_entry(tmp_path, shelf, path):
    configuration = overlay(tmp_path, shelf[0], entry(path))
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/leakage.json", configfile=configuration)
    assert result.returncode == 0, result.stderr
    found = questions(tmp_path)
    assert [q["id"] for q in found[:2]] == [f"ferns/{SUBJECT}/dev/0", f"ferns/{SUBJECT}/dev/1"]
    assert len(found) == 36
    assert files.read_json(tmp_path / "results/tiny/leakage.json")["split"]["test"] == 6


@pytest.mark.parametrize(
    ("family", "groups"),
    [(r"fern (\d+) of", 12), pytest.param("(moss)", 0, marks=pytest.mark.slow)],
    ids=["found", "found nowhere"],
)
def test_families_share_a_part_and_an_expression_that_is_found_nowhere_is_said_once(
    tmp_path, shelf, family, groups
):
    configuration = overlay(tmp_path, shelf[0], entry("ferns.zip", family=family))
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/data_card.md", configfile=configuration)
    assert result.returncode == 0, result.stderr
    made = tmp_path / "results/tiny"
    found = files.read_json(made / "leakage.json")
    assert found["duplicates"]["definitions"]["family"] == {"groups": groups, "questions": 3 * groups}
    assert [found[part]["found_by"]["family"] for part in ("valid", "test")] == [0, 0]
    assert (found["split"]["valid"], found["split"]["test"]) == (6, 6)
    of = files.read_json(made / "groups.json")["groups"]
    tested = {of[record["id"]] for record in files.read_json_array(made / "splits/test.json")}
    assert len(tested) == (2 if groups else 6)
    words = "one family, by the benchmark's own expression"
    assert f"| {words} | {groups} | {3 * groups} |" in (made / "data_card.md").read_text()
    line = "mcqlora: benchmarks: family of ferns is found in none of its questions"
    for said in (result.stderr, (tmp_path / "logs/tiny/groups.log").read_text()):
        assert said.count(line) == (0 if groups else 1)


def test_a_category_with_fewer_questions_than_asked_is_named_once(tmp_path, shelf):
    configuration = overlay(tmp_path, shelf[0], entry("ferns.zip"))
    asked = ("--config", "split=official", "holdout={valid: 40}")
    result = snakemake(
        tmp_path, "--cores", "1", "results/tiny/data_card.md", *asked, configfile=configuration
    )
    assert result.returncode == 0, result.stderr
    made = tmp_path / "results/tiny"
    found = files.read_json(made / "leakage.json")["split"]["fell_short"]
    (category,) = found["categories"]
    assert found["asked"] == {"valid": 40} and category == f"ferns/{SUBJECT}"
    line = (
        f"mcqlora: split: 1 of 1 categories have fewer held-out questions than asked, valid 40: {category} ("
    )
    assert result.stderr.count(line) == 1
    assert line in (tmp_path / "logs/tiny/split.log").read_text()
    assert "Fewer than asked, valid 40;" in (made / "data_card.md").read_text()


def test_a_third_benchmark_beside_the_generated_ones_comes_by_url(tmp_path, dry, shelf, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder, url = shelf
    own = [
        {"name": "island_en", "layout": "mmlu", "path": "island_en", "language": "en"},
        entry(url, sha256=hashlib.sha256((folder / "ferns.zip").read_bytes()).hexdigest()),
    ]
    configuration = overlay(tmp_path, "generated", *own)
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/ledger.json", configfile=configuration)
    assert result.returncode == 0, result.stderr
    assert sum(q["benchmark"] == "ferns" for q in questions(tmp_path)) == 36
    assert (tmp_path / "results/tiny/downloads/ferns.zip").read_bytes() == (folder / "ferns.zip").read_bytes()
    assert jobs(dry.run(tmp_path, "results/tiny/ledger.json", configfile=configuration)) == set()


def test_a_dry_run_needs_no_network_and_a_wrong_hash_leaves_nothing(tmp_path, dry, shelf, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    configuration = overlay(tmp_path, shelf[0], entry("http://127.0.0.1:1/ferns.zip"))
    result = dry.run(tmp_path, "results/tiny/ledger.json", configfile=configuration)
    assert jobs(result) == {"fetch", "read"}
    configuration = overlay(tmp_path, shelf[0], entry(shelf[1], sha256="0" * 64))
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/ledger.json", configfile=configuration)
    assert "its sha256 is" in only_line(result)
    assert not (tmp_path / "results/tiny/downloads/ferns.zip").exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry("ferns"), entry("ferns.zip")], "two are called ferns"),
        ([entry("http://127.0.0.1/ferns")], "the address of ferns ends in none of .zip"),
        ([entry("ferns", sha256="0" * 64)], "ferns has a sha256 but is a folder"),
        ([entry("none.zip")], "none.zip: no such file"),
        ([entry("ferns.zip", sha256="0")], "benchmarks.0.sha256"),
    ],
)
def test_a_wrong_entry_is_one_line_before_anything_runs(tmp_path, dry, shelf, entries, said):
    configuration = overlay(tmp_path, shelf[0], *entries)
    assert said in only_line(dry.run(tmp_path, configfile=configuration))


@pytest.mark.parametrize(("tag", "said"), [("it-IT", ["language it: "]), ("EN-us", [])])
def test_a_language_without_expressions_is_said_once(tmp_path, tag, said):
    given = f"benchmarks=[{{name: isle, layout: mmlu, path: island_en, language: {tag}}}]"
    result = snakemake(tmp_path, "--cores", "1", "results/tiny/epochs/epoch_1.json", "--config", given)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("mcqlora: ")]
    assert len(lines) == len(said)
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(f"mcqlora: {start}options in it that refer to others (letters, place, rest)")
