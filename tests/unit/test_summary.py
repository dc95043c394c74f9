import copy
import math

import orjson
import pytest
import scipy.stats

from mcqlora.errors import UserError
from mcqlora.evaluate.selection import RULES, best_checkpoint
from mcqlora.report import comparison, intervals, robustness, summary
from tests.helpers.evaluations import (
    alone,
    build,
    earlier_best,
    few,
    full,
    full_mcq,
    items,
    mcq,
    squad_scores,
)


def test_summary_holds_every_number():
    found = build(few())
    low, high = intervals.wilson(36, 40)
    macro = intervals.macro([1] * 36 + [0] * 4, [0, 1] * 20, range(40))
    assert found["mcq"]["tuned"] == {
        "n": 40,
        "questions": 40,
        "clusters": 40,
        "correct": 36,
        "accuracy": 0.9,
        "low": low,
        "high": high,
        "chance_p": pytest.approx(scipy.stats.binom.sf(35, 40, 0.25)),
        "unparsed": 0,
        "macro": {"n": 2} | macro,
        "stderr": 0.05,
    }
    assert found["mcq"]["base"]["accuracy"] == 0.3
    assert found["mcq"]["base"]["chance_p"] == pytest.approx(scipy.stats.binom.sf(11, 40, 0.25))
    assert found["mcq"]["chance"] == found["mcq"]["categories"]["rows"][0]["chance"] == 0.25
    chances = {(task["task"], task["detail"]): task["chance"] for task in build(full())["tasks"]}
    assert {task for (task, _), chance in chances.items() if chance == 0.25} == {"mcq", "circular", "recipe"}
    assert {task for (task, _), chance in chances.items() if chance is None} >= {"all_right", "gap", "squad"}
    assert found["mcq"]["mcnemar_p"] == pytest.approx(2 * 0.5**24)
    assert found["mcq"]["difference"]["value"] == pytest.approx(0.6)
    assert found["mcq"]["protocol"] == "answer"
    assert list(found["mcq"]["protocols"]) == ["answer", "letter", "generation"]
    assert found["mcq"]["protocols"]["answer"].items() <= found["mcq"].items()
    assert found["mcq"]["protocols"]["letter"]["mcnemar_p_holm"] == 1.0
    assert found["mcq"]["protocols"]["generation"]["tuned"]["unparsed"] == 6
    assert found["mcq"]["protocols"]["generation"]["tuned"]["n"] == 8
    categories = found["mcq"]["categories"]
    assert (categories["n"], categories["better"], categories["worse"]) == (
        2,
        ["demo/metal", "demo/river"],
        [],
    )
    assert found["mcq"]["benchmarks"]["demo"]["base"]["macro"]["value"] == 0.3
    assert found["questions"] == {"read": 52, "kept": 50, "dropped": {"equal options": 2}}
    assert found["splits"] == {"train": 200, "valid": 10, "test": 40}
    assert found["training"]["valid_loss"] == [(50, 1.5), (100, 1.25)]
    assert found["squad"]["base"]["official"]["em"] == 50.0
    assert found["squad"]["base"]["mindformers"]["n"] == 10
    rare = 100 * intervals.wilson(0, 30)[1]
    assert found["squad"]["difference"]["official"]["f1"] == {"value": 0.0, "low": -rare, "high": rare}
    assert found["contest_score"] == pytest.approx(0.3 * (1 - 0.0229) + 0.7 * 0.9)
    assert found["contest"]["n"] == 40
    assert found["contest"]["high"] - found["contest"]["low"] == pytest.approx(0.7 * (high - low))
    assert found["seconds"] == {"train": 61.5}


@pytest.mark.parametrize("values", [few, full])
def test_summary_is_plain_json_and_the_same_every_time(values):
    first, second = (orjson.dumps(build(values())) for _ in range(2))
    assert first == second


def test_contest_score_of_the_reference_recipe():
    assert summary.contest_score(16_777_216 / 7_321_948_160, 2402 / 2480) == pytest.approx(0.97111, abs=1e-5)


def test_the_validation_loss_chooses_the_checkpoint_not_the_test():
    found = build(few())
    assert (
        found["best"] == found["last"] == found["tuned"] == "checkpoint_2"
    )  # though checkpoint_1 has more right
    assert [row["mcq"]["correct"] for row in found["checkpoints"]] == [39, 36]
    assert [row["valid_loss"] for row in found["checkpoints"]] == [1.5, 1.25]
    given = build(earlier_best(few()))
    assert (given["best"], given["last"], given["tuned"]) == ("checkpoint_1", "checkpoint_2", "checkpoint_1")
    assert given["mcq"]["tuned"]["correct"] == 39
    assert given["squad"]["tuned"] is None and given["squad"]["retained"] is None


