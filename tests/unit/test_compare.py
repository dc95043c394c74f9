"""All models side by side: the table, the seeds, what changed sides, and a choice without peeking."""

import csv
import json

import pytest

from mcqlora.compare import choice, costs, figures, models, page, table
from mcqlora.compare.models import Model
from mcqlora.errors import UserError
from tests.helpers.evaluations import items

IDS = [row["id"] for row in items(0)]
GROUPS = {name: name for name in IDS}


def seen_of(found_in_test=1, found_in_valid=0, ids=()):
    """A `trained_on`."""
    test, valid = ({"questions": 40, "found": n} for n in (found_in_test, found_in_valid))
    return {"test": test, "valid": valid, "ids": ids}


def text_of(summary):
    return page.markdown(summary, "demo", {"accuracies": "a.svg", "learning_curve": "b.svg"})


def made(name, right, **known):
    """A model that answers the first `right` of 40 questions right."""
    return Model(name=name, source="run", answers={"answer": items(right)}, **known)


def wrong(name, few, **known):
    """Right but for the questions of these numbers."""
    rows = [row | {"correct": i not in few} for i, row in enumerate(items(40))]
    return Model(name=name, source="run", answers={"answer": rows}, **known)


def found(compared, against="base", groups=GROUPS):
    return table.build(compared, against, "answer", groups)


def row(summary, name):
    return next(one for one in summary["models"] if one["name"] == name)


def test_each_model_is_paired_with_the_one_that_is_named():
    summary = found([made("base", 20), made("better", 34), made("same", 20)])
    better, same = row(summary, "better"), row(summary, "same")
    assert better["difference"]["value"] == pytest.approx(14 / 40)
    assert better["mcnemar_p"] == pytest.approx(2 * 0.5**14)
    assert better["mcnemar_p_holm"] == pytest.approx(2 * better["mcnemar_p"])
    assert len(better["changed"]["gained"]) == 14 and better["changed"]["lost"] == []
    assert same["mcnemar_p"] == 1 and same["needed"] is None
    assert row(summary, "base")["difference"] is None
    turned = found([made("base", 20), made("better", 34)], against="better")
    assert row(turned, "base")["difference"]["value"] == pytest.approx(-14 / 40)


def test_clusters_count_once():
    """Twenty questions of one group are one draw."""
    one = {name: "x" if i < 20 else name for i, name in enumerate(IDS)}
    alone, together = (found([made("base", 0), made("m", 20)], groups=groups) for groups in (GROUPS, one))
    assert row(alone, "m")["mcnemar_p"] < 1e-4 and row(together, "m")["mcnemar_p"] == 1
    assert row(together, "m")["mcq"]["clusters"] == 21


def test_only_questions_that_both_answered_are_paired():
    other = Model(name="other", source="samples", answers={"harness": items(30)[:25]})
    both = row(found([made("base", 20), other]), "other")
    assert both["paired"] == {"n": 25, "clusters": 25, "protocol": "answer"} and both["protocol"] == "harness"
    assert both["mcq"]["n"] == 25 and len(both["changed"]["gained"]) == 5


def test_another_tool_s_answers_are_compared_with_those_by_the_same_protocol():
    base = Model(name="base", source="run", answers={"answer": items(0), "harness": items(30)})
    other = Model(name="other", source="samples", answers={"harness": items(30)})
    assert row(found([base, other]), "other")["difference"]["value"] == 0


def test_models_without_a_question_in_common_are_refused():
    other = Model(name="other", source="run", answers={"answer": items(3, split="valid")})
    groups = GROUPS | {item["id"]: item["id"] for item in items(3, split="valid")}
    with pytest.raises(UserError, match="no question in common"):
        found([made("base", 20), other], groups=groups)


def test_one_without_a_question_in_common_is_not_compared_and_says_so():
    other = Model(name="other", source="run", answers={"answer": items(3, split="valid")})
    groups = GROUPS | {item["id"]: item["id"] for item in items(3, split="valid")}
    summary = found([made("base", 20), made("m", 30), other], groups=groups)
    alone = row(summary, "other")
    assert alone["paired"]["n"] == 0 and alone["difference"] is None and alone["mcq"]["n"] == 40
    assert row(summary, "m")["mcnemar_p_holm"] == row(summary, "m")["mcnemar_p"]  # one test, not two
    assert "other: None of its test questions were asked of base too" in text_of(summary)


