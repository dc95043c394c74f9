"""SQuAD: each model's scores with their intervals, and what tuning kept of the base's."""

from __future__ import annotations

from collections.abc import Mapping

from mcqlora.files import Json
from mcqlora.report import intervals
from mcqlora.report.comparison import Pairs, difference, pairs
from mcqlora.report.schema import BASE, METRICS, SCORERS

KEPT = 0.9  # share of the base's reading score that a tuned model should keep


def reading(scores: Json) -> dict[str, Json]:
    """By scorer what was evaluated, with the intervals over paragraphs.

    {"em", "f1", "n", "clusters", "em_low", "em_high", "f1_low", "f1_high"}; em and f1 are None where n is 0.
    """
    return {scorer: _reading(scores, scorer) for scorer in SCORERS}


def _reading(scores: Json, scorer: str) -> Json:
    scored = [item for item in scores["items"] if item[scorer]]
    clusters = [item["cluster"] for item in scored]
    result = {key: scores[scorer][key] for key in ("em", "f1", "n")} | {"clusters": len(set(clusters))}
    for metric in ("em", "f1"):
        low, high = intervals.interval([item[scorer][metric] for item in scored], clusters)
        result |= {f"{metric}_low": 100 * low, f"{metric}_high": 100 * high}
    return result


def squad(answers: Mapping[str, Json], scores: Mapping[str, dict[str, Json]], tuned: str) -> Json:
    """Base against tuned, see `reading`; their "difference" and what was "retained" by scorer and metric.

    Where tuned was asked, also numbers of questions: "of" the whole file, its "of_first" ones of a paragraph,
    and those "truncated". `answers` and `scores`, those of `reading`, are by model.

    Raises:
        UserError: the models answered different items.
    """
    result: Json = {
        "base": scores.get(BASE),
        "tuned": scores.get(tuned),
        "difference": None,
        "retained": None,
    }
    if tuned in answers:
        result |= {key: answers[tuned][key] for key in ("of", "of_first", "truncated")}
    if BASE in answers and tuned in answers:
        both = pairs(answers[BASE]["items"], answers[tuned]["items"], f"{tuned}/squad.json")
        kept = {scorer: {metric: _kept(both, scorer, metric) for metric in METRICS} for scorer in SCORERS}
        for i, key in enumerate(("difference", "retained")):
            result[key] = {
                scorer: {metric: part[i] for metric, part in parts.items()} for scorer, parts in kept.items()
            }
    return result


def _kept(both: Pairs, scorer: str, metric: str) -> tuple[Json | None, Json | None]:
    """The difference in points, and the verdict on what was kept; None without items of the scorer."""
    scored = [(left, right) for left, right in both if left[scorer] and right[scorer]]
    if not scored:
        return None, None
    base, tuned = ([item[scorer][metric] for item in side] for side in zip(*scored, strict=True))
    clusters = [left["cluster"] for left, _ in scored]
    diff = [right - left for left, right in zip(base, tuned, strict=True)]
    return difference(diff, clusters, scale=100), intervals.kept_share(base, tuned, clusters, KEPT)
