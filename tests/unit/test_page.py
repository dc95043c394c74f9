import re

import orjson
import pytest

from mcqlora.data.leakage import LOOKED_FOR
from mcqlora.report import page, schema, verdicts
from tests.helpers.evaluations import (
    build,
    earlier_best,
    few,
    full,
    full_mcq,
    ids,
    items,
    mcq,
    squad_scores,
    with_options,
)

FIGURES = {
    name: f"figures/{name}.svg"
    for name in ("loss", "heatmap", "forest", "comparison", "letters", "reliability", "leak")
}


def text(**changes):
    return page.markdown(build(few(**changes)), {})


@pytest.fixture(scope="module")
def whole():
    return build(full())


def test_the_report_can_be_made_from_summary_json_alone(whole):
    assert page.markdown(orjson.loads(orjson.dumps(whole)), FIGURES) == page.markdown(whole, FIGURES)


def test_the_verdicts_come_first(whole):
    lines = [line for line in page.markdown(whole, {}).splitlines() if line.startswith("- ")]
    assert [re.match(r"- \*\*([A-Za-z]+)", line).group(1) for line in lines] == [
        "Learnt",
        "Leak",
        "Retained",
        "Contest",
        "Robustness",
    ]
    assert all(re.search(r"n = [\d,]+", line) and re.search(r"\[\^\w+\]$", line) for line in lines)


@pytest.mark.parametrize(
    ("right", "line"),
    [
        (36, "**Learnt: yes**, on unseen questions: 90.0 % ["),
        (1, "**Learnt: no, tuned is worse**, on unseen questions: 2.5 % ["),
        (13, "**Learnt: not shown**, on unseen questions: 32.5 % ["),
    ],
)
def test_the_verdict_follows_the_numbers(right, line):
    values = few()["mcq"]
    found = text(mcq={"base": values["base"], "checkpoint_2": mcq(right)})
    assert f"- {line}" in found and "n = 40" in found
    assert ("would likely be missed" in found) == (right == 13)


def test_a_leaked_run_says_so_first():
    honest, leaked = (text(leaked=flag) for flag in (False, True))
    assert "LEAKED" in leaked.splitlines()[2] and leaked.splitlines()[4].startswith("- **LEAKED**")
    assert "on unseen questions" not in leaked and "can't be told" in leaked
    assert "no unseen questions were held out" in leaked
    assert "LEAKED" not in honest and "**Leak: none found**" in honest
    assert all(f"by {words}" in honest for words in LOOKED_FOR.values())


def test_the_leak_is_told_side_by_side(whole):
    found = page.markdown(whole, {})
    assert (
        "Tuned scores 100.0 % [91.2, 100.0] on training questions and 90.0 % [76.9, 96.0] on unseen ones"
        in found
    )
    assert (
        "| checkpoint_2 (tuned) | 90.0 % [76.9, 96.0], n = 40 | 100.0 % [91.2, 100.0], n = 40 | +10.0 ["
        in found
    )
    assert "| base | 30.0 % [" in found
    line = next(line for line in found.splitlines() if line.startswith("| checkpoint_2 (tuned) |"))
    assert line.split(" | ")[-1].startswith("+10.0 [") and line.endswith(", n = 80 |")
    assert next(line for line in found.splitlines() if line.startswith("| base | 30.0")).endswith("| - |")
    assert "| full answer, leak gap beyond the base's | 80 | - | +25.0 [" in found


@pytest.mark.parametrize(
    ("base", "tuned", "said"),
    [
        (
            (12, 12),
            (20, 30),
            "gained 25.0 [5.5, 44.5] points more than unseen ones (n = 80): what testing on",
        ),
        ((12, 22), (20, 30), "is not shown: their gain, re-ordered, minus the gain on unseen ones is +0.0 ["),
        ((12, 12), (30, 20), "gained less than unseen ones, -25.0 ["),
    ],
)
def test_the_verdict_on_a_leak_speaks_from_the_difference_of_the_differences(base, tuned, said):
    """In the second the gap of tuned, +25 points, would look like a leak's; the base has the same."""
    found = build(full(mcq={"base": full_mcq(*base), "checkpoint_2": full_mcq(*tuned)}))
    assert said in verdicts.verdicts(found)[1]
    shown = found["leak"]["did"]["low"] > 0
    assert shown == ("what testing on them would add" in page.markdown(found, {}))


