"""The parts for other trainers: the same rows in every form, and what other readers make of them."""

import json
import subprocess
import sys

import pyarrow.parquet
import pytest
import yaml

from mcqlora import files
from mcqlora.data import alpaca, option_orders
from mcqlora.data.questions import Question
from mcqlora.interop import dataset
from mcqlora.report import dataset_card

# What LLaMA-Factory's parser takes from an entry of dataset_info.json for a local file, beside `file_name`.
ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}


def records(count, copies=3):
    for n in range(count):
        options = [f'Nº {n}\n"one"', "二", "three\t3", "NA"]
        question = Question(
            f"ferns/leaves/test/{n}", "ferns", "leaves", "test", n, "en", "Who? ", options, "B"
        )
        for order in option_orders.orders(question, 1, copies):
            yield alpaca.shuffled_record(question, order)


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 30), ("valid", 4), ("test", 0)):
        wanted = [tmp_path / form / f"{part}{end}" for form, end in FORMS.items()]
        assert dataset.write(records(count), *wanted) == 3 * count
    files.write_json(
        tmp_path / "dataset_info.json", dataset.dataset_info("mine", ["train", "valid"]), indent=True
    )
    files.write_text(tmp_path / "README.md", card())
    return tmp_path


FORMS = {"messages": ".jsonl", "alpaca": ".json", "parquet": ".parquet"}


def card(leaked=False, mixed=(), licence="MIT"):
    about = dataset_card.About(
        run="mine",
        recipe="corrected",
        split="question",
        seed=42,
        copies=4,
        benchmarks={"ferns": dataset_card.Benchmark("en", licence), "羊": dataset_card.Benchmark("zh", None)},
        mixed=list(mixed),
    )
    parts = {"train": 30, "valid": 4, "test": 0}
    leakage = {"valid": {"leaked": False}, "test": {"leaked": leaked}, "split": parts}
    return dataset_card.markdown(about, dataset.SPLITS, {"train": 90, "valid": 12, "test": 0}, leakage)


def test_the_same_rows_in_every_form(folder, monkeypatch):
    wanted = list(records(30))
    columns = pyarrow.parquet.read_table(folder / "parquet/train.parquet").to_pylist()
    lines = list(files.read_jsonl(folder / "messages/train.jsonl"))
    array = json.loads((folder / "alpaca/train.json").read_text(encoding="utf-8"))
    assert [{key: row[key] for key in wanted[0]} for row in columns] == wanted
    assert [{key: row[key] for key in ("id", "messages")} for row in columns] == lines
    assert [{key: row[key] for key in ("id", *ALPACA.values())} for row in columns] == array
    for row in columns:
        assert row["category"] == "ferns/leaves"
        assert row["output"].startswith(f"The right option is {row['answer']}.")
        user, assistant = row["messages"]
        assert user == {"role": "user", "content": f"{row['instruction']}\n{row['input']}"}
        assert assistant == {"role": "assistant", "content": row["output"]}


def test_batches_change_no_row(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(dataset, "BATCH", 7)
    paths = [tmp_path / name for name in "abc"]
    dataset.write(records(30), *paths)
    for path, (form, end) in zip(paths[:2], FORMS.items(), strict=False):
        assert path.read_bytes() == (folder / form / f"train{end}").read_bytes()
    one, other = (pyarrow.parquet.read_table(path) for path in (paths[2], folder / "parquet/train.parquet"))
    assert one.equals(other)


def test_same_records_same_bytes(tmp_path, folder):
    paths = [tmp_path / name for name in "abc"]
    dataset.write(records(30), *paths)
    for path, (form, end) in zip(paths, FORMS.items(), strict=True):
        assert path.read_bytes() == (folder / form / f"train{end}").read_bytes()


def test_llama_factory_finds_its_columns(folder):
    """As its parser reads an entry: the keys of Alpaca's form, or those that `columns` and `tags` name."""
    for name, entry in json.loads((folder / "dataset_info.json").read_text(encoding="ascii")).items():
        path = folder / entry["file_name"]
        assert path.suffix in (".json", ".jsonl") and name.startswith("mine_")
        rows = (
            list(files.read_jsonl(path)) if path.suffix == ".jsonl" else json.loads(path.read_text("utf-8"))
        )
        assert len(rows) == (90 if "train" in name else 12)
        if entry.get("formatting", "alpaca") == "alpaca":
            assert all(row.keys() >= set(ALPACA.values()) for row in rows)
            continue
        tags, column = entry["tags"], entry["columns"]["messages"]
        turns = [tags["user_tag"], tags["assistant_tag"]]
        for row in rows:
            assert [turn[tags["role_tag"]] for turn in row[column]] == turns
            assert all(turn[tags["content_tag"]] for turn in row[column])


LOAD = """
import json, sys
import datasets
found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps({name: part.to_list() for name, part in found.items()}))
"""


@pytest.mark.integration
def test_hugging_face_datasets_loads_the_folder(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "PATH": ""}
    command = [sys.executable, "-c", LOAD, str(folder), str(cache)]
    done = subprocess.run(command, env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: len(rows) for name, rows in found.items()} == {"train": 90, "validation": 12}
    assert found["train"] == pyarrow.parquet.read_table(folder / "parquet/train.parquet").to_pylist()


def test_the_card_names_splits_and_licences(folder):
    _, header, body = card().split("---\n", 2)
    found = yaml.safe_load(header)
    assert found["language"] == ["en", "zh"] and found["license"] == "other"
    (config,) = found["configs"]
    paths = {one["split"]: one["path"] for one in config["data_files"]}
    assert list(paths) == ["train", "validation"]  # nothing loads a split without rows
    assert all((folder / path).is_file() for path in paths.values())
    assert "| train | train | 90 | 30 |" in body and "has 3 rows" in body
    assert "| ferns | en | MIT |" in body and "| 羊 | zh | not given |" in body
    assert "LEAKED" not in body and "train.mix" not in body


def test_the_card_says_what_leaked_and_what_is_not_in_it():
    assert "> **LEAKED**" in card(leaked=True)
    assert "(`train.mix`) is not in here: talk.jsonl, a&#42;b.txt." in card(mixed=["talk.jsonl", "a*b.txt"])
    assert "| ferns | en | MIT \\| x |" in card(licence="MIT | x")
