"""Variants and seeds: what `snakemake compare` makes of them, what is shared, and what the report says."""

import re
import shutil

import pytest

from mcqlora import files
from tests.helpers.runs import jobs, only_line, snakemake
from tests.workflow.test_module import run as as_module

RANKS = "variants={rank8: {train: {lora_rank: 8}}}"
SEEDS = "seeds=[0, 1, 2]"
COMPARE = {"compare", "best", "validate best"}  # `make run` asks the run's own test questions already


def counts(result):
    """{rule: jobs} of a dry run."""
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-3000:]
    table = re.search(r"^job +count\n[- ]+\n((?:.+\n)+?)total", said, re.MULTILINE)
    return {name: int(count) for name, count in map(str.split, table[1].splitlines())} if table else {}


def test_two_ranks_and_three_seeds_of_the_demo_train_five_more(dry, tmp_path):
    """On the demo's own settings: all that is not of the trainings is made once."""
    run, compared = (
        counts(dry.run(tmp_path, *more, configfile=None))
        for more in ((), ("compare", "--config", RANKS, SEEDS))
    )
    assert (run["train"], compared["train"]) == (1, 6)
    once = {"demo", "read", "shuffle", "groups", "split", "mix", "tokenizer", "encode", "shard", "base"}
    assert {rule: compared[rule] for rule in once} == {rule: run[rule] for rule in once}
    # The run's own six models, and the best checkpoint of each of the others.
    assert compared["evaluate"] == 6 + 5 and compared["validate"] == compared["best"] == 6
    assert compared.keys() - run.keys() == {"best", "validate", "compare"}


def test_a_run_without_variants_has_no_wildcard_and_its_paths(dry, tmp_path):
    said = dry.run(tmp_path).stdout
    assert "variant=" not in said and "results/tiny/splits/train.json" in said


def test_from_a_finished_run_only_the_trainings_run_and_no_data_tokenizer_or_base(dry, finished):
    found = jobs(dry.run(finished, "compare", "--config", RANKS, SEEDS))
    places = {"seed-1/", "seed-2/", *(f"variants/rank8/{seed}" for seed in ("", "seed-1/", "seed-2/"))}
    each = {
        f"{rule} {place}{model}"
        for place in places
        for rule, model in (("train", ""), ("best", ""), ("evaluate", " best"), ("validate", " best"))
    }
    assert found == each | COMPARE
    assert jobs(dry.run(finished, "--config", RANKS, SEEDS)) == set()  # `make run` trains none of them


@pytest.mark.parametrize(
    ("changes", "shared", "own"),
    [
        ("{evaluate: {rotations: 1}}", {"train", "best", "validate"}, {"evaluate"}),
        ("{train: {lora_rank: 4}}", {"train", "best", "validate", "evaluate"}, set()),
        (
            "{shuffle: {seed: 7}}",
            {"read", "groups", "tokenizer", "base"},
            {"shuffle", "split", "encode", "train"},
        ),
        (
            "{recipe: reference, tokenizer: {unused_marks: false}}",
            {"demo", "base", "tokenizer"},
            {"read", "split"},
        ),
        (
            "{base: {path: results/tiny/export/merged}}",
            {"split"},
            {"tokenizer_2", "base_2", "encode", "train"},
        ),
        # Rows are encoded once more, into temporary files: with the run's own its shards would be made again.
        ("{encode: {mask_full_rows: true}}", {"split", "base"}, {"encode", "shard", "train"}),
        ("{train: {rows: 64}}", {"encode", "shard", "base"}, {"train"}),
        ("{train: {mix: [{path: corpus.jsonl, share: 0.1}]}}", {"split", "base"}, {"mix", "encode", "train"}),
    ],
)
def test_what_users_vary(dry, finished, changes, shared, own):
    found = jobs(dry.run(finished, "compare", "--config", f"variants={{x: {changes}}}"))
    rules = {job.split()[0] for job in found if "variants/x/" in job}
    assert own <= rules and not shared & rules
    assert {job for job in found if "variants/x/" not in job} <= COMPARE


