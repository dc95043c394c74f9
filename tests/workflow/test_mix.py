"""Other instruction data, from its files to the shards, the plan and the data card."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest
import yaml

from mcqlora import files
from mcqlora.data import squad
from mcqlora.tokens import prompt, tokenizer
from tests.helpers.runs import TINY, jobs, only_line, snakemake
from tests.helpers.shards import read_rows

SHARDS = [f"mindrecord/train/shard-{i}-of-2.mindrecord" for i in range(2)]
MADE = ["packing.json", "data_card.md", "plan.json", *SHARDS]
TALK = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(900)]


def passage(n):
    """A paragraph of SQuAD about a town of its own."""
    asked = {
        "id": f"t{n}",
        "question": f"Where is town {n}?",
        "answers": [{"text": "north", "answer_start": 0}],
    }
    return {"context": f"Town {n} lies in the north, and it has {n} gates.", "qas": [asked]}


def entry(path, share, **others):
    return {"path": str(path), "share": share} | others


def overlay(folder, *entries) -> Path:
    """An overlay of the tiny configuration that mixes these entries in."""
    made = yaml.safe_load(TINY.read_text())
    made["train"]["mix"] = list(entries)
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """The tiny run's records with Alpaca records by address, and SQuAD's from a file, some of it held out."""
    folder, shelf = tmp_path_factory.mktemp("mix"), tmp_path_factory.mktemp("shelf")
    (shelf / "talk.json").write_text(json.dumps(TALK))
    sha256 = hashlib.sha256((shelf / "talk.json").read_bytes()).hexdigest()
    reading_test = json.loads((finished / "results/tiny/data/squad/dev-v1.1.json").read_text())["data"]
    towns = [{"paragraphs": [passage(n) for n in range(99)]}]
    (shelf / "own.json").write_text(json.dumps({"data": towns + reading_test}))
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(shelf))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/talk.json"
        path = overlay(
            folder,
            entry(address, 0.1, sha256=sha256, licence="CC BY 4.0"),
            entry(shelf / "own.json", 0.05),
        )
        done = snakemake(folder, *(f"results/tiny/{name}" for name in MADE), "--cores", "2", configfile=path)
        server.shutdown()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "results/tiny", address, shelf / "own.json", done


def test_the_ledger_has_every_row_and_a_shortfall_is_said_once(run):
    results, address, own, done = run
    ledger = files.read_json(results / "mix_ledger.json")
    talk, reading = ledger["sources"]
    assert (talk["file"], talk["read"], talk["drawn"], talk["left"]) == (
        address,
        900,
        847,
        53,
    )  # 7,200 / 0.85
    assert (reading["file"], reading["read"], reading["drawn"], reading["wanted"]) == (str(own), 207, 99, 424)
    assert reading["dropped"] == {"reading_passage": 108}
    assert ledger["looked_for"] == {"questions": 180, "reading_passages": 54, "reading_questions": 108}
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("mcqlora:")]
    share = 99 / (7200 + 847 + 99)
    assert lines == [
        f"mcqlora: train.mix: {own} has 99 records for the 424 of a share of 0.05; "
        f"all are mixed in, a share of {share:.3f}"
    ]


def test_questions_keep_their_rows_and_the_others_follow(run, finished):
    """Stored order decides nothing: MindSpore shuffles all rows of all shards."""
    results = run[0]
    rows = [row["input_ids"] for row in read_rows([results / name for name in SHARDS])]
    before = [row["input_ids"] for row in read_rows([finished / "results/tiny" / name for name in SHARDS])]
    assert len(before) == 7200 and len(rows) == 7200 + 847 + 99
    assert all((one == other).all() for one, other in zip(rows[:7200], before, strict=True))
    processor = tokenizer.load(results / "tokenizer.model")
    template, encode = prompt.template(processor), processor.encode
    records = list(files.read_json_array(results / "mix.json"))
    talk, reading = records[0], records[-1]
    ids, _ = prompt.row_ids(encode, template, talk["instruction"], "", talk["output"])
    assert rows[7200].tolist()[: len(ids)] == ids
    number = int(reading["id"].rpartition("/")[2])  # of the row, and so of the town
    asked = squad.prompt(passage(number)["context"], f"Where is town {number}?")
    made = [*template.start, *encode(asked + " north"), template.eos]
    assert rows[-1].tolist() == made + [template.pad] * (129 - len(made))


def test_plan_packing_and_data_card_tell_the_shares(run):
    results, address, own, _ = run
    packing = files.read_json(results / "packing.json")
    plan = files.read_json(results / "plan.json")
    assert [(one["file"], one["documents"]) for one in packing["train"]["mix"]] == [
        (address, 847),
        (str(own), 99),
    ]
    assert plan["mix"] == packing["train"]["mix"] and "mix" not in packing["valid"]
    assert plan["mix"][0]["share"] == 847 / (7200 + 847 + 99)
    card = (results / "data_card.md").read_text()
    assert f"| {address} | 900 | nothing | 847 | 10.00 % | 10.40 % | CC BY 4.0 |" in card
    assert f"| {own} | 207 | reading_passage 108 | 99 | 5.00 % | 1.22 % | not given |" in card


def test_nothing_is_mixed_where_nothing_is_named(dry, tmp_path):
    assert "mix" not in jobs(dry.run(tmp_path, "all", "results/tiny/plan.json"))
    named = dry.run(tmp_path, "all", configfile=overlay(tmp_path, entry("corpus.jsonl", 0.1)))
    assert "mix" in jobs(named)


@pytest.mark.parametrize("data", ["generated", "folder"])
def test_a_file_that_is_not_there_gives_one_line(dry, tmp_path, data):
    """Below a data folder, or by an absolute path; what a generated folder holds shows when it is there."""
    (tmp_path / "folder").mkdir()
    missing = tmp_path / "not-there.json"
    others = [] if data == "generated" else ["tokenizer={path: x}", "base={text: train}", "data=" + data]
    for name in ("folder/x", "folder/squad/dev-v1.1.json", "folder/island_en/dev/a_dev.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder/island_zh/dev").mkdir(parents=True)
    (tmp_path / "folder/island_zh/dev/a.csv").touch()
    path = overlay(tmp_path, entry(missing if data == "generated" else "not-there.json", 0.1))
    told = only_line(dry.run(tmp_path, *(["--config", *others] if others else []), configfile=path))
    assert "not-there.json: no such file, but train.mix names it" in told