def test_validation_accuracy_may_choose():
    valid = {name: {"items": items(right, n=8)} for name, right in (("checkpoint_1", 6), ("checkpoint_2", 4))}
    values = few(squad={}, valid=valid)
    by_loss, by_accuracy = (build(values, best=rule) for rule in RULES)
    both = {"valid_loss": "checkpoint_2", "valid_accuracy": "checkpoint_1"}
    assert by_loss["best_by"] == {"rule": "valid_loss"} | both and by_loss["tuned"] == "checkpoint_2"
    assert by_accuracy["best_by"] == {"rule": "valid_accuracy"} | both
    assert by_accuracy["tuned"] == by_accuracy["best"] == "checkpoint_1"
    assert [row["valid_accuracy"] for row in by_accuracy["checkpoints"]] == [0.75, 0.5]
    assert by_accuracy["checkpoints"][0]["valid"]["n"] == 8
    missing = build(few(), best="valid_accuracy")
    assert (missing["best"], missing["tuned"]) == (None, "checkpoint_2")


def test_without_validation_the_last_checkpoint_is_taken():
    values = few()
    values["training"]["history"] = [{"step": 50, "valid_loss": None}, {"step": 100, "valid_loss": math.nan}]
    found = build(values)
    assert (found["best"], found["tuned"]) == (None, "checkpoint_2")
    assert [row["valid_loss"] for row in found["checkpoints"]] == [None, None]


def test_the_earliest_of_equally_good_checkpoints_is_the_best():
    rows = [{"name": name, "valid_loss": loss} for name, loss in (("a", None), ("b", 1.0), ("c", 1.0))]
    assert best_checkpoint(rows) == "b"


def test_orders_of_one_question_are_not_independent():
    values = few()
    for model, right in (("base", 12), ("checkpoint_2", 36)):
        values["mcq"][model]["protocols"]["answer"]["items"] = items(right, orders=("ABCD", "BADC", "DCBA"))
    del values["mcq"]["checkpoint_1"]
    once, thrice = build(few())["mcq"], build(values)["mcq"]
    assert thrice["tuned"]["n"] == 3 * once["tuned"]["n"]
    for key in ("accuracy", "low", "high", "questions"):
        assert thrice["tuned"][key] == pytest.approx(once["tuned"][key])
    assert thrice["mcnemar_p"] == once["mcnemar_p"]
    assert thrice["difference"] == pytest.approx(once["difference"])
    key = "minimum_detectable_difference"
    assert thrice[key]["value"] == pytest.approx(once[key]["value"])


def test_squad_questions_of_one_paragraph_are_not_independent():
    alone, together = squad_scores(15), squad_scores(15)
    for i, item in enumerate(together["items"]):
        item["paragraph"] = i // 15
    widths = []
    for scores in (alone, together):
        base = build(few(squad={"base": scores}))["squad"]["base"]["official"]
        widths.append(base["em_high"] - base["em_low"])
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["mcq"].pop("base"), "evaluation/base/mcq.json: not given"),
        (lambda values: values["mcq"].pop("checkpoint_2"), "evaluation/checkpoint_2/mcq.json: not given"),
        (
            lambda values: [part["protocols"].pop("answer") for part in values["mcq"].values()],
            "base/mcq.json: no 'answer' items; choose a protocol of letter, generation",
        ),
        (
            lambda values: values["mcq"]["base"]["protocols"]["letter"]["items"].pop(),
            r"checkpoint_2/mcq.json, letter: .*\(39 and 40; e.g. demo/river/test/39\)",
        ),
        (lambda values: values["squad"]["base"]["items"].pop(), "checkpoint_2/squad.json: .*different items"),
    ],
)
def test_missing_or_unequal_evaluations_are_named(change, message):
    values = copy.deepcopy(few())
    change(values)
    with pytest.raises(UserError, match=message):
        build(values)


