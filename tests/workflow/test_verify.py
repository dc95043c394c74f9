"""`snakemake verify` on a finished result: what is current and what is not, with or without `.snakemake`."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.runs import ROOT, setting, snakemake

PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "src", "workflow")


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory) -> Path:
    """The result alone, without what Snakemake knows of it."""
    folder = tmp_path_factory.mktemp("verified") / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(".snakemake", "runs", "again"))
    return folder


@pytest.fixture
def state(copied, tmp_path):
    """A function: {artefact: state} of what is not current, and what was said beside the table."""

    def ask(*arguments, snakefile=ROOT / "Snakefile"):
        before = contents(copied)
        done = snakemake(
            copied, "verify", "--cores", "1", "--quiet", "all", "--snakefile", str(snakefile), *arguments
        )
        assert contents(copied) == before
        assert "Traceback" not in done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("results/tiny/")]
        table = dict(line.split(maxsplit=1) for line in lines)
        assert {"results/tiny/summary.json", "results/tiny/base", "results/tiny/plan.json"} < table.keys()
        stale = {name: told for name, told in table.items() if told != "current"}
        assert done.returncode == (1 if stale else 0)
        assert f"{len(table) - len(stale)} of {len(table)} artefacts are current" in done.stdout
        return stale, done.stderr

    return ask


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything but Snakemake's and the job's own notes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(name): (path.stat().st_mtime_ns, path.read_bytes())
        for path in files
        if (name := path.relative_to(folder)).parts[0] not in (".snakemake", "logs")
    }


def test_a_finished_result_is_current_also_for_a_project_at_another_place(state, copied, tmp_path):
    shutil.rmtree(copied / ".snakemake", ignore_errors=True)  # of another test
    assert state()[0] == {}
    assert state(snakefile=project(tmp_path))[0] == {}


def test_a_flipped_byte_is_named(state, copied):
    path = copied / "results/tiny/adapters/checkpoint_3.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    stale, said = state()
    path.write_bytes(before)
    name = "results/tiny/adapters/checkpoint_3.safetensors"
    assert stale[name] == "changed on disk"
    assert (
        stale["results/tiny/evaluation/checkpoint_3/mcq.json"]
        == f"input changed: {name}; input not current: {name}"
    )
    assert "results/tiny/evaluation/checkpoint_2/mcq.json" not in stale
    assert "results/tiny/base" not in stale
    assert name in said and "mcqlora: " in said


@pytest.mark.slow
def test_a_changed_key_is_named_where_it_counts(state):
    stale, _ = state("--config", setting("train.learning_rate=0.002"))
    adapter = "results/tiny/adapters/checkpoint_1.safetensors"
    assert stale[adapter] == "made with other parameters: learning_rate"
    assert stale["results/tiny/evaluation/checkpoint_1/mcq.json"] == f"input not current: {adapter}"
    assert not {"results/tiny/base", "results/tiny/evaluation/base/mcq.json"} & stale.keys()


@pytest.mark.slow
def test_a_changed_module_is_named_where_it_counts(state, tmp_path):
    snakefile = project(tmp_path)
    with open(snakefile.parent / "src/mcqlora/tokens/packing.py", "a") as file:
        file.write("CHANGED = 1\n")
    stale, _ = state(snakefile=snakefile)
    assert stale["results/tiny/packing.json"] == "made by other code: encode.py"
    facts = "results/tiny/encoded/train/facts.json"  # which is gone: it was temporary
    assert stale[facts] == "made by other code: encode.py"
    both = f"made by other code: shard.py; input not current: {facts} and 3 more"
    assert stale["results/tiny/mindrecord/train/shard-0-of-2.mindrecord"] == both
    assert stale["results/tiny/base"] == "made by other code: base.py"
    assert not {"results/tiny/splits/train.json", "results/tiny/tokenizer.model"} & stale.keys()


@pytest.mark.slow
def test_without_a_record_an_artefact_is_not_current(state, copied):
    record = copied / "results/tiny/provenance/export/merged.json"
    text = record.read_bytes()
    record.unlink()
    stale, _ = state()
    record.write_bytes(text)
    assert stale == {"results/tiny/export/merged": "no record"}


def project(folder: Path) -> Path:
    """The Snakefile of a copy of the project."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder / "Snakefile"
