"""Files made to harm: they stay data, or are refused in one line; nothing in them is run."""

from __future__ import annotations

import csv
import io as bytes_io
import pickle
import re
import shutil
import tarfile
import zipfile

import pytest

from mcqlora import files, hashing
from tests.helpers.processes import run
from tests.helpers.runs import only_line

pytestmark = pytest.mark.faults

GIVEN = ("tokenizer={path: tokenizer.model}", "base={text: train}")
ALPACA = "results/tiny/alpaca.json"
FORMULA = "=cmd|'/C touch forged'!A0"
SUBJECTS = [
    "a b 'c' \"d\"",
    "-rf",
    "a|b<img src=x onerror=alert(1)>",
    "`touch forged`$(touch forged)",
    FORMULA.replace("/", "_"),
    "x" * 240,
    "%s*?[a](b)",
    "C:\\x",
    "é",
]


def write(folder, subject, text="Where?"):
    for part in ("dev", "val", "test"):
        with open(folder / "island_en" / part / f"{subject}_{part}.csv", "w", newline="") as file:
            rows = [
                [f"{text} {part} {n} {subject}", *(f"{FORMULA}{n}{k}" for k in "1234"), "A"] for n in range(9)
            ]
            csv.writer(file).writerows(rows)


def test_names_and_cells_stay_text(tmp_path, csv_data):
    for subject in SUBJECTS:
        write(csv_data, subject)
    config = (f"data={csv_data}", *GIVEN)
    done = run(tmp_path, "data", config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    questions = list(files.read_jsonl(tmp_path / "results/tiny/questions.jsonl"))
    assert set(SUBJECTS) <= {question["subject"] for question in questions}
    options = [question["options"][0] for question in questions if question["subject"] == "-rf"]
    assert options == [f"{FORMULA}{n}1" for _ in range(3) for n in range(9)]
    card = (tmp_path / "results/tiny/data_card.md").read_text()
    assert "<img" not in card and "`touch" not in card
    assert not [
        path for root in (tmp_path, csv_data) for path in root.rglob("*forged*") if path.suffix != ".csv"
    ]
    assert "Nothing to be done" in run(tmp_path, "data", config=config).stderr


HUGE = b"50 MB"


def refused(folder, data, *config, target=ALPACA, **options):
    """The line of a run that is refused, and that leaves what an earlier one has made.

    But for what the failed job itself would have made anew: that Snakemake deletes before it starts a job.
    """
    own = ("questions.jsonl", "ledger.json")
    files = (path for path in folder.glob("results/tiny/**/*") if path.is_file() and path.name not in own)
    before = {path: hashing.sha256(path) for path in files}
    assert before
    line = only_line(run(folder, target, config=(f"data={data}", *GIVEN, *config), **options))
    assert {path: hashing.sha256(path) for path in before} == before
    return line


@pytest.fixture(scope="module")
def read_once(demo_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("read")
    assert run(folder, ALPACA, config=(f"data={demo_data}", *GIVEN)).returncode == 0
    return folder


@pytest.fixture
def made(read_once, tmp_path):
    """A folder in which the good data has been read once."""
    return shutil.copytree(read_once, tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x_dev.csv", b'"' + HUGE + b'",a,b,c,d,A\n', "x_dev.csv: row 0 (from line 1): not valid CSV"),
        ("x_dev.csv", b"Who?,a,b,c,d,A\nWhy?,a,b", "x_dev.csv: row 1 (line 2): 3 cells instead of 6"),
        ("caf\udce9_dev.csv", b"Who?,a,b,c,d,A\n", "its name is no line of text"),
    ],
    ids=["huge", "cut", "no utf-8"],
)
def test_a_hostile_csv(made, csv_data, name, content, said):
    (csv_data / "island_en/dev" / name).write_bytes(content.replace(HUGE, b"x" * 50_000_000))
    assert said in refused(made, csv_data)


ROW = b"Who?,a,b,c,d,A\n"
FILES = {f"{part}/ferns_{part}.csv": ROW for part in ("dev", "val", "test")}


def zipped(files):
    out = bytes_io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def linked():
    out = bytes_io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("dev/ferns_dev.csv")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return out.getvalue()


def bomb():
    """An archive whose table says that a file has 4 GB."""
    raw = bytearray(zipped(FILES))
    place = raw.index(b"PK\x01\x02") + 24  # the size, in the first entry of the table
    raw[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.zip", zipped(FILES | {"dev/../../etc/passwd.csv": ROW}), "leaves the archive"),
        ("b.tar.gz", linked(), "a link or a device"),
        ("b.zip", bomb(), "bytes, more than 1073741824"),
    ],
    ids=["dots", "link", "bomb"],
)
def test_a_hostile_archive(made, csv_data, name, content, said):
    (csv_data / name).write_bytes(content)
    benchmark = f"[{{name: island_en, layout: mmlu, path: {name}, language: en}}]"
    assert said in refused(made, csv_data, f"benchmarks={benchmark}")
    assert not list(made.rglob("*passwd*"))


@pytest.mark.parametrize(
    "text",
    [
        'run: !!python/object/apply:os.system ["touch forged"]\n',
        '__use_yte__: true\nrun: ?__import__("os").system("touch forged") or "x"\n',
    ],
    ids=["object", "expression"],
)
def test_a_configuration_that_would_run_something(made, csv_data, text):
    path = made / "evil.yaml"
    path.write_text(text)
    line = refused(made, csv_data, configfile=path)
    assert str(path) in line and not list(made.rglob("forged"))


class Forged:
    def __reduce__(self):
        import os

        return os.system, ("touch forged",)


@pytest.mark.parametrize("kind", ["pickle", "cut"])
def test_weights_that_would_run_something_or_are_cut(made, csv_data, finished, kind):
    merged = finished / "results/tiny/export/merged"
    given = csv_data / "given"
    shutil.copytree(merged, given)
    shutil.copy(merged / "tokenizer.model", csv_data / "tokenizer.model")
    if kind == "pickle":
        (given / "model.safetensors").unlink()
        with zipfile.ZipFile(given / "pytorch_model.bin", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"weight": Forged()}, 2))
        said = r"pytorch_model.bin: asks for (posix|os).system, which no file of weights needs"
    else:
        weights = given / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        said = "model.safetensors: not a whole safetensors file"
    line = refused(made, csv_data, "base={path: given}", target="results/tiny/base")
    assert re.search(said, line), line
    assert not list(made.rglob("forged")) and not list(made.glob("results/tiny/base/model.safetensors"))
