"""`snakemake dataset`: the parts for other trainers, made from the split alone."""

import pyarrow.parquet

from mcqlora import files
from tests.helpers.runs import TINY, snakemake


def test_the_dataset_holds_the_parts_and_needs_no_training(tmp_path):
    done = snakemake(tmp_path, "dataset", "--cores", "2", configfile=TINY)
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results/tiny"
    for part in ("train", "valid", "test"):
        wanted = list(files.read_json_array(results / f"splits/{part}.json"))
        rows = pyarrow.parquet.read_table(results / f"dataset/parquet/{part}.parquet").to_pylist()
        assert [{key: row[key] for key in wanted[0]} for row in rows] == wanted
    assert f"| train | train | {5 * 1440:,} | 1,440 |" in (results / "dataset/README.md").read_text()
    made = {path.name for path in results.iterdir()} - {"provenance"}
    first = {"data", "questions.jsonl", "ledger.json", "epochs", "groups.json", "splits", "leakage.json"}
    assert made == first | {"dataset"}