def test_one_with_some_questions_in_common_says_on_how_many_it_is_compared():
    other = Model(name="other", source="run", answers={"answer": [*items(30)[:25], *items(9, split="x")]})
    groups = GROUPS | {item["id"]: item["id"] for item in items(9, split="x")}
    text = text_of(found([made("base", 20), other], groups=groups))
    assert "other: 25 of its 65 test questions were asked of base too; the difference is on these." in text


def test_a_reference_may_be_a_variant_whose_first_training_counts():
    summary = found([made("base", 20), *seeds()], against="rank8")
    assert summary["against"] == "rank8-0" and row(summary, "rank8-0")["difference"] is None


def test_an_unknown_reference_names_those_that_there_are():
    with pytest.raises(UserError, match=r"no model nobody; choose one of base, m"):
        found([made("base", 1), made("m", 2)], against="nobody")


def seeds():
    few = [{1, 2, 3}, {2, 3, 4, 5}, {3}]
    return [wrong(f"rank8-{i}", part, variant="rank8", seed=i) for i, part in enumerate(few)]


def test_a_variant_has_a_mean_over_its_seeds_with_both_sources_of_chance():
    (base, variant) = found([made("base", 20), *seeds()])["variants"]
    assert base["name"] == "base" and base["difference"] is None
    assert variant["seeds"] == [0, 1, 2] and variant["mean"]["value"] == pytest.approx(112 / 120)
    assert variant["mean"]["seeds_error"] is not None and variant["mean"]["seeds"] == (3,)
    assert variant["difference"]["value"] == pytest.approx(112 / 120 - 0.5)
    assert variant["difference"]["low"] > 0 and variant["difference"]["seeds_error"] is None  # one base


def test_without_seeds_there_is_no_spread_of_them():
    assert found([made("base", 20), made("m", 30)])["variants"] == []


def test_the_choice_is_by_validation_and_the_test_of_the_chosen_is_told_once():
    """Though another has the better test."""
    trained = models.variants(
        [
            made("a", 10, variant="a", valid=items(30, split="val")),
            made("b-0", 20, variant="b", valid=items(38, split="val")),
            made("b-1", 22, variant="b", valid=items(36, split="val")),
            made("c", 40, variant="c", valid=items(35, split="val")),
            made("d", 40, variant="d"),
        ]
    )
    made_choice = choice.choose(trained, "answer", GROUPS)
    assert (made_choice["chosen"], made_choice["model"]) == ("b", "b-0")
    assert (made_choice["tried"], made_choice["trainings"]) == (3, 4)
    assert made_choice["test"]["accuracy"] == 0.5
    assert choice.choose({"d": trained["d"], "a": trained["a"]}, "answer", GROUPS) is None


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"valid": items(39, split="dev")}, "other validation questions"),
        ({"valid": ()}, "no validation questions were asked"),
        (
            {"valid": items(39, split="val"), "trained_on": seen_of(found_in_valid=3)},
            "LEAKED: validation questions were trained on",
        ),
    ],
)
def test_a_variant_with_other_or_leaked_validation_questions_takes_no_part_in_the_choice(known, why):
    compared = [
        made("base", 5),
        made("a", 10, variant="a", valid=items(30, split="val")),
        made("b", 20, variant="b", valid=items(31, split="val")),
        made("odd", 40, variant="odd", **known),
    ]
    summary = found(compared)
    assert summary["choice"]["chosen"] == "b" and summary["choice"]["tried"] == 2
    assert summary["choice"]["left_out"] == {"odd": why}
    assert f"| odd | {why} |" in text_of(summary)


def test_judged_models_take_no_part_in_the_choice():
    judged = [made(name, 40, valid=items(40, split="val")) for name in ("x", "y")]
    assert found([made("base", 5), *judged])["choice"] is None


def test_a_learning_curve_by_training_rows():
    summary = found([made("base", 5), made("l", 30, rows=900), made("s", 20, rows=100)])
    assert [(one["rows"], one["value"]) for one in summary["learning_curve"]] == [(100, 0.5), (900, 0.75)]
    assert found([made("base", 5), made("l", 30, rows=900)])["learning_curve"] == []


