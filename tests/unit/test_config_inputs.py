"""Files that the configuration names, given or by address."""

import json
import os
from pathlib import Path

import pytest

from mcqlora.config import inputs
from mcqlora.errors import UserError
from tests.helpers.configs import given, settings

MMLU = {"name": "m", "layout": "mmlu", "path": "mmlu", "language": "en"}


def test_a_given_base_brings_its_tokenizer():
    made = given(base__path="llama", base__text="corpus", tokenizer__path=None)
    assert made.tokenizer.path == "llama/tokenizer.model"
    named = given(base__path="llama", tokenizer__path="other.model")
    assert named.tokenizer.path == "other.model"
    with pytest.raises(
        UserError, match=r"^base.sha256: tokenizer.model is not of the base where tokenizer.path is set"
    ):
        given(base__path="https://h/net", base__sha256={"tokenizer.model": "0" * 64})


def test_where_peft_finds_a_given_base():
    assert inputs.base_name(settings(), "fetched") is None
    assert inputs.base_name(settings(base__path="net"), "fetched") == "net"
    hub = "https://huggingface.co/Qwen/Qwen2.5-0.5B/resolve/main"
    for address, name in ((hub, "Qwen/Qwen2.5-0.5B"), ("https://h/net", "fetched/base")):
        assert inputs.base_name(settings(base__path=address), "fetched") == name
    assert inputs.base_name(settings(base__path="net", base__name="a/b"), "fetched") == "a/b"


def test_the_files_of_a_given_base(tmp_path):
    folder = tmp_path / "llama"
    folder.mkdir()
    made = given(data=str(tmp_path), base__path="llama")
    for name, missing in (
        ("config.json", "config.json: no such file"),
        ("model.safetensors", "no model.saf"),
    ):
        with pytest.raises(UserError, match=missing):
            inputs.base_files(made, "downloads")
        (folder / name).touch()
    assert inputs.base_files(made, "downloads") == [
        str(folder / "config.json"),
        str(folder / "model.safetensors"),
    ]
    assert inputs.base_folder(made, "downloads") == folder


def test_a_base_that_is_trained_here_has_no_files():
    assert inputs.base_files(settings(), "downloads") == []
    assert inputs.base_folder(settings(), "downloads") is None


def test_a_given_base_stands_below_the_working_directory_where_the_benchmark_is_generated():
    made = settings(base__path="llama")
    assert inputs.base_folder(made, "downloads") == Path("llama")
    with pytest.raises(UserError, match=r"^base\.path: there is no folder llama"):
        inputs.base_files(made, "downloads")


def test_what_is_mixed_in_by_address_is_downloaded():
    entries = [
        {"path": "alpaca.json", "share": 0.1},
        {"path": "https://h/talk.jsonl?t=1", "share": 0.1, "sha256": "a" * 64},
        {"path": "s3://bucket/plain.txt", "share": 0.1},
    ]
    made = inputs.downloads(given(train__mix=entries, s3__region="north"))
    assert made.keys() == {"mix-2", "mix-3"}
    assert made["mix-2"] == {"address": "https://h/talk.jsonl?t=1", "s3": None, "sha256": "a" * 64}
    assert made["mix-3"]["s3"]["region"] == "north"


def test_a_missing_file_is_named_with_its_key(tmp_path):
    made = given(data=str(tmp_path))
    with pytest.raises(
        UserError, match=r"a\.json: no such file, but train\.mix names it; paths in the config are"
    ):
        inputs.data_file(made, "a.json", "train.mix")


def test_nothing_is_watched_for_the_generated_benchmark():
    assert inputs.benchmark_files(settings()) == []
    with pytest.raises(UserError, match="there is no folder"):
        inputs.benchmark_files(given(data="not-there"))