def test_categories_are_those_of_the_ids():
    rows = comparison.categories(alone(items(12)), alone(items(36)))
    assert [(row["category"], row["n"], row["base"][0], row["tuned"][0]) for row in rows] == [
        ("demo/metal", 20, 6, 18),
        ("demo/river", 20, 6, 18),
    ]
    assert rows[0]["tuned"][1:] == intervals.wilson(18, 20)
    assert rows[0]["mcnemar_p"] == pytest.approx(2 * 0.5**12)
    assert rows[0]["mcnemar_p_holm"] == pytest.approx(2 * rows[0]["mcnemar_p"])
    table = comparison.accuracy_by_model(few()["mcq"], "answer")
    assert list(table) == ["demo/metal", "demo/river"]
    assert table["demo/metal"]["checkpoint_2"] == {"n": 20, "correct": 18}


def test_only_significant_categories_count_as_changed():
    values = few()
    values["mcq"]["checkpoint_2"] = mcq(20)
    found = build(values)["mcq"]["categories"]
    assert (found["n"], found["better"], found["worse"]) == (2, [], [])


def test_every_pair_of_models_is_compared_and_adjusted_together():
    found = build(full())["comparisons"]
    assert [(pair["left"], pair["right"]) for pair in found["pairs"]] == [
        ("base", "checkpoint_1"),
        ("base", "checkpoint_2"),
        ("checkpoint_1", "checkpoint_2"),
    ]
    assert [pair["difference"]["value"] for pair in found["pairs"]] == pytest.approx([0.2, 0.6, 0.4])
    raw = [pair["mcnemar_p"] for pair in found["pairs"]]
    assert raw == pytest.approx([2 * 0.5**8, 2 * 0.5**24, 2 * 0.5**16])
    assert [pair["mcnemar_p_holm"] for pair in found["pairs"]] == intervals.holm(raw)


def test_the_leak_is_told_for_tuned_and_for_every_model():
    leak = build(full())["leak"]
    assert leak["protocol"] == "answer"
    assert (leak["honest"]["n"], leak["honest"]["value"]) == (40, 0.9)
    assert (leak["recipe"]["n"], leak["recipe"]["value"]) == (40, 1.0)
    assert leak["gap"]["value"] == pytest.approx(0.1) and leak["gap"]["n"] == 80
    assert (leak["honest"]["low"], leak["honest"]["high"]) == intervals.wilson(36, 40)
    gap = intervals.independent_difference(leak["recipe"], leak["honest"])
    assert leak["gap"] == {"n": 80, "clusters": 80} | gap
    assert list(leak["models"]) == ["base", "checkpoint_1", "checkpoint_2"]
    assert leak["models"]["checkpoint_2"] == {key: leak[key] for key in ("honest", "recipe", "gap", "did")}
    assert [part["gap"]["value"] for part in leak["models"].values()] == pytest.approx([0.0, 0.25, 0.1])


def test_what_a_leak_adds_is_the_difference_of_the_differences():
    """Of 40 each: unseen 12 -> 20, re-ordered training questions 12 -> 30; each gain is of pairs."""
    values = full()
    leak = build(values)["leak"]
    did = leak["models"]["checkpoint_1"]["did"]
    assert (did["n"], did["clusters"], did["value"]) == (80, 80, pytest.approx(18 / 40 - 8 / 40))
    # The standard error is that of two independent shares of pairs that turned right.
    error = 1.96 * math.sqrt(0.45 * 0.55 / 40 + 0.2 * 0.8 / 40)
    assert (did["low"], did["high"]) == pytest.approx((0.25 - error, 0.25 + error), abs=0.02)
    assert leak["models"]["base"]["did"] is None and leak["did"] == leak["models"]["checkpoint_2"]["did"]
    for name, part in leak["models"].items():
        if name != "base":
            gaps = part["gap"]["value"] - leak["models"]["base"]["gap"]["value"]
            assert part["did"]["value"] == pytest.approx(gaps)


def test_a_gap_that_the_base_has_too_is_no_leak():
    """Re-ordered training questions are easier by 25 points for both: the gap is one, the difference none."""
    mcq = {"base": full_mcq(4, 14), "checkpoint_2": full_mcq(24, 34)}
    leak = build(full(mcq=mcq))["leak"]
    assert leak["gap"]["low"] > 0
    assert leak["did"]["value"] == pytest.approx(0) and leak["did"]["low"] < 0 < leak["did"]["high"]


def test_the_difference_of_the_differences_needs_the_same_questions():
    values = full()
    values["mcq"]["base"]["leak"]["recipe"]["answer"]["items"].pop()
    with pytest.raises(UserError, match=r"checkpoint_1/mcq.json, leak answer: .*\(39 and 40"):
        build(values)


