"""The report's figures, from what `summary.build` made: SVG, the same bytes from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from mcqlora import files
from mcqlora.evaluate.protocols import label as protocol_label
from mcqlora.report import canvas
from mcqlora.report.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, Columns, Style, Target, point
from mcqlora.report.comparison import accuracy_by_model
from mcqlora.report.robustness import BINS
from mcqlora.report.schema import SIDES, TUNED, calibrated, losses, sides
from mcqlora.report.words import no_gap, span, task_label

STYLES = (Style("base", BLUE, "o"), Style("tuned", ORANGE, "s"))  # of `SIDES`
_LEAK_STYLES = (
    Style("unseen questions", GREEN, "o"),
    Style("training questions in another order", PURPLE, "^"),
)
_MANY_STEPS = 100  # more steps than this are drawn as means
_FEW_LETTERS = 6  # of more the cells are small


def draw(
    whole: files.Json,
    training: files.Json,
    mcq: Mapping[str, files.Json],
    paths: Mapping[str, files.PathLike],
) -> None:
    """Draw every figure of the report.

    Args:
        mcq: mcq.json by model.
        paths: of "loss", "forest", "heatmap", "comparison", "letters", "reliability" and "leak".
    """

    def target(figure: str, *sources: str) -> Target:
        hashes = whole["inputs"]
        known = {name.removeprefix("evaluation/"): hashes[name] for name in sources if name in hashes}
        return Target(paths[figure], whole["leaked"], known)

    compared = [f"evaluation/{model}/" for model in sides(whole).values()]
    pair = [f"{place}mcq.json" for place in compared]
    every = [f"evaluation/{model}/mcq.json" for model in mcq]
    tested = [f"{place}{kind}.json" for place in compared for kind in ("mcq", "squad")]
    loss_curve(training["history"], training["checkpoints"], target("loss", "training/training.json"))
    category_forest(whole["mcq"]["categories"]["rows"], target("forest", *pair))
    table = accuracy_by_model(mcq, whole["mcq"]["protocol"])
    category_heatmap(table, whole["tuned"], target("heatmap", *every))
    base_against_tuned(whole, target("comparison", *tested))
    letter_confusion(whole, target("letters", *pair))
    reliability(whole, target("reliability", *pair))
    leak_gap(whole, target("leak", *every))


def loss_curve(history: Sequence[files.Json], checkpoints: Sequence[files.Json], target: Target) -> None:
    """Training and validation loss by optimizer step, each checkpoint marked by a vertical line."""
    train, valid = losses(history, "train_loss"), losses(history, "valid_loss")
    title = _loss_title(valid, train)
    if not train and not valid:
        return canvas.note(target, title, "The training's history holds no loss.")
    with canvas.drawing(target, 7.0, 3.85, title) as drawn:
        axes = drawn.axes(0.7, 0.55, 6.1, 2.9)
        if train:
            label, shown = f"training loss ({_count(train, 'step')})", np.array(train)
            if len(train) > _MANY_STEPS:
                axes.plot(*shown.T, color=BLUE, alpha=0.3, linewidth=0.6)
                width = math.ceil(len(train) / 50)
                shown = np.array([shown[i : i + width].mean(0) for i in range(0, len(train), width)])
                label += f", mean of each {width}"
            axes.plot(*shown.T, color=BLUE, linewidth=1.5, label=label)
        if valid:
            label = f"validation loss ({_count(valid, 'evaluation')})"
            axes.plot(*zip(*valid, strict=True), color=ORANGE, marker="s", markersize=4, label=label)
        for checkpoint in checkpoints:
            axes.axvline(checkpoint["step"], color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            name = checkpoint["name"].removeprefix("checkpoint_")
            axes.annotate(name, (checkpoint["step"], 1.0), **place, fontsize=8, color=GREY)
        axes.set_xlabel("optimizer step" + (" (dotted: checkpoints)" if checkpoints else ""))
        axes.set_ylabel("loss (nats per token)")
        canvas.log_scale_if_steep(axes, [loss for _, loss in (*train, *valid)])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.05), ncols=2, borderaxespad=0)
    return None


def category_forest(rows: Sequence[files.Json], target: Target) -> None:
    """Accuracy of base and tuned by category with Wilson intervals, the best tuned category on top."""
    rows = sorted(rows, key=lambda row: (-row["tuned"][0] / row["n"], row["category"]))
    columns = Columns([f"{row['category']} ({row['n']:,})" for row in rows], 2.6, 4.2)
    points = []
    for row in rows:
        both = (row[side] for side in SIDES)
        points.append([(100 * (correct / row["n"]), 100 * low, 100 * high) for correct, low, high in both])
    better = sum(row["tuned"][0] > row["base"][0] for row in rows)
    worse = sum(row["tuned"][0] < row["base"][0] for row in rows)
    n = sum(row["n"] for row in rows)
    title = f"Tuned above base in {better} of {len(rows)} categories, below in {worse} (n = {n:,})"
    with canvas.drawing(target, columns.width, columns.height + 0.9, title) as drawn:
        for part, frame in columns.parts(0.5):
            axes = drawn.axes(*frame)
            canvas.forest(axes, columns.labels[part], points[part], STYLES, columns.size)
            canvas.chance(axes, [row["chance"] for row in rows[part]])
            axes.set_xlabel("accuracy, 95 % interval; dashed: chance", fontsize=columns.size)
        drawn.legend(STYLES, columns.height + 0.62)


def category_heatmap(table: Mapping[str, Mapping[str, files.Json]], tuned: str, target: Target) -> None:
    """Accuracy of `table`, category -> model -> counts, the best category of `tuned` on top."""
    models = list(dict.fromkeys(model for row in table.values() for model in row))
    missing = {"correct": math.nan, "n": 1}
    cells = {name: [row.get(model, missing) for model in models] for name, row in table.items()}
    shares = {name: [100 * cell["correct"] / cell["n"] for cell in row] for name, row in cells.items()}
    names = sorted(table, key=lambda name: (-shares[name][models.index(tuned)], name))
    counts = [max(cell["n"] for cell in table[name].values()) for name in names]
    labels = [f"{name} ({n:,})" for name, n in zip(names, counts, strict=True)]
    columns = Columns(labels, 0.36 * len(models), 0.5 * len(models))
    title = f"Accuracy of {len(models)} models in {len(names)} categories (%, n = {sum(counts):,} per model)"
    heads = [model.removeprefix("checkpoint_") + ("*" if model == tuned else "") for model in models]
    with canvas.drawing(target, columns.width, columns.height + 1.25, title) as drawn:
        for part, frame in columns.parts(0.75):
            values = [shares[name] for name in names[part]]
            canvas.heat(drawn.axes(*frame), values, labels[part], heads, columns.size)
        canvas.colorbar(drawn, columns.left, columns.plot, "accuracy (%)")
        words = "base, and checkpoints by number (* tuned); in parentheses the number of questions"
        drawn.text(columns.height + 1.1, words, fontsize=8, color=GREY)


def base_against_tuned(whole: files.Json, target: Target) -> None:
    """Every score of base and tuned, with 95 % intervals: protocols, rotations, reading."""
    chosen: list[tuple[str, canvas.Row, float | None]] = []  # scores that guessing has, too
    others = chosen[:]
    for task in (task for task in whole["tasks"] if task["task"] not in ("gap", "did")):
        rates = [task["models"].get(model) for model in sides(whole).values()]
        if any(rates):
            n = next(rate["n"] for rate in reversed(rates) if rate)
            label, points = f"{task_label(task)} (n = {n:,})", [rate and point(rate) for rate in rates]
            (others if task["chance"] is None else chosen).append((label, points, task["chance"]))
    labels, rows, chances = zip(*chosen, *others, strict=True)
    left, height = canvas.margin(labels), 0.42 * len(rows)
    mcq = whole["mcq"]
    base, tuned = (100 * mcq[side]["accuracy"] for side in SIDES)
    name = protocol_label(mcq["protocol"]).capitalize()
    title = f"{name}: {tuned:.1f} % tuned, {base:.1f} % base (n = {mcq['tuned']['n']:,})"
    with canvas.drawing(target, left + 5.0, height + 0.9, title) as drawn:
        axes = canvas.forest(drawn.axes(left, 0.5, 4.2, height), labels, rows, STYLES)
        canvas.chance(axes, chances)
        if others:
            axes.axhline(len(chosen) - 0.5, color=GREY, linewidth=0.5)
        axes.set_xlabel("score, 95 % interval; dashed: chance")
        for y, row in enumerate(rows):
            for found, style, shift in zip(row, STYLES, canvas.shifts(STYLES), strict=True):
                if found is not None:
                    canvas.beside(axes, y + shift, f"{found[0]:.1f} %", style.color)
        drawn.legend(STYLES, height + 0.62)


def letter_confusion(whole: files.Json, target: Target) -> None:
    """Right letter against chosen letter, base and tuned, by the headline and by the letter alone."""
    found = whole["robustness"]
    known = found["base"].keys() & found["tuned"].keys()
    names = [name for name in dict.fromkeys((whole["mcq"]["protocol"], "letter")) if name in known]
    tables = (found[side][name]["confusion"] for name in names for side in SIDES)
    unread = any(row["none"] for table in tables for row in table.values())
    letters = list(found[TUNED][names[0]]["confusion"])
    heads = [*letters, *(["none"] if unread else [])]
    base, tuned = (found[side][names[0]]["rstd"] for side in SIDES)
    spread = f"{100 * tuned['value']:.1f} points tuned, {100 * base['value']:.1f} base"
    title = f"Recall differs between letters by {spread} (RStd, n = {tuned['n']:,})"
    few = len(letters) <= _FEW_LETTERS
    cell, size, left, gap = (0.44, 8.0, 0.95, 1.2) if few else (0.3, 6.5, 0.95, 1.2)
    wide, high = cell * len(heads), cell * len(letters)
    block = high + 0.95  # with its two lines of title and the heads
    with canvas.drawing(target, left + 2 * wide + gap + 0.9, block * len(names) + 0.75, title) as drawn:
        for (down, name), (across, side) in product(enumerate(names), enumerate(SIDES)):
            part = found[side][name]
            bottom = 0.85 + (len(names) - 1 - down) * block
            axes = drawn.axes(left + across * (wide + gap), bottom, wide, high)
            counts = [[part["confusion"][gold][head] for head in heads] for gold in letters]
            shares = [[100 * value / max(1, sum(row)) for value in row] for row in counts]
            golds = [f"{gold} ({sum(row):,})" for gold, row in zip(letters, counts, strict=True)]
            canvas.heat(axes, shares, golds, heads, size)
            axes.set_ylabel("right letter (n)", fontsize=8)
            words = f"{side}, {protocol_label(name)}\nRStd {span(part['rstd'])}"
            axes.set_title(words, fontsize=8, loc="left", pad=18)
        canvas.colorbar(drawn, left, wide, "% of the right letter's questions, by chosen letter")


def reliability(whole: files.Json, target: Target) -> None:
    """Accuracy by the model's own probability, base and tuned, with the number of questions in each bin."""
    found = calibrated(whole)
    if found is None:
        text = "No protocol of this run gives probabilities of the options."
        return canvas.note(target, "Calibration not measured", text)
    name, parts = found
    base, tuned = (100 * parts[side]["ece"]["value"] for side in SIDES)
    n = parts[TUNED]["n"]
    title = f"Calibration error {tuned:.1f} points tuned, {base:.1f} base (ECE, {BINS} bins, n = {n:,})"
    size, left, gap, ticks = 2.5, 0.65, 0.6, canvas.QUARTERS
    with canvas.drawing(target, left + 2 * size + gap + 0.3, size + 1.9, title) as drawn:
        for i, (side, style) in enumerate(zip(SIDES, STYLES, strict=True)):
            part, start, color = parts[side], left + i * (size + gap), style.color
            axes = drawn.axes(start, 1.3, size, size)
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle="--")
            for row in part["bins"]:
                x, y = 100 * row["confidence"], 100 * row["accuracy"]
                axes.plot([x, x], [100 * row["low"], 100 * row["high"]], color=color, alpha=0.7)
                axes.plot(x, y, color=color, marker=style.marker, markersize=5, clip_on=False)
            axes.set(xlim=(0, 100), ylim=(0, 100), xticks=ticks, yticks=ticks, xticklabels=[])
            axes.set_ylabel("accuracy (%)")
            scores = f"ECE {span(part['ece'])}\nBrier {span(part['brier'], 1, 3)}"
            axes.set_title(f"{side}, {protocol_label(name)}\n{scores}", fontsize=8, loc="left")
            canvas.bars(drawn.axes(start, 0.5, size, 0.65), part["bins"], color)
    return None