def test_inputs_by_address_become_downloads():
    hashes = {"config.json": "1" * 64, "tokenizer.model": "2" * 64}
    made = given(
        base__path="s3://bucket/net/",
        base__sha256=hashes,
        tokenizer__path=None,
        evaluate__squad="https://host/dev.json?token=1",
        evaluate__squad_sha256="3" * 64,
        benchmarks=[{"name": "ferns", "layout": "mmlu", "language": "en", "path": "S3://bucket/f.tar.gz"}],
    )
    s3 = {"endpoint": None, "region": None, "addressing": "auto"}
    assert inputs.downloads(made) == {
        "ferns.tar.gz": {"address": "S3://bucket/f.tar.gz", "s3": s3, "sha256": None},
        "tokenizer.model": {"address": "s3://bucket/net/tokenizer.model", "s3": s3, "sha256": "2" * 64},
        "reading.json": {"address": "https://host/dev.json?token=1", "s3": None, "sha256": "3" * 64},
        "base-config/config.json": {"address": "s3://bucket/net/config.json", "s3": s3, "sha256": "1" * 64},
    }
    assert list(inputs.archives(made)) == ["ferns.tar.gz"]
    assert inputs.base_download(made) == {"address": "s3://bucket/net/", "s3": s3, "sha256": hashes}
    assert inputs.base_files(made, "downloads") == ["downloads/base-config/config.json", "downloads/base"]
    assert inputs.base_folder(made, "downloads") == Path("downloads/base")


def test_nothing_is_downloaded_by_default():
    assert inputs.downloads(settings()) == {} and inputs.base_download(settings()) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{run}_dev.csv", "braces"),
        ("a\nb_dev.csv", "no line of text"),
        ("caf\udce9_dev.csv", "no line of text"),
    ],
)
def test_names_that_snakemake_cannot_take(tmp_path, name, said):
    (tmp_path / "b/dev").mkdir(parents=True)
    (tmp_path / "b/dev" / name).write_text("")
    made = given(data=str(tmp_path), benchmarks=[MMLU | {"path": "b"}])
    for ask in (inputs.benchmark_files, lambda made: inputs.data_file(made, f"b/dev/{name}")):
        with pytest.raises(UserError, match=f"{said}.*; rename it|{said}; rename it") as error:
            ask(made)
        str(error.value).encode()
        assert "\n" not in str(error.value)


def csv_file(folder):
    (folder / "b/dev").mkdir(parents=True)
    made = given(data=str(folder), benchmarks=[MMLU | {"path": "b"}])
    return folder / "b/dev/x_dev.csv", lambda: inputs.benchmark_files(made)


def split(folder):
    file, ask = csv_file(folder)
    file.touch()
    return folder / "b/test", ask


def archive(folder):
    made = given(data=str(folder), benchmarks=[MMLU | {"path": "b.zip"}])
    return folder / "b.zip", lambda: inputs.benchmark_files(made)


def reading(folder):
    return folder / "dev.json", lambda: inputs.data_file(given(data=str(folder)), "dev.json")


def weights(folder, name="model.safetensors"):
    (folder / "net").mkdir()
    if name != "config.json":
        (folder / "net/config.json").touch()
    return folder / "net" / name, lambda: inputs.base_files(given(data=str(folder), base__path="net"), "d")


def base_config(folder):
    return weights(folder, "config.json")