def test_a_leak_that_was_not_measured_is_none():
    leak = build(few())["leak"]
    assert (leak["honest"]["value"], leak["recipe"], leak["gap"], leak["did"]) == (0.9, None, None, None)
    leak = build(few(leaked=True))["leak"]
    assert (leak["honest"], leak["recipe"]["value"], leak["gap"], leak["did"]) == (None, 0.9, None, None)


def copied(values, copies):
    """Each question `copies` times under other ids, and the group of all."""
    groups = {}

    def again(part):
        if isinstance(part, dict):
            return {key: many(item) if key == "items" else again(item) for key, item in part.items()}
        return part

    def many(rows):
        made = [row | {"id": f"{row['id']}0{k}"} for row in rows for k in range(copies)]
        groups.update({row["id"]: row["id"][:-2] for row in made})
        return made

    mcq = again(values["mcq"])
    return values | {"mcq": mcq, "groups": groups}


NUMBERS = ("value", "accuracy", "low", "high", "mcnemar_p", "mcnemar_p_holm", "equal_p", "clusters")


def numbers(part, path=()):
    """{path: number} of all that a summary tells of intervals and tests."""
    found = {}
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, dict | list | tuple):
            found |= numbers(value, (*path, key))
        elif key in NUMBERS and value is not None:
            found[(*path, key)] = value
    return found


def test_duplicates_that_were_drawn_together_tell_nothing_new():
    """Every question twice, in one group: every interval and p is that of the questions once."""
    once, twice = build(full()), build(copied(full(), 2))
    assert (twice["mcq"]["tuned"]["n"], twice["mcq"]["tuned"]["clusters"]) == (80, 40)
    kept = numbers(once)
    assert len(kept) > 300 and numbers(twice) == pytest.approx(kept)
    # The same items as independent ones: narrower by the root of the design effect, p smaller.
    values = copied(full(), 2)
    apart = build(values | {"groups": None})
    width = {
        name: part["mcq"]["difference"]["high"] - part["mcq"]["difference"]["low"]
        for name, part in (("apart", apart), ("twice", twice))
    }
    assert width["twice"] / width["apart"] == pytest.approx(math.sqrt(2), rel=0.1)
    assert apart["mcq"]["mcnemar_p"] == pytest.approx(2 * 0.5**48)
    assert apart["leak"]["did"]["low"] > twice["leak"]["did"]["low"]


def test_a_question_without_a_group_is_named():
    with pytest.raises(UserError, match=r"groups.json: no group of demo/.*; delete it and run again"):
        build(few(groups={"demo/metal/test/0": "demo/metal/test/0"}))


def test_the_leak_by_another_protocol_when_the_headline_has_none():
    leak = build(full(), protocol="letter")["leak"]
    assert leak["protocol"] == "answer" and leak["honest"]["value"] == 0.9


def test_rotations_are_clustered_by_question():
    values = full()
    found = build(values)["circular"]
    assert (found["questions"], found["pinned"]) == (40, 3)
    part = found["protocols"]["answer"]
    turned = alone(values["mcq"]["checkpoint_2"]["circular"]["answer"]["items"])
    assert part["tuned"] == robustness.circular(turned)
    assert (part["tuned"]["n"], part["tuned"]["correct"], part["tuned"]["all_right"]["correct"]) == (
        160,
        143,
        35,
    )
    # 23 questions gained four rotations and one gained three.
    assert part["mcnemar_p"] == pytest.approx(2 * 0.5**24)
    assert build(few())["circular"] is None


def test_robustness_of_both_sides_by_every_protocol():
    values = full()
    found = build(values)["robustness"]
    assert list(found) == ["base", "tuned"]
    assert list(found["tuned"]) == ["answer", "letter", "cmmlu_5shot"]
    part = found["tuned"]["answer"]
    same = alone(values["mcq"]["checkpoint_2"]["protocols"]["answer"]["items"])
    assert part["rstd"] == robustness.letters(same)["rstd"]
    assert part["calibration"] == robustness.calibration(same)


def test_likelihoods_per_character_and_texts_have_no_calibration():
    values = few()
    for scores in values["mcq"].values():
        scores["protocols"]["answer_norm"] = scores["protocols"]["answer"]
    found = build(values)["robustness"]["tuned"]
    assert found["answer"]["calibration"] and not found["answer_norm"]["calibration"]
    assert not found["generation"]["calibration"]