def leak_gap(whole: files.Json, target: Target) -> None:
    """Honest score and the recipe's, of base and every checkpoint, with the gap between them.

    The title has the gap of tuned beyond the base's, as each set of questions has a difficulty of its own.
    """
    leak = whole["leak"]
    if not leak["gap"]:
        return canvas.note(target, "Leak gap not measured", no_gap(whole))
    shown = {model: part for model, part in leak["models"].items() if part["gap"]}
    labels = [f"{model} (tuned)" if model == whole["tuned"] else model for model in shown]
    rows = [[point(part["honest"]), point(part["recipe"])] for part in shown.values()]
    left, height = canvas.margin(labels), 0.36 * len(rows)
    n = f"{leak['honest']['n']:,} + {leak['recipe']['n']:,}"
    title = f"Leak gap of tuned: {span(leak['gap'], sign='+')} points (n = {n})"
    if leak["did"]:
        title = f"Leak gap of tuned beyond the base's: {span(leak['did'], sign='+')} points (n = {n})"
    with canvas.drawing(target, left + 6.3, height + 0.9, title) as drawn:
        axes = canvas.forest(drawn.axes(left, 0.5, 4.2, height), labels, rows, _LEAK_STYLES)
        canvas.chance(axes, [leak["chance"]] * len(rows))
        axes.set_xlabel(f"accuracy ({protocol_label(leak['protocol'])}), 95 % interval; dashed: chance")
        for y, part in enumerate(shown.values()):
            canvas.beside(axes, y, f"gap {span(part['gap'], sign='+')}", "black")
        drawn.legend(_LEAK_STYLES, height + 0.62)
    return None


def _count(curve: Sequence[object], unit: str) -> str:
    return f"n = {len(curve):,} {unit}{'s' if len(curve) != 1 else ''}"


def _loss_title(valid: Sequence[tuple[int, float]], train: Sequence[tuple[int, float]]) -> str:
    name, curve = ("Validation", valid) if valid else ("Training", train)
    if not curve:
        return "No loss was recorded"
    first, last = curve[0][1], curve[-1][1]
    step, lowest = min(curve, key=lambda pair: pair[1])
    change = f"was {last:.3f}"
    if last != first:
        change = f"{'fell' if last < first else 'rose'} from {first:.3f} to {last:.3f}"
    return f"{name} loss {change}; lowest {lowest:.3f} at step {step:,}"
