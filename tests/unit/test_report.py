import copy
import math

import orjson
import pytest

from mcqlora import report, squad, statistics
from mcqlora.errors import UserError

CATEGORIES = ("demo/metal", "demo/river")


def items(right, n=40, orders=("ABCD",), letters=True):
    """`n` questions over two categories, the first `right` of them answered right."""
    return [
        {
            "id": f"{CATEGORIES[i % 2]}/test/{i}",
            "order": order,
            "gold": "A",
            "choice": "A" if i < right else "B" if letters else None,
            "correct": i < right,
        }
        for i in range(n)
        for order in orders
    ]


def mcq(answer, letter=10, generation=None):
    protocols = {"answer": {"items": items(answer)}, "letter": {"items": items(letter)}}
    if generation is not None:
        protocols["generation"] = {"items": items(generation, n=8, letters=False)}
    return {"model": "any", "protocols": protocols}


def squad_scores(right, n=30):
    """Every third question is the first of its paragraph, which alone has MindFormers' score."""
    rows = [
        {
            "id": f"s{i}",
            "prediction": "x",
            "official": {"em": float(i < right), "f1": 1.0 if i < right else 0.25 * (right > 0)},
            "mindformers": {"em": float(i < right), "f1": float(i < right)} if i % 3 == 0 else None,
        }
        for i in range(n)
    ]
    totals = {
        scorer: squad.aggregate((row[scorer]["em"], row[scorer]["f1"]) for row in rows if row[scorer])
        for scorer in report.SCORERS
    }
    return {"model": "any", "items": rows} | totals


def inputs(**changes):
    history = [{"step": step, "train_loss": 3.0 - step / 100} for step in range(1, 101)]
    history += [{"step": step, "valid_loss": loss} for step, loss in ((50, 1.5), (100, 1.25))]
    return {
        "run": "demo",
        "recipe": "corrected",
        "leaked": False,
        "questions": {"read": 52, "kept": 50, "dropped": {"equal options": 2}, "files": []},
        "splits": {"train": 200, "valid": 10, "test": 40},
        "parameters": {"trainable": 229, "total": 100_000, "ratio": 0.00229},
        "training": {
            "steps": 100,
            "workers": 2,
            "tokens": 123_456,
            "useful_token_fraction": 0.979,
            "history": history,
            "checkpoints": [{"name": "checkpoint_1", "step": 50}, {"name": "checkpoint_2", "step": 100}],
        },
        "mcq": {
            "base": mcq(12, generation=2),
            "checkpoint_1": mcq(39),
            "checkpoint_2": mcq(36, generation=2),
        },
        "squad": {"base": squad_scores(15), "checkpoint_2": squad_scores(15)},
        "seconds": {"train": 61.5},
    } | changes