def shard(folder):
    (folder / "net").mkdir()
    (folder / "net/config.json").touch()
    name = "model-00001-of-00002.safetensors"
    (folder / "net/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    return folder / "net" / name, lambda: inputs.base_files(given(data=str(folder), base__path="net"), "d")


GIVEN = [csv_file, split, archive, reading, weights, base_config, shard]


@pytest.mark.parametrize("make", GIVEN)
def test_a_link_to_nowhere_is_named(tmp_path, make):
    for number, target in enumerate(("nowhere", None)):  # and one to itself
        (tmp_path / str(number)).mkdir()
        file, ask = make(tmp_path / str(number))
        file.symlink_to(target or file.name)
        with pytest.raises(
            UserError, match=r"a link to '.*', which is not there; mend or remove it$"
        ) as error:
            ask()
        assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("make", [csv_file, reading, base_config])
def test_a_folder_is_no_file(tmp_path, make):
    file, ask = make(tmp_path)
    file.mkdir()
    with pytest.raises(UserError, match=r"is no file; rename or remove it$") as error:
        ask()
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("make", GIVEN)
def test_what_cannot_be_read_is_named(tmp_path, make, monkeypatch):
    file, ask = make(tmp_path)
    file.mkdir() if make is split else file.touch()
    allowed = os.access  # root may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file and allowed(path, mode))
    with pytest.raises(UserError, match=r"cannot be read; mend its permissions$") as error:
        ask()
    assert str(error.value).startswith(f"{file}: ")


def test_a_link_to_a_file_is_one_and_hidden_files_are_passed_over(tmp_path):
    file, ask = csv_file(tmp_path)
    (tmp_path / "x.csv").touch()
    file.symlink_to(tmp_path / "x.csv")
    file.with_name(".#x_dev.csv").symlink_to("someone@machine.1")  # as Emacs does while a file is edited
    (tmp_path / "b/.#dev").symlink_to("someone@machine.1")
    assert ask() == [str(file)]


def test_benchmark_files_are_sorted_and_complete(tmp_path):
    names = ("b/test/y_test.csv", "b/dev/x_dev.csv", "b/test/old/z_test.CSV.gz", "b/test/note.txt")
    for name in (*names, "a/test/z_test.csv", "b/README.md", "b/state.json", "c/dev/no_dev.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    entries = [MMLU | {"name": "bb", "path": "b"}, MMLU | {"name": "aa", "path": "a"}]
    files = ["b/dev/x_dev.csv", "b/test/old/z_test.CSV.gz", "b/test/y_test.csv", "a/test/z_test.csv"]
    made = given(data=str(tmp_path), benchmarks=entries)
    assert inputs.benchmark_files(made) == [str(tmp_path / file) for file in files]


def test_benchmark_files_that_are_not_there(tmp_path):
    made = given(data=str(tmp_path / "data"), benchmarks=[MMLU])
    with pytest.raises(UserError, match=r"^data: there is no folder .*--config data=FOLDER"):
        inputs.benchmark_files(made)
    (tmp_path / "data" / "mmlu").mkdir(parents=True)
    with pytest.raises(UserError, match=r"mmlu: no file fits .*; it holds no file of rows; mend path, or"):
        inputs.benchmark_files(made)


def test_data_file(tmp_path):
    (tmp_path / "model").write_text("")
    made = given(data=str(tmp_path))
    assert inputs.data_file(made, "model") == str(tmp_path / "model")
    with pytest.raises(UserError, match="other: no such file; paths in the config are relative to data"):
        inputs.data_file(made, "other")


def test_the_readme_of_a_dataset_names_its_files_and_is_one(tmp_path):
    for name in ("b/data/train-0.parquet", "b/data/other.csv", "b/.cache/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    head = "configs: [{config_name: default, data_files: [{split: train, path: data/train-*}]}]"
    (tmp_path / "b/README.md").write_text(f"---\n{head}\n---\nWords.\n")
    entry = {"name": "b", "path": "b", "language": "en", "splits": {"train": "dev"}}
    made = given(data=str(tmp_path), benchmarks=[entry])
    files = ["README.md", "data/other.csv", "data/train-0.parquet"]
    assert inputs.benchmark_files(made) == [str(tmp_path / "b" / file) for file in files]


def test_a_file_is_a_benchmark_and_by_address_keeps_its_ending(tmp_path):
    (tmp_path / "mine.csv").touch()
    entry = {"name": "b", "path": "mine.csv", "language": "en", "splits": {"all": "test"}}
    made = given(data=str(tmp_path), benchmarks=[entry])
    assert inputs.benchmark_files(made) == [str(tmp_path / "mine.csv")]
    elsewhere = given(benchmarks=[entry | {"path": "https://h/x/test.JSONL.gz?a=1"}])
    assert list(inputs.archives(elsewhere)) == ["b.jsonl.gz"]
    assert inputs.sources(elsewhere, "data", "down")[0]["path"] == "b.jsonl.gz"