def test_a_leak_is_not_told_of_a_tuned_model_alone():
    values = full()
    values["mcq"]["base"]["leak"] = None
    found = verdicts.verdicts(build(values))[1]
    assert "What a leak would add is not known: the base was not asked." in found and "+10.0 [" in found


def test_the_report_says_how_many_clusters_there_are(whole):
    assert "clusters)" not in page.markdown(whole, {})
    values = full()
    groups = {
        name: re.sub(r"\d+$", lambda found: f"{int(found[0]) // 4}", name) for name in ids(values["mcq"])
    }
    found = page.markdown(build(values | {"groups": groups}), {})
    assert "n = 40 (20 clusters), exact McNemar p" in found
    assert "| full answer: accuracy over all rotations (%) | 160 (40 questions, 20 clusters) |" in found


def test_the_report_of_mixed_numbers_of_options_says_their_chance():
    summary = build(with_options(full(), (2, 3, 4, 5, 10)))
    chance = (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 10) / 5
    assert summary["mcq"]["chance"] == pytest.approx(chance)
    assert summary["leak"]["chance"] == pytest.approx(chance)
    found = page.markdown(summary, FIGURES)
    assert "Chance is 27.7 %; for guesses that score as high (full answer): base p = " in found
    assert ", H " in found  # the recall of a letter that only questions with ten options have


def test_what_was_not_run_is_said():
    found = page.markdown(build(few()), FIGURES)
    assert "Not run: no training questions were asked again (evaluate.leak_items 0, or " in found
    assert "Rotated options: not run (evaluate.rotations 1, " in found
    assert "figures/leak.svg" not in found and "figures/loss.svg" in found
    assert "nan" not in found and "None" not in found


@pytest.mark.parametrize(
    ("base", "tuned", "line"),
    [
        (squad_scores(60, 90), squad_scores(20, 90), "**Retained ability, at least 90 %: not kept**"),
        (squad_scores(60, 90), squad_scores(60, 90), "**Retained ability, at least 90 %: kept**"),
        (squad_scores(60, 90), squad_scores(54, 90), "**Retained ability, at least 90 %: not decided**"),
        (squad_scores(0), squad_scores(0), "**Retained ability, at least 90 %: can't be told**"),
        (squad_scores(15), None, "**Retained ability: not measured**, no SQuAD score of tuned."),
    ],
)
def test_retained_ability_is_told_from_the_official_f1(base, tuned, line):
    found = text(squad={"base": base} | ({"checkpoint_2": tuned} if tuned else {}))
    assert line in found
    assert ("not measured |" in found.split("## Retained ability")[1]) == (tuned is None)


def test_every_model_and_task_has_its_row(whole):
    found = page.markdown(whole, {})
    heads = next(line for line in found.splitlines() if line.startswith("| %"))
    assert heads == "| %[^all] | n | base | checkpoint_1 | checkpoint_2 (tuned, best, last) |"
    assert "| validation loss (nats per token) | 9 | - | 1.5000 | 1.2500 |" in found
    assert "| full answer, right in all rotations | 40 | " in found
    assert "| full answer, leak gap | 80 | " in found
    step = next(
        line for line in found.splitlines() if line.startswith("| full answer against the previous model")
    )
    assert step.startswith("| full answer against the previous model | 40 | - | +20.0 [")


def test_every_number_names_the_files_it_was_made_from(whole):
    found = page.markdown(whole, FIGURES)
    used = set(re.findall(r"(?<!^)\[\^(\w+)\]", found, re.M))
    defined = dict(re.findall(r"^\[\^(\w+)\]: (.*)$", found, re.M))
    assert used == set(defined)
    for name, value in whole["inputs"].items():
        assert f"{name} `{value[:12]}`" in found
    assert "checkpoint_1" not in defined["mcq"] and "checkpoint_1" in defined["all"]
    assert "hashes were not given" in text()