def test_questions_that_were_trained_on_are_left_out_once_more():
    part = {"questions": 40, "found": 2, "found_by": {}}
    seen = {"ids": IDS[:2], "test": part, "valid": part | {"found": 0}, "files": []}
    leaked = row(found([made("base", 20), made("m", 21, trained_on=seen)]), "m")
    assert leaked["clean"]["n"] == 38 and leaked["clean"]["correct"] == 19
    assert leaked["mcq"]["n"] == 40


def whole():
    part = {"questions": 40, "found": 1, "found_by": {"question_text": 1}}
    seen = {"ids": IDS[:1], "test": part, "valid": part, "files": []}
    counts = {
        "rows": 50,
        "by_id": 1,
        "by_text": 39,
        "unmatched": 9,
        "twice": 1,
        "other_gold": 0,
        "missing": 0,
    }
    samples = Model(name="s", source="samples", answers={"harness": items(21)}, matched=counts)
    cost = {"steps": 10, "tokens": 1234.5, "hours": 0.5, "memory_gb": 1.25}
    others = [
        made("leaky", 39, trained_on=seen, cost=cost),
        samples,
        made("big", 30, rows=900, variant="big"),
    ]
    valid = [made(name, 30, variant=name, valid=items(k, split="val")) for name, k in (("v", 3), ("w", 4))]
    return found([made("base", 20, rows=10), *others, *valid, *seeds()])


def test_the_page_says_what_the_tests_bear_and_no_more(tmp_path):
    summary = whole()
    text = page.markdown(summary, "demo", {"accuracies": "a.svg", "learning_curve": "b.svg"})
    lines = text.split("\n")
    assert "**leaky: better**" in text and "**LEAKED**: 1 of 40 test questions" in text
    line = next(line for line in lines if line.startswith("- **s: no difference shown**"))
    assert "base was asked by full answer, it by lm-evaluation-harness" in line
    assert f"{row(summary, 's')['needed']:,} questions" in line
    assert "**Chosen among 2 variants with 2 models: w**" in text
    assert "40 of 50 items are of test questions (1 by id, 39 by text; 10 left out)" in text
    assert "| leaky | 10 | 1,234 | 0.50 | 1.2 |" in text
    for heading in ("## Seeds", "## Training rows", "## What it took", "## Which questions changed sides"):
        assert heading in lines
    assert "## Seeds" not in page.markdown(
        found([made("base", 1), made("m", 2)]), "demo", {"accuracies": "a.svg", "learning_curve": "b"}
    )
    json.dumps(summary)


def test_a_variant_with_several_seeds_has_one_line():
    text = text_of(found([made("base", 20), made("m", 30), *seeds()]))
    assert "- **rank8: better**, mean of 3 seeds 93.3 %" in text and "- **m: better**" in text
    assert "**rank8-0:" not in text and "| rank8-0 |" in text


def test_figures_have_the_same_bytes_and_every_model(tmp_path):
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        paths = {name: tmp_path / turn / f"{name}.svg" for name in ("accuracies", "learning_curve")}
        figures.draw(whole(), paths, {"x.json": "a" * 64})
    for name in ("accuracies", "learning_curve"):
        one, two = (tmp_path / turn / f"{name}.svg" for turn in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    drawn = (tmp_path / "one" / "accuracies.svg").read_text()
    names = ("base", "leaky, LEAKED", "s", "rank8-1", "rank8, mean of 3")
    assert all(f"{name} (n = 40)" in drawn for name in names) and "mean of 1" not in drawn
    assert "$" not in (tmp_path / "one" / "learning_curve.svg").read_text()  # no power of ten as TeX


def test_what_a_training_took(tmp_path):
    path = tmp_path / "train.tsv"
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("s", "max_rss"), ("7200", "1000")])
    points = [{"name": "checkpoint_1", "step": 50}, {"name": "checkpoint_2", "step": 100}]
    facts = {"training": {"steps": 100, "tokens": 1000, "checkpoints": points}}
    took = costs.of_run(facts, path)
    assert took["checkpoint_1"] == {"steps": 50, "tokens": 500, "hours": 1, "memory_gb": 1000 * 2**20 / 1e9}
    with pytest.raises(UserError, match="no Snakemake benchmark file"):
        costs.of_run(facts, tmp_path / "none.tsv")