def test_equal_keys_are_one_training(dry, finished):
    found = jobs(
        dry.run(
            finished,
            "compare",
            "--config",
            "variants={a: {train: {lora_rank: 8}}, b: {train: {lora_rank: 8}}}",
        )
    )
    assert {job for job in found if job.startswith("train")} == {"train variants/a/"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            "variants={x: {train: {lora_rnak: 8}}}",
            "variants: x: unknown key train.lora_rnak; did you mean train.lora_rank?",
        ),
        ("variants={x: {trian: {lora_rank: 8}}}", "variants: x: unknown key trian; did you mean train?"),
        ("variants={a/b: {}}", "variants.a/b: does not match"),
        ("variants={x: {}, x: {}}", "variants: two are called x"),
        ("variants={x: {run: other}}", "variants: x: run belongs to the run itself"),
        ("variants={x: {data: other}}", "variants: x: data belongs to the run itself"),
        ("variants={x: {variants: {y: {}}}}", "variants: x: variants belongs to the run itself"),
        ("variants={x: {base: {path: nowhere}}}", "variants: x: base.path: there is no folder nowhere"),
    ],
)
def test_a_bad_variant_is_refused_in_one_line(dry, tmp_path, config, said):
    assert said in only_line(dry.run(tmp_path, "--config", config))


def test_in_a_module_with_a_prefix_they_are_below_it(tmp_path):
    given = {"run": "ours", "variants": {"rank8": {"train": {"lora_rank": 8}}}, "seeds": [0, 1]}
    result = as_module(tmp_path, repr(given), "--dry-run", "mcqlora_compare", more='prefix: "sub"')
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    found = counts(result)
    assert (found["mcqlora_train"], found["mcqlora_base"], found["mcqlora_demo"]) == (4, 1, 1)
    assert "sub/results/ours/variants/rank8/seed-1/adapters/best.safetensors" in result.stdout
    assert " results/ours" not in result.stdout and "sub/sub" not in result.stdout


VARIED = ("variants={rank8: {train: {lora_rank: 8}}, same: {train: {lora_rank: 4}}}", "seeds=[0, 1]")


@pytest.fixture(scope="module")
def varied(finished, tmp_path_factory):
    """A copy of the finished run, compared: two ranks, two seeds, and a variant with the run's keys."""
    folder = tmp_path_factory.mktemp("varied") / "run"
    shutil.copytree(finished, folder)
    result = snakemake(folder, "compare", "--cores", "2", "--config", *VARIED)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_a_comparison_of_two_ranks_and_two_seeds(varied, dry):
    place = varied / "results/tiny/compare"
    summary, report = files.read_json(place / "summary.json"), (place / "report.md").read_text()
    names = {row["name"] for row in summary["models"]}
    assert {"tiny-seed-1", "rank8-seed-0", "rank8-seed-1"} <= names
    spread = {row["name"]: row for row in summary["variants"]}
    assert spread["tiny"]["seeds"] == spread["rank8"]["seeds"] == [0, 1]
    assert spread["rank8"]["mean"]["seeds_error"] is not None and spread["rank8"]["difference"]
    assert summary["choice"]["tried"] == 2 and summary["choice"]["trainings"] == 4
    assert summary["same"] == {f"same-seed-{seed}": f"tiny-seed-{seed}" for seed in range(2)}
    assert "- same-seed-0 has the keys of tiny-seed-0" in report
    own = [row for row in summary["models"] if row["variant"] == "tiny"]
    assert [row["name"][:10] for row in own] == ["checkpoint", "tiny-seed-"]
    assert all(row["cost"]["steps"] > 0 for row in own)
    assert jobs(dry.run(varied, "compare", "--config", *VARIED)) == set()


@pytest.mark.slow
def test_one_more_seed_is_a_training_its_evaluation_and_the_comparison(varied, dry):
    found = jobs(dry.run(varied, "compare", "--config", VARIED[0], "seeds=[0, 1, 2]"))
    expected = set()
    for place in ("seed-2/", "variants/rank8/seed-2/"):
        expected |= {f"train {place}", f"best {place}", f"evaluate {place} best", f"validate {place} best"}
    assert found == expected | {"compare"}