def test_what_was_retained_by_each_scorer_and_score():
    values = full()
    found = build(values)["squad"]
    assert (found["of"], found["of_first"], found["truncated"]) == (10_570, 2_067, 1)
    part = found["retained"]["official"]["em"]
    assert (part["value"], part["verdict"], part["share"], part["n"]) == (0.5, "lost", 0.9, 90)
    both = [
        [item["official"]["em"] for item in values["squad"][model]["items"]]
        for model in ("base", "checkpoint_2")
    ]
    assert part == intervals.kept_share(*both, range(90), 0.9)
    assert found["retained"]["mindformers"]["f1"]["n"] == 30
    kept = build(earlier_best(full()))["squad"]["retained"]
    assert kept["official"]["f1"]["verdict"] == "kept"
    # Twenty paragraphs with any score may all be kept by chance.
    assert kept["mindformers"]["em"]["verdict"] == "undecided"


def test_tasks_hold_every_score_of_every_model():
    found = build(full())["tasks"]
    assert [(row["task"], row["detail"]) for row in found] == [
        ("mcq", "answer"),
        ("mcq", "letter"),
        ("mcq", "cmmlu_5shot"),
        ("circular", "answer"),
        ("all_right", "answer"),
        ("recipe", "answer"),
        ("gap", "answer"),
        ("did", "answer"),
        ("squad", "official f1"),
        ("squad", "official em"),
        ("squad", "mindformers f1"),
        ("squad", "mindformers em"),
    ]
    for row in found:
        assert list(row["models"]) == ["base", "checkpoint_1", "checkpoint_2"]
        for model, rate in row["models"].items():
            if row["task"] == "did" and model == "base":
                assert rate is None
                continue
            assert rate["low"] <= rate["value"] <= rate["high"] and rate["n"] > 0
            assert rate["high"] <= 1
    partial = build(few())["tasks"]
    assert [row["detail"] for row in partial][:3] == ["answer", "letter", "generation"]
    assert partial[2]["models"]["checkpoint_1"] is None
    assert partial[-1]["models"]["checkpoint_1"] is None


def test_the_average_of_the_source_is_kept():
    protocols = build(full())["mcq"]["protocols"]
    assert (protocols["answer"]["average"], protocols["cmmlu_5shot"]["average"]) == ("micro", "macro")
    told = [protocols["cmmlu_5shot"][key] for key in ("shots", "truncated", "lacking")]
    assert told == [5, 2, 3]
    assert protocols["answer"]["base"]["stderr"] == 0.05


def test_the_detectable_difference_is_that_of_the_pairs():
    found = build(full())["mcq"]["minimum_detectable_difference"]
    error = intervals.clustered_standard_error([0] * 12 + [1] * 24 + [0] * 4, range(40))
    assert found["value"] == intervals.minimum_detectable_difference(error, 0.8)
    same = few()
    same["mcq"]["checkpoint_2"] = same["mcq"]["base"]
    found = build(same)["mcq"]["minimum_detectable_difference"]
    assert found["value"] == intervals.minimum_detectable_difference(1 / 40, 0.8)


def test_several_benchmarks_are_also_told_apart():
    values = few()
    for scores in values["mcq"].values():
        for item in scores["protocols"]["answer"]["items"][::2]:
            item["id"] = item["id"].replace("demo/", "other/")
    found = build(values)["mcq"]["benchmarks"]
    assert [part["tuned"]["n"] for part in found.values()] == [20, 20]


def test_seconds_add_the_jobs_of_a_stage(tmp_path):
    for name, rows in {
        "read.tsv": ["1.5"],
        "shard/train-0.tsv": ["2.0", "4.0"],
        "shard/train-1.tsv": ["5.0"],
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("s\th:m:s\n" + "".join(f"{row}\t0:00:00\n" for row in rows))
    paths = list(tmp_path.rglob("*.tsv"))
    assert summary.seconds_by_stage(paths, tmp_path) == {"read": 1.5, "shard": 8.0}


@pytest.mark.parametrize("content", [None, "", "time\n1\n", "s\nsoon\n"])
def test_a_file_that_is_no_benchmark_is_named(tmp_path, content):
    path = tmp_path / "train.tsv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: no Snakemake benchmark file"):
        summary.seconds_by_stage([path], tmp_path)