def test_tables_are_whole(whole):
    for found in (page.markdown(whole, FIGURES), text()):
        width = None
        for line in found.splitlines():
            if line.startswith("|"):
                assert line.endswith("|")
                width = width or line.count("|")
                assert line.count("|") == width
            else:
                width = None


def test_the_report_says_how_it_was_made(whole):
    found = page.markdown(whole, FIGURES)
    assert "52 read, 50 kept, 2 dropped (equal options 2)" in found
    assert "229 of 100,000 (0.229 %)" in found
    assert "Drawn from 10,570 questions (official) and 2,067 first questions" in found
    assert "Prompts shortened to fit: CMMLU's own, 5-shot 2 of 20." in found
    assert "since their category has no more: CMMLU's own, 5-shot 3 of 20." in found
    assert "CMMLU's own, 5-shot 100.0 % [" in found  # its own average is over categories
    assert all(f"]({path})" in found for path in FIGURES.values())


def test_what_is_mixed_in_has_a_row_for_each_file():
    one = {"file": "talk.json", "documents": 1_000, "share": 0.1, "ids": 9, "share_of_ids": 0.25, "long": 3}
    values = few(mix=[one, one | {"file": "b.txt", "long": 0}])
    values["hashes"] = {"packing.json": "c" * 64}
    built = build(values)
    assert built["mix"] == values["mix"] and build(few())["mix"] == []
    found = page.markdown(built, {})
    shares = "10.0 % of all training records, 25.0 % of their ids"
    assert f"| mixed in[^mix] | 1,000 records of talk.json, 3 of them longer than a row: {shares} |" in found
    assert f"| mixed in[^mix] | 1,000 records of b.txt: {shares} |" in found
    assert f"[^mix]: Made from (SHA-256) packing.json `{'c' * 12}`." in found
    assert "mixed in" not in text() and "[^mix]" not in text()


def test_the_best_and_the_last_checkpoint_are_named():
    values = earlier_best(few(squad={}))
    found = page.markdown(build(values), {})
    best = "Best by validation loss checkpoint_1 (1.5000 nats per token). The last is checkpoint_2."
    assert f"Tuned is checkpoint_1, chosen by validation loss. {best}" in found
    assert "checkpoint_2 against checkpoint_1: -7.5 [" in found
    assert "| checkpoint_1 (tuned, best) | checkpoint_2 (last) |" in found
    values["training"]["history"] = []
    assert "no validation loss says which is the best" in page.markdown(build(values), {})


def test_both_rules_are_named_where_both_were_measured():
    valid = {name: {"items": items(right, n=8)} for name, right in (("checkpoint_1", 6), ("checkpoint_2", 4))}
    found = page.markdown(build(few(squad={}, valid=valid), best="valid_accuracy"), {})
    assert (
        "Tuned is checkpoint_1, chosen by validation accuracy. Best by validation loss checkpoint_2 ("
        in found
    )
    assert "; best by validation accuracy checkpoint_1 (75.0 % [" in found
    assert "| full answer, validation questions | 10 | - | 75.0 [" in found


def test_several_benchmarks_have_rows_of_their_own():
    values = few()
    for scores in values["mcq"].values():
        for item in scores["protocols"]["answer"]["items"][::2]:
            item["id"] = item["id"].replace("demo/", "other/")
    assert "| full answer, other alone | 20 |" in page.markdown(build(values), {})


def test_the_calibration_shown_is_the_headline_s_or_the_first():
    for protocol in ("answer", "generation"):
        name, parts = schema.calibrated(build(few(), protocol))
        assert name == "answer" and list(parts) == ["base", "tuned"]
    bare = few()
    for scores in bare["mcq"].values():
        for part in scores["protocols"].values():
            for item in part["items"]:
                item.pop("scores", None)
    assert schema.calibrated(build(bare)) is None
