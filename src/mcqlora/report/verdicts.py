"""The report's first lines: what the numbers of summary.json say, no more than their tests."""

from __future__ import annotations

from itertools import product

from mcqlora.data.leakage import LOOKED_FOR
from mcqlora.evaluate.protocols import label as protocol_label
from mcqlora.files import Json
from mcqlora.report import words
from mcqlora.report.intervals import ALPHA
from mcqlora.report.reading import KEPT
from mcqlora.report.schema import BASE, METRICS, SCORERS, SIDES, TUNED, calibrated


def verdicts(summary: Json) -> list[str]:
    """The report's first lines: what was learnt, leak, retained ability, contest score, robustness."""
    first = [_learnt(summary) + "[^mcq]", _leak(summary) + "[^leak]"]
    return [
        *(reversed(first) if summary["leaked"] else first),
        _retained(summary) + ("[^squad]" if summary["squad"]["retained"] else ""),
        _contest(summary) + "[^contest]",
        _robust(summary) + "[^mcq]",
    ]


def _learnt(summary: Json) -> str:
    mcq = summary["mcq"]
    label, p = protocol_label(mcq["protocol"]), words.p_value(mcq["mcnemar_p"])
    scores = (
        f"{words.accuracy(mcq[TUNED])} tuned against {words.accuracy(mcq[BASE])} base ({label}), "
        f"{words.points(mcq['difference'])}, n = {words.questions(mcq[TUNED])}, exact McNemar {p}."
    )
    if summary["leaked"]:
        return f"**Learnt: can't be told**, the test questions were trained on: {scores}"
    difference, smallest = mcq["difference"]["value"], mcq["minimum_detectable_difference"]["value"]
    if mcq["mcnemar_p"] >= ALPHA or difference == 0:
        missed = f"A difference under {100 * smallest:.1f} points would likely be missed."
        return f"**Learnt: not shown**, on unseen questions: {scores} {missed}"
    head = "**Learnt: yes**" if difference > 0 else "**Learnt: no, tuned is worse**"
    return f"{head}, on unseen questions: {scores}"


def _leak(summary: Json) -> str:
    leak, n = summary["leak"], summary["mcq"][TUNED]["questions"]
    honest, recipe, gap = leak["honest"], leak["recipe"], leak["gap"]
    if summary["leaked"]:
        what = "re-orders questions of the training set; accuracy measures memory"
        return f"**LEAKED**: the test (n = {n:,}) {what}."
    looked = ", ".join(f"by {how}" for how in LOOKED_FOR.values())
    head = f"**Leak: none found**, no test question (n = {n:,}) stands in training {looked}."
    if not (honest and recipe and gap):
        return f"{head} What a leak would add is not known. {words.no_gap(summary)}"
    both = f"{words.percent(recipe)} on training questions and {words.percent(honest)} on unseen ones"
    scores = f"Tuned scores {both}"
    if not leak["did"]:
        gap = f"{words.span(gap, sign='+')} points, n = {gap['n']:,}"
        return f"{head} What a leak would add is not known: the base was not asked. {scores}, {gap}."
    start = leak["models"][BASE]
    before = f"the base {words.percent(start['recipe'])} and {words.percent(start['honest'])}"
    return f"{head} {words.leak(leak['did'])}. {scores}, {before}."


def _retained(summary: Json) -> str:
    squad = summary["squad"]
    kept = squad["retained"]
    if kept is None:
        missing = " and ".join(side for side in SIDES if squad[side] is None)
        return f"**Retained ability: not measured**, no SQuAD score of {missing}."
    # The official F1 is the first, and the official scorer counts every item.
    every = [(words.score(*pair), kept[pair[0]][pair[1]]) for pair in product(SCORERS, METRICS)]
    (_, chief), *others = [(label, part) for label, part in every if part]
    head = f"**Retained ability, at least {100 * KEPT:.0f} %: {words.VERDICTS[chief['verdict']]}**"
    base, tuned = (side["official"]["f1"] for side in (squad["base"], squad["tuned"]))
    scores = f"SQuAD official F1 {tuned:.1f} against {base:.1f}, n = {chief['n']:,}"
    rest = "; ".join(f"{label} {words.VERDICTS[part['verdict']]}" for label, part in others)
    share = f"{words.kept_share(chief)} of the base's, {words.confidence(chief)} sure"
    if chief["value"] is None:
        share = "the base scores nothing"
    return f"{head}, {share}: {scores}; {rest}."


def _contest(summary: Json) -> str:
    contest, ratio = summary["contest"], summary["parameters"]["ratio"]
    right = summary["mcq"][TUNED]["accuracy"]
    line = f"**Contest score {words.span(contest, 1, 4)}** = 0.3 x (1 - 10 x {ratio:.5f}) + 0.7 x {right:.4f}"
    return f"{line}, n = {contest['n']:,}" + (", LEAKED." if summary["leaked"] else ".")


def _robust(summary: Json) -> str:
    name = summary["mcq"]["protocol"]
    base, tuned = (summary["robustness"][side][name]["rstd"] for side in SIDES)
    told = f"recall by letter spreads {words.span(tuned)} points (RStd; base {words.span(base)})"
    line = f"**Robustness**: {told}, n = {tuned['n']:,}"
    if found := calibrated(summary):
        base, tuned = (found[1][side]["ece"] for side in SIDES)
        told = f"its probabilities are off by {words.span(tuned)} points (ECE; base {words.span(base)})"
        line += f"; {told}, n = {tuned['n']:,}"
    if not summary["circular"]:
        return f"{line}; rotations not run."
    turned = next(iter(summary["circular"]["protocols"].values()))
    base, tuned = (turned[side]["all_right"] for side in SIDES)
    told = f"right in all rotations {words.percent(tuned)} (base {words.percent(base)})"
    return f"{line}; {told}, n = {tuned['n']:,}."


def chosen(summary: Json) -> str:
    """Which checkpoint is tuned, by which rule; what each rule would choose, and which is the last."""
    best, last, by = summary["best"], summary["last"], summary["best_by"]
    rule = words.RULES[by["rule"]]
    if best is None:
        return f"Tuned is {summary['tuned']}; the last is {last}, and no {rule} says which is the best."
    rows = {row["name"]: row for row in summary["checkpoints"]}
    found = []
    if by["valid_loss"] and (loss := rows[by["valid_loss"]]["valid_loss"]) is not None:
        found.append(f"by {words.RULES['valid_loss']} {by['valid_loss']} ({loss:.4f} nats per token)")
    if by["valid_accuracy"] and (valid := rows[by["valid_accuracy"]]["valid"]):
        rate = f"{words.accuracy(valid)}, full answer, n = {words.questions(valid)}"
        found.append(f"by {words.RULES['valid_accuracy']} {by['valid_accuracy']} ({rate})")
    line = f"Tuned is {best}, chosen by {rule}. Best {'; best '.join(found)}. The last is {last}."
    pairs = summary["comparisons"]["pairs"]
    pair = next((pair for pair in pairs if {pair["left"], pair["right"]} == {best, last}), None)
    if pair:
        line += f" {pair['right']} against {pair['left']}: {words.change(pair)}, n = {pair['n']:,}."
    return line