def test_summary_holds_every_number():
    summary = report.summary(**inputs())
    low, high = statistics.wilson(36, 40)
    assert summary["mcq"]["tuned"] == {
        "n": 40,
        "questions": 40,
        "correct": 36,
        "accuracy": 0.9,
        "low": low,
        "high": high,
        "unparsed": 0,
    }
    assert summary["mcq"]["base"]["accuracy"] == 0.3
    assert summary["mcq"]["mcnemar_p"] == pytest.approx(2 * 0.5**24)
    assert summary["mcq"]["difference"]["value"] == pytest.approx(0.6)
    assert summary["mcq"]["protocol"] == "answer"
    assert list(summary["mcq"]["protocols"]) == ["answer", "letter", "generation"]
    assert summary["mcq"]["protocols"]["answer"].items() <= summary["mcq"].items()
    assert summary["mcq"]["protocols"]["letter"]["mcnemar_p_holm"] == 1.0
    assert summary["mcq"]["protocols"]["generation"]["tuned"]["unparsed"] == 6
    assert summary["mcq"]["protocols"]["generation"]["tuned"]["n"] == 8
    assert summary["mcq"]["categories"] == {"n": 2, "better": ["demo/metal", "demo/river"], "worse": []}
    assert summary["mcq"]["benchmarks"]["demo"]["macro"] == {"base": 0.3, "tuned": 0.9}
    assert summary["questions"] == {"read": 52, "kept": 50, "dropped": {"equal options": 2}}
    assert summary["splits"] == {"train": 200, "valid": 10, "test": 40}
    assert summary["training"]["valid_loss"] == [[50, 1.5], [100, 1.25]]
    assert summary["squad"]["base"]["official"]["em"] == 50.0
    assert summary["squad"]["base"]["mindformers"]["n"] == 10
    assert summary["squad"]["difference"]["official"]["f1"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert summary["contest_score"] == pytest.approx(0.3 * (1 - 0.0229) + 0.7 * 0.9)
    assert summary["seconds"] == {"train": 61.5}


def test_summary_is_plain_json_and_the_same_every_time():
    first, second = (orjson.dumps(report.summary(**inputs())) for _ in range(2))
    assert first == second
    assert report.markdown(orjson.loads(first)) == report.markdown(report.summary(**inputs()))


def test_contest_score_of_the_reference_recipe():
    assert report.contest_score(16_777_216 / 7_321_948_160, 2402 / 2480) == pytest.approx(0.97111, abs=1e-5)


def test_the_validation_loss_chooses_the_checkpoint_not_the_test():
    summary = report.summary(**inputs())
    assert summary["best"] == summary["tuned"] == "checkpoint_2"  # though checkpoint_1 has more right
    assert [row["mcq"]["correct"] for row in summary["checkpoints"]] == [39, 36]
    assert [row["valid_loss"] for row in summary["checkpoints"]] == [1.5, 1.25]
    given = report.summary(**inputs(tuned="checkpoint_1"))
    assert (given["best"], given["tuned"]) == ("checkpoint_2", "checkpoint_1")
    assert given["mcq"]["tuned"]["correct"] == 39
    assert given["squad"]["tuned"] is None and given["squad"]["difference"] is None


def test_without_validation_the_last_checkpoint_is_taken():
    values = inputs()
    values["training"]["history"] = [{"step": 50, "valid_loss": None}, {"step": 100, "valid_loss": math.nan}]
    summary = report.summary(**values)
    assert (summary["best"], summary["tuned"]) == (None, "checkpoint_2")
    assert [row["valid_loss"] for row in summary["checkpoints"]] == [None, None]
    assert "| checkpoint_2 (tuned) | 100 | not measured |" in report.markdown(summary)


def test_the_earliest_of_equally_good_checkpoints_is_the_best():
    rows = [{"name": name, "valid_loss": loss} for name, loss in (("a", None), ("b", 1.0), ("c", 1.0))]
    assert report.best_checkpoint(rows) == "b"


def test_orders_of_one_question_are_not_independent():
    values = inputs()
    for model, right in (("base", 12), ("checkpoint_2", 36)):
        values["mcq"][model]["protocols"]["answer"]["items"] = items(right, orders=("ABCD", "BADC", "DCBA"))
    once, thrice = report.summary(**inputs())["mcq"], report.summary(**values)["mcq"]
    assert thrice["tuned"]["n"] == 3 * once["tuned"]["n"]
    for key in ("accuracy", "low", "high", "questions"):
        assert thrice["tuned"][key] == pytest.approx(once["tuned"][key])
    assert thrice["mcnemar_p"] == once["mcnemar_p"]
    assert thrice["difference"] == pytest.approx(once["difference"])
    assert "n = 120 (40 questions)" in report.markdown(report.summary(**values))


def test_squad_questions_of_one_paragraph_are_not_independent():
    alone, together = squad_scores(15), squad_scores(15)
    for i, item in enumerate(together["items"]):
        item["paragraph"] = i // 15
    widths = []
    for scores in (alone, together):
        base = report.summary(**inputs(squad={"base": scores}))["squad"]["base"]["official"]
        widths.append(base["em_high"] - base["em_low"])
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["mcq"].pop("base"), "evaluation/base/mcq.json: not given"),
        (lambda values: values["mcq"].pop("checkpoint_2"), "evaluation/checkpoint_2/mcq.json: not given"),
        (
            lambda values: values.update(protocol="circular"),
            "choose a protocol of answer, letter, generation",
        ),
        (
            lambda values: values["mcq"]["base"]["protocols"]["letter"]["items"].pop(),
            r"checkpoint_2/mcq.json, letter: .*\(39 and 40; e.g. demo/river/test/39\)",
        ),
        (lambda values: values["squad"]["base"]["items"].pop(), "checkpoint_2/squad.json: .*different items"),
    ],
)
def test_missing_or_unequal_evaluations_are_named(change, message):
    values = copy.deepcopy(inputs())
    change(values)
    with pytest.raises(UserError, match=message):
        report.summary(**values)


