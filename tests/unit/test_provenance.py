"""The records that jobs leave beside the results, and what `verify` reads in them."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mcqlora import files, hashing
from mcqlora.provenance import record, verify
from mcqlora.provenance.record import Job, record_path
from mcqlora.provenance.verify import CURRENT

SCRIPT = "import numpy\n\nfrom mcqlora import files\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of three jobs: a folder, a temporary file made of it, a file made of both."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    for name in ("first", "second", "third"):
        (tmp_path / "scripts" / f"{name}.py").write_text(SCRIPT)
    folder, temporary, last = "results/a/base", "results/a/part/ids.bin", "results/a/last.json"
    files.write_text(f"{folder}/weights", "weights")
    files.write_text(f"{folder}/{record.STAMP}", "")
    files.write_text("given.csv", "given")
    jobs = [
        Job("first", ["given.csv"], [folder], {"size": {"a": 1, "b": (2, 3)}, "code": "first.py 1"}),
        Job("second", [folder], [temporary], {"code": "second.py 2"}, [temporary]),
        Job("third", [folder, temporary], [last], {"code": "third.py 3"}),
    ]
    for job, text in zip(jobs, (None, "ids", "last"), strict=True):
        if text:
            files.write_text(job.outputs[0], text)
        record.write(job, tmp_path / "scripts")
    os.remove(temporary)

    def states(**params):
        changed = [replace(job, params=job.params | params.get(job.rule, {})) for job in jobs]
        return verify.states(reversed(changed), tmp_path / "scripts")

    return SimpleNamespace(folder=folder, temporary=temporary, last=last, states=states, path=tmp_path)


def test_a_record_says_what_an_artefact_was_made_of(run):
    record = files.read_json("results/a/provenance/last.json.json")
    assert record["rule"] == "third" and record["code"] == "third.py 3"
    assert record["sha256"] == hashing.sha256(run.last)
    assert record["inputs"].keys() == {run.folder, run.temporary}
    assert {"Python", "numpy", "orjson"} == record["software"].keys()
    assert files.read_json("results/a/provenance/base.json")["params"] == {"size": {"a": 1, "b": [2, 3]}}


def test_what_was_just_made_is_current_without_the_temporary_part(run):
    assert run.states() == {run.folder: CURRENT, run.last: CURRENT}


def test_a_changed_byte_is_named_and_so_is_what_was_made_of_it(run):
    (run.path / run.folder / "weights").write_text("weightz")
    assert run.states() == {
        run.folder: "changed on disk",
        run.temporary: f"input changed: {run.folder}; input not current: {run.folder}",
        run.last: f"input changed: {run.folder}; input not current: {run.folder} and 1 more",
    }


def test_a_file_more_in_a_folder_is_a_change_and_snakemake_s_stamp_is_none(run):
    (run.path / run.folder / record.STAMP).write_text("another time")
    assert run.states()[run.folder] == CURRENT
    (run.path / run.folder / "more").touch()
    assert run.states()[run.folder] == "changed on disk"


def test_other_parameters_are_named(run):
    found = run.states(first={"size": {"a": 1, "b": (2, 4)}, "more": None})
    assert found[run.folder] == "made with other parameters: more, size.b"
    assert found[run.last] == f"input not current: {run.folder} and 1 more"


def test_other_code_is_named_even_of_what_is_gone(run):
    found = run.states(second={"code": "second.py 9"})
    assert found == {
        run.folder: CURRENT,
        run.temporary: "made by other code: second.py",
        run.last: f"input not current: {run.temporary}",
    }


def test_other_software_is_named(run):
    path = record_path(run.last)
    record = files.read_json(path)
    files.write_json(path, record | {"software": record["software"] | {"numpy": "0.1"}})
    assert run.states()[run.last] == "made with other software: numpy"


def test_a_given_file_that_changed_is_named(run):
    (run.path / "given.csv").write_text("other")
    assert run.states()[run.folder] == "input changed: given.csv"
    os.remove("given.csv")
    assert run.states()[run.folder] == "input changed: given.csv"


def test_an_artefact_that_is_gone_is_missing(run):
    os.remove(run.last)
    assert run.states()[run.last] == "missing"


@pytest.mark.parametrize("text", [None, '{"sha256": ', "{}", "[]"])
def test_without_a_record_that_can_be_read_there_is_none(run, text):
    path = record.record_path(run.last)
    path.unlink() if text is None else path.write_text(text)
    assert run.states()[run.last] == "no record"


def test_what_another_job_has_hashed_is_not_read_again(run, monkeypatch):
    expected = record.sha256(run.folder)
    monkeypatch.setattr(hashing, "sha256", lambda path: pytest.fail(f"reads {path}"))
    assert record.known(run.folder) == expected


def test_unless_it_is_younger_than_its_record(run):
    (run.path / run.folder / "weights").write_text("weightz")
    os.utime(run.path / run.folder / "weights", ns=(2**62, 2**62))
    assert record.known(run.folder) == record.sha256(run.folder)
    assert record.known(run.folder) != files.read_json(record.record_path(run.folder))["sha256"]


def test_a_job_without_outputs_leaves_none(tmp_path):
    record.write(Job("plan", [str(tmp_path / "no")], [], {}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_table_counts():
    assert (
        verify.table({"a": CURRENT, "bcd": "missing"})
        == "a    current\nbcd  missing\n\n1 of 2 artefacts are current\n"
    )


def test_no_record_holds_a_secret_of_an_address():
    params = {"source": [{"address": "https://user:word@host.invalid/a.zip?token=x"}], "path": ("a", 1)}
    assert record.plain(params) == {
        "source": [{"address": "https://host.invalid/a.zip"}],
        "path": ["a", 1],
    }
