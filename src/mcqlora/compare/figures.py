"""The comparison's figures, from compare/summary.json."""

from __future__ import annotations

from collections.abc import Mapping

from mcqlora import hashing
from mcqlora.compare.table import leaked
from mcqlora.evaluate.protocols import label
from mcqlora.files import Json, PathLike
from mcqlora.report import canvas
from mcqlora.report.canvas import BLUE, Style, Target, point
from mcqlora.report.schema import measured

SHOWN = 12  # hashes below a figure
_STYLE = (Style("accuracy", BLUE, "o"),)


def draw(summary: Json, paths: Mapping[str, PathLike], hashes: Mapping[str, str]) -> None:
    """`paths` of "accuracies" and "learning_curve"; `hashes` of the files that the summary was made from.

    More than `SHOWN` of these stand as one, of them all.
    """
    if len(hashes) > SHOWN:
        hashes = {f"{len(hashes)} files, the inputs in summary.json:": hashing.digest(dict(hashes))}
    accuracies(summary, Target(paths["accuracies"], source=hashes))
    learning_curve(summary, Target(paths["learning_curve"], source=hashes))


def accuracies(summary: Json, target: Target) -> None:
    """Every model's accuracy, and every variant's mean over seeds, with intervals."""
    rows = []
    for row in summary["models"]:
        stamp = ", LEAKED" if leaked(row) else ""
        rows.append((f"{row['name']}{stamp} (n = {row['mcq']['n']:,})", measured(row["mcq"])))
    spread = [row for row in summary["variants"] if len(row["models"]) > 1]
    for row in spread:
        count = len(row["models"])
        rows.append((f"{row['name']}, mean of {count} (n = {row['mean']['n']:,})", row["mean"]))
    labels = [name for name, _ in rows]
    left, height = canvas.margin(labels), 0.32 * len(rows)
    title = f"{len(summary['models'])} models by {label(summary['protocol'])}, or as another tool asked"
    with canvas.drawing(target, left + 4.6, height + 0.6, title) as drawn:
        axes = canvas.forest(
            drawn.axes(left, 0.5, 3.8, height), labels, [[point(found)] for _, found in rows], _STYLE
        )
        canvas.chance(axes, [row["chance"] for row in (*summary["models"], *spread)])
        axes.set_xlabel("accuracy, 95 % interval; dashed: chance")
        for y, (_, found) in enumerate(rows):
            canvas.beside(axes, y, f"{100 * found['value']:.1f} %", BLUE)


def learning_curve(summary: Json, target: Target) -> None:
    """Accuracy by training rows, where variants differ in them."""
    curve = summary["learning_curve"]
    if not curve:
        return canvas.note(target, "No learning curve", "No two variants differ in train.rows.")
    title = f"Accuracy by training rows (n = {curve[0]['n']:,})"
    with canvas.drawing(target, 5.6, 3.4, title) as drawn:
        axes = drawn.axes(0.7, 0.55, 4.6, 2.7)
        rows, scores = [one["rows"] for one in curve], [100 * one["value"] for one in curve]
        ends = [[100 * (one["value"] - one["low"]) for one in curve]]
        ends.append([100 * (one["high"] - one["value"]) for one in curve])
        axes.errorbar(rows, scores, yerr=ends, color=BLUE, marker="o", capsize=3)
        axes.plot(rows, [100 * one["chance"] for one in curve], **canvas.CHANCE)
        axes.set_xscale("log")
        axes.set_xticks(rows, [f"{count:,}" for count in rows])
        axes.minorticks_off()
        axes.set(ylim=(0, 100), xlabel="training rows of an epoch", ylabel="accuracy (%), 95 % interval")
    return None