def test_categories_are_those_of_the_ids():
    rows = report.categories(items(12), items(36))
    assert [(row["category"], row["n"], row["base"][0], row["tuned"][0]) for row in rows] == [
        ("demo/metal", 20, 6, 18),
        ("demo/river", 20, 6, 18),
    ]
    assert rows[0]["tuned"][1:] == statistics.wilson(18, 20)
    assert rows[0]["mcnemar_p"] == pytest.approx(2 * 0.5**12)


def test_only_significant_categories_count_as_changed():
    values = inputs()
    values["mcq"]["checkpoint_2"] = mcq(20)
    summary = report.summary(**values)
    assert summary["mcq"]["categories"] == {"n": 2, "better": [], "worse": []}


@pytest.mark.parametrize(
    ("right", "line"),
    [
        (36, "**Tuned beats base** on unseen questions (answer protocol): 90.0 % "),
        (1, "**Tuned is worse than base** on unseen questions (answer protocol): 2.5 % "),
        (13, "**No difference shown** between tuned and base on unseen questions (answer protocol): 32.5 % "),
    ],
)
def test_the_verdict_follows_the_numbers(right, line):
    values = inputs()
    values["mcq"]["checkpoint_2"] = mcq(right)
    text = report.markdown(report.summary(**values))
    assert f"- {line}" in text and "n = 40" in text
    assert ("would likely be missed" in text) == (right == 13)


def test_a_leaked_run_says_so_first():
    honest, leaked = (report.markdown(report.summary(**inputs(leaked=flag))) for flag in (False, True))
    assert "LEAKED" in leaked.splitlines()[2] and "on unseen questions" not in leaked
    assert "LEAKED" not in honest and "**Not leaked**" in honest


@pytest.mark.parametrize(
    ("base", "tuned", "line"),
    [
        (squad_scores(25), squad_scores(5), "**Retained ability: lost**"),
        (squad_scores(5), squad_scores(25), "**Retained ability: gained**"),
        (squad_scores(15), squad_scores(15), "**Retained ability: no change shown**"),
        (squad_scores(15), squad_scores(14), "**Retained ability: no change shown**"),
        (squad_scores(0), squad_scores(0), "**Retained ability can't be told**"),
        (squad_scores(15), None, "**Retained ability not measured**: no SQuAD score of tuned."),
    ],
)
def test_retained_ability_is_told_from_the_official_f1(base, tuned, line):
    given = {"base": base} | ({"checkpoint_2": tuned} if tuned else {})
    text = report.markdown(report.summary(**inputs(squad=given)))
    assert line in text
    assert ("not measured |" in text) == (tuned is None)


def test_markdown_names_figures_and_inputs():
    text = report.markdown(
        report.summary(**inputs()), {"Loss": "figures/loss_curve.svg"}, {"questions.jsonl": "ab" * 32}
    )
    assert "![Loss](figures/loss_curve.svg)" in text
    assert f"| questions.jsonl | `{'ab' * 32}` |" in text
    assert "52 read, 50 kept, 2 dropped (equal options 2)" in text
    assert "229 of 100,000 (0.229 %)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


def test_several_benchmarks_are_also_told_apart():
    values = inputs()
    for model in ("base", "checkpoint_2"):
        for item in values["mcq"][model]["protocols"]["answer"]["items"][::2]:
            item["id"] = item["id"].replace("demo/", "other/")
    summary = report.summary(**values)
    assert [part["tuned"]["n"] for part in summary["mcq"]["benchmarks"].values()] == [20, 20]
    assert "| answer, other alone | 20 |" in report.markdown(summary)


def test_seconds_add_the_jobs_of_a_stage(tmp_path):
    for name, rows in {
        "read.tsv": ["1.5"],
        "encode/train-0.tsv": ["2.0", "4.0"],
        "encode/train-1.tsv": ["5.0"],
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("s\th:m:s\n" + "".join(f"{row}\t0:00:00\n" for row in rows))
    paths = list(tmp_path.rglob("*.tsv"))
    assert report.seconds_by_stage(paths, tmp_path) == {"encode": 8.0, "read": 1.5}


@pytest.mark.parametrize("content", [None, "", "time\n1\n", "s\nsoon\n"])
def test_a_file_that_is_no_benchmark_is_named(tmp_path, content):
    path = tmp_path / "train.tsv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: no Snakemake benchmark file"):
        report.seconds_by_stage([path], tmp_path)
