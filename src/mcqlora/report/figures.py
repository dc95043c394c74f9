"""The report's figures, from what `summary.build` made: SVG, the same bytes from the same numbers.

Each takes `path`, of the SVG; `leaked`, to stamp it; and `source`, the SHA-256 of each file behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcqlora import files
from mcqlora.report import canvas, labels, summary
from mcqlora.report.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, Canvas
from mcqlora.report.labels import no_gap, protocol_label, sides, task_label
from mcqlora.report.robustness import BINS, LETTERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = tuple[str, str, str]  # label (and key of a row), colour, marker
Rows = Sequence[Mapping[str, Any]]

SIDES: tuple[Style, ...] = (("base", BLUE, "o"), ("tuned", ORANGE, "s"))
CHANCE = 25.0  # percent
_MANY = 40  # more categories than this go into two columns
_MANY_STEPS = 100  # more steps than this are drawn as means


def loss_curve(history: Rows, path: files.PathLike, checkpoints: Rows = (), **options: Any) -> None:
    """Training and validation loss by optimizer step.

    Args:
        history: rows `{"step", "train_loss"?, "valid_loss"?}`; None and NaN count as absent.
        checkpoints: `{"name", "step"}`, marked by a vertical line each.
    """
    train, valid = (summary.losses(history, key) for key in ("train_loss", "valid_loss"))
    title = _loss_title(valid, train)
    if not train and not valid:
        return canvas.note(path, title, "The training's history holds no loss.", **options)
    with canvas.drawing(path, 7.0, 3.85, title, **options) as drawn:
        axes = drawn.axes(0.7, 0.55, 6.1, 2.9)
        if train:
            label = f"training loss ({_count(train, 'step')})"
            if len(train) > _MANY_STEPS:
                axes.plot(*zip(*train, strict=True), color=BLUE, alpha=0.3, linewidth=0.6)
                width = math.ceil(len(train) / 50)
                train = [_mean(train[i : i + width]) for i in range(0, len(train), width)]
                label += f", mean of each {width}"
            axes.plot(*zip(*train, strict=True), color=BLUE, linewidth=1.5, label=label)
        if valid:
            label = f"validation loss ({_count(valid, 'evaluation')})"
            axes.plot(*zip(*valid, strict=True), color=ORANGE, marker="s", markersize=4, label=label)
        for checkpoint in checkpoints:
            axes.axvline(checkpoint["step"], color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            name = checkpoint["name"].removeprefix("checkpoint_")
            axes.annotate(name, (checkpoint["step"], 1.0), **place, fontsize=8, color=GREY)
        axes.set_xlabel("optimizer step" + (" (dotted: checkpoints)" if checkpoints else ""))
        axes.set_ylabel("loss (nats a token)")
        _spread(axes, [loss for _, loss in (*train, *valid)])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.05), ncols=2, borderaxespad=0)
    return None


def category_forest(rows: Rows, path: files.PathLike, **options: Any) -> None:
    """Accuracy of base and tuned by category with Wilson intervals, the best tuned category on top.

    Args:
        rows: of `summary.categories`.
    """
    rows = sorted(rows, key=lambda row: (-row["tuned"][0] / row["n"], row["category"]))
    columns = _Columns([f"{row['category']} ({row['n']:,})" for row in rows], 2.6, 4.2)
    points = [
        {
            side: tuple(100 * part for part in (row[side][0] / row["n"], *row[side][1:]))
            for side in summary.SIDES
        }
        for row in rows
    ]
    title = _category_title(rows)
    with canvas.drawing(path, columns.width, columns.height + 0.9, title, **options) as drawn:
        for part, frame in columns.parts(0.5):
            axes = _forest(drawn.axes(*frame), columns.labels[part], points[part], SIDES, columns.size)
            axes.axvline(CHANCE, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            axes.set_xlabel("accuracy, 95 % interval; dashed: chance", fontsize=columns.size)
        drawn.legend(SIDES, 0.12, columns.height + 0.62)


def category_heatmap(
    table: Mapping[str, Mapping[str, Any]], tuned: str, path: files.PathLike, **options: Any
) -> None:
    """Accuracy of every model in every category, the best category of `tuned` on top.

    Args:
        table: of `summary.accuracy_by_model`.
    """
    models = list(dict.fromkeys(model for row in table.values() for model in row))
    shares = {
        name: [
            100 * row[model]["correct"] / row[model]["n"] if model in row else math.nan for model in models
        ]
        for name, row in table.items()
    }
    names = sorted(table, key=lambda name: (-shares[name][models.index(tuned)], name))
    counts = [max(cell["n"] for cell in table[name].values()) for name in names]
    labels = [f"{name} ({n:,})" for name, n in zip(names, counts, strict=True)]
    columns = _Columns(labels, 0.36 * len(models), 0.5 * len(models))
    title = f"Accuracy of {len(models)} models in {len(names)} categories (%, n = {sum(counts):,} a model)"
    heads = [model.removeprefix("checkpoint_") + ("*" if model == tuned else "") for model in models]
    with canvas.drawing(path, columns.width, columns.height + 1.25, title, **options) as drawn:
        for part, frame in columns.parts(0.75):
            values = [shares[name] for name in names[part]]
            _heat(drawn.axes(*frame), values, labels[part], heads, columns.size)
        _colorbar(drawn, columns.left, columns.plot, "accuracy (%)")
        words = "base, and checkpoints by number (* tuned); in parentheses the number of questions"
        drawn.text(0.12, columns.height + 1.1, words, fontsize=8, color=GREY)


def base_against_tuned(whole: Mapping[str, Any], path: files.PathLike, **options: Any) -> None:
    """Every score of base and tuned, with 95 % intervals: protocols, rotations, reading.

    Args:
        whole: of `summary.build`.
    """
    chosen: list[tuple[str, dict[str, Any]]] = []  # scores whose chance is a quarter
    others: list[tuple[str, dict[str, Any]]] = []
    for task in (task for task in whole["tasks"] if task["task"] != "gap"):
        rates = {side: task["models"].get(model) for side, model in sides(whole).items()}
        if any(rates.values()):
            n = next(rate["n"] for rate in reversed(rates.values()) if rate)
            part = chosen if task["task"] in ("mcq", "circular", "recipe") else others
            points = {side: rate and _ends(rate) for side, rate in rates.items()}
            part.append((f"{task_label(task)} (n = {n:,})", points))
    labels, rows = zip(*chosen, *others, strict=True)
    left, height = _margin(labels), 0.42 * len(rows)
    mcq = whole["mcq"]
    base, tuned = (100 * mcq[side]["accuracy"] for side in summary.SIDES)
    name = protocol_label(mcq["protocol"]).capitalize()
    title = f"{name}: {tuned:.1f} % tuned, {base:.1f} % base (n = {mcq['tuned']['n']:,})"
    with canvas.drawing(path, left + 5.0, height + 0.9, title, **options) as drawn:
        axes = _forest(drawn.axes(left, 0.5, 4.2, height), labels, rows, SIDES)
        axes.vlines(CHANCE, -0.5, len(chosen) - 0.5, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        if others:
            axes.axhline(len(chosen) - 0.5, color=GREY, linewidth=0.5)
        axes.set_xlabel("score, 95 % interval; dashed: chance")
        for y, points in enumerate(rows):
            for (side, color, _), shift in zip(SIDES, _shifts(SIDES), strict=True):
                if points[side] is not None:
                    _beside(axes, y + shift, f"{points[side][0]:.1f} %", color)
        drawn.legend(SIDES, 0.12, height + 0.62)


def letter_confusion(whole: Mapping[str, Any], path: files.PathLike, **options: Any) -> None:
    """Right letter against chosen letter, base and tuned, by the headline and by the letter alone."""
    found = whole["robustness"]
    names = [
        name
        for name in dict.fromkeys((whole["mcq"]["protocol"], "letter"))
        if all(name in found[side] for side in summary.SIDES)
    ]
    tables = {(name, side): found[side][name] for name in names for side in summary.SIDES}
    unread = any(row["none"] for part in tables.values() for row in part["confusion"].values())
    heads = [*LETTERS, *(["none"] if unread else [])]
    base, tuned = (tables[names[0], side]["rstd"] for side in summary.SIDES)
    title = (
        f"Recall differs between letters by {100 * tuned['value']:.1f} points tuned, "
        f"{100 * base['value']:.1f} base (RStd, n = {tuned['n']:,})"
    )
    cell, left, gap = 0.44, 0.95, 1.2
    wide, high = cell * len(heads), cell * len(LETTERS)
    block = high + 0.95  # with its two lines of title and the heads
    with canvas.drawing(
        path, left + 2 * wide + gap + 0.9, block * len(names) + 0.75, title, **options
    ) as drawn:
        for (name, side), part in tables.items():
            across = list(summary.SIDES).index(side)
            down = len(names) - 1 - names.index(name)
            axes = drawn.axes(left + across * (wide + gap), 0.85 + down * block, wide, high)
            counts = [[part["confusion"][gold][head] for head in heads] for gold in LETTERS]
            totals = [sum(row) for row in counts]
            shares = [
                [100 * value / max(1, total) for value in row]
                for row, total in zip(counts, totals, strict=True)
            ]
            golds = [f"{gold} ({total:,})" for gold, total in zip(LETTERS, totals, strict=True)]
            _heat(axes, shares, golds, heads, 8.0)
            axes.set_ylabel("right letter (n)", fontsize=8)
            words = f"{side}, {labels.protocol_label(name)}\nRStd {_interval(part['rstd'], 100)}"
            axes.set_title(words, fontsize=8, loc="left", pad=18)
        _colorbar(drawn, left, wide, "% of the right letter's questions, by chosen letter")


def reliability(whole: Mapping[str, Any], path: files.PathLike, **options: Any) -> None:
    """Accuracy by the model's own probability, base and tuned, with the number of questions in each bin."""
    name = labels.calibrated(whole)
    if name is None:
        text = "No protocol of this run gives probabilities of the options."
        return canvas.note(path, "Calibration not measured", text, **options)
    parts = {side: whole["robustness"][side][name]["calibration"] for side in summary.SIDES}
    base, tuned = (100 * parts[side]["ece"]["value"] for side in summary.SIDES)
    n = parts["tuned"]["n"]
    title = f"Calibration error {tuned:.1f} points tuned, {base:.1f} base (ECE, {BINS} bins, n = {n:,})"
    size, left, gap, label = 2.5, 0.65, 0.6, labels.protocol_label(name)
    with canvas.drawing(path, left + 2 * size + gap + 0.3, size + 1.9, title, **options) as drawn:
        for i, (side, color, marker) in enumerate(SIDES):
            part, start = parts[side], left + i * (size + gap)
            axes = drawn.axes(start, 1.3, size, size)
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle="--")
            for row in part["bins"]:
                x, y, low, high = (100 * row[key] for key in ("confidence", "accuracy", "low", "high"))
                axes.plot([x, x], [low, high], color=color, alpha=0.7)
                axes.plot(x, y, color=color, marker=marker, markersize=5, clip_on=False)
            axes.set(xlim=(0, 100), ylim=(0, 100), xticks=_QUARTERS, yticks=_QUARTERS, xticklabels=[])
            axes.set_ylabel("accuracy (%)")
            words = (
                f"{side}, {label}\nECE {_interval(part['ece'], 100)}\nBrier {_interval(part['brier'], 1, 3)}"
            )
            axes.set_title(words, fontsize=8, loc="left")
            _bars(drawn.axes(start, 0.5, size, 0.65), part["bins"], color)
    return None


def leak_gap(whole: Mapping[str, Any], path: files.PathLike, **options: Any) -> None:
    """Honest score and the recipe's, of base and every checkpoint, with the gap between them."""
    leak = whole["leak"]
    if not leak["gap"]:
        return canvas.note(path, "Leak gap not measured", no_gap(whole), **options)
    models = {model: part for model, part in leak["models"].items() if part["gap"]}
    labels = [f"{model} (tuned)" if model == whole["tuned"] else model for model in models]
    rows = [{style[0]: _ends(part[style[0]]) for style in _SCORES} for part in models.values()]
    left, height = _margin(labels), 0.36 * len(rows)
    n = " + ".join(f"{leak[key]['n']:,}" for key in ("honest", "recipe"))
    gap = _interval(leak["gap"], 100, 1, "+")
    title = f"Leak gap of tuned: {gap} points (n = {n})"
    with canvas.drawing(path, left + 6.3, height + 0.9, title, **options) as drawn:
        axes = _forest(drawn.axes(left, 0.5, 4.2, height), labels, rows, _SCORES)
        axes.axvline(CHANCE, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        label = protocol_label(leak["protocol"])
        axes.set_xlabel(f"accuracy ({label}), 95 % interval; dashed: chance")
        for y, part in enumerate(models.values()):
            _beside(axes, y, f"gap {_interval(part['gap'], 100, 1, '+')}", "black")
        words = ("unseen questions", "training questions in another order")
        styles = [(word, *style[1:]) for word, style in zip(words, _SCORES, strict=True)]
        drawn.legend(styles, 0.12, height + 0.62)
    return None


def draw(
    whole: Mapping[str, Any],
    training: Mapping[str, Any],
    mcq: Mapping[str, Any],
    paths: Mapping[str, files.PathLike],
) -> None:
    """Draw every figure of the report.

    Args:
        whole: of `summary.build`.
        training: with "history" and "checkpoints".
        mcq: mcq.json by model.
        paths: of "loss", "forest", "heatmap", "comparison", "letters", "reliability" and "leak".
    """
    protocol = whole["mcq"]["protocol"]
    compared = list(labels.sides(whole).values())

    def about(models: Iterable[str], *kinds: str) -> dict[str, Any]:
        names = [f"evaluation/{model}/{kind}.json" for model in models for kind in kinds]
        return options(names)

    def options(names: Iterable[str]) -> dict[str, Any]:
        known = {
            name.removeprefix("evaluation/"): whole["inputs"][name]
            for name in names
            if name in whole["inputs"]
        }
        return {"leaked": whole["leaked"], "source": known}

    history, checkpoints = training["history"], training["checkpoints"]
    loss_curve(history, paths["loss"], checkpoints, **options(["training/training.json"]))
    pair, every = about(compared, "mcq"), about(mcq, "mcq")
    category_forest(whole["mcq"]["categories"]["rows"], paths["forest"], **pair)
    table = summary.accuracy_by_model(mcq, protocol)
    category_heatmap(table, whole["tuned"], paths["heatmap"], **every)
    base_against_tuned(whole, paths["comparison"], **about(compared, "mcq", "squad"))
    letter_confusion(whole, paths["letters"], **pair)
    reliability(whole, paths["reliability"], **pair)
    leak_gap(whole, paths["leak"], **every)


# Parts of a figure

_QUARTERS = (0, 25, 50, 75, 100)
_SCORES: tuple[Style, ...] = (("honest", GREEN, "o"), ("recipe", PURPLE, "^"))


class _Columns:
    """Rows with long labels in one column, or in two where they are many; all in inches."""

    def __init__(self, labels: Sequence[str], narrow: float, wide: float):
        self.labels = labels
        self.count = 2 if len(labels) > _MANY else 1
        self.rows = max(1, math.ceil(len(labels) / self.count))
        self.size = 7.0 if self.count == 2 else 9.0  # of the font
        self.plot = narrow if self.count == 2 else wide
        self.left = _margin(labels, self.size)
        self.height = self.rows * self.size * 1.9 / 72
        self.width = self.count * (self.left + self.plot + 0.25)

    def parts(self, bottom: float) -> Iterator[tuple[slice, tuple[float, float, float, float]]]:
        """Which rows stand in a column, and where its plot is; a shorter one ends further up."""
        for i in range(self.count):
            part = slice(i * self.rows, min((i + 1) * self.rows, len(self.labels)))
            height = self.height * (part.stop - part.start) / self.rows
            left = i * (self.left + self.plot + 0.25) + self.left
            yield part, (left, bottom + self.height - height, self.plot, height)


def _forest(
    axes: Axes, labels: Sequence[str], rows: Rows, styles: Sequence[Style], size: float = 9.0
) -> Axes:
    """Points with intervals on 0 to 100 %, a row each from the top, a style beside the other.

    A row's value of a style is (score, low, high) in percent, or None.
    """
    for y in range(1, len(rows), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", linewidth=0, zorder=-1)  # leads the eye to the label
    for y, row in enumerate(rows):
        for (name, color, marker), shift in zip(styles, _shifts(styles), strict=True):
            if row[name] is not None:
                score, low, high = row[name]
                axes.plot([low, high], [y + shift] * 2, color=color, linewidth=size / 7, alpha=0.7)
                # Unclipped: a point at 100 % is drawn whole.
                axes.plot(score, y + shift, color=color, marker=marker, markersize=size / 2.2, clip_on=False)
    axes.set_yticks(range(len(rows)), labels, fontsize=size)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xticks(_QUARTERS, [f"{tick} %" for tick in _QUARTERS], fontsize=size)
    axes.tick_params(axis="y", length=0, pad=6)  # clear of a point at 0 %
    return axes


def _shifts(styles: Sequence[Style]) -> list[float]:
    """Where the styles stand in a row, in rows downwards from its middle."""
    return [0.34 * (i - (len(styles) - 1) / 2) for i in range(len(styles))]


def _heat(
    axes: Axes, values: Sequence[Sequence[float]], labels: Sequence[str], heads: Sequence[str], size: float
) -> None:
    """Percentages as colours and figures, a row each from the top, `heads` above the columns."""
    axes.pcolormesh(values, cmap=_HEAT, vmin=0, vmax=100, edgecolors="white", linewidth=0.5)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if not math.isnan(value):
                color = "black" if value > 50 else "white"  # the map is dark below
                style = {"ha": "center", "va": "center_baseline", "fontsize": size - 1, "color": color}
                axes.text(x + 0.5, y + 0.5, f"{value:.0f}", **style)
    axes.set_ylim(len(values), 0)
    axes.set_yticks([y + 0.5 for y in range(len(labels))], labels, fontsize=size)
    axes.set_xticks([x + 0.5 for x in range(len(heads))], heads, fontsize=size)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def _colorbar(drawn: Canvas, left: float, width: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = drawn.axes(left, 0.42, width, 0.1)
    bar = drawn.figure.colorbar(ScalarMappable(Normalize(0, 100), _HEAT), axes, orientation="horizontal")
    bar.solids.set(rasterized=False, edgecolor="face")  # else a viewer shows the seams
    axes.set_xticks(_QUARTERS, _QUARTERS, fontsize=7)
    axes.set_xlabel(label, fontsize=8, loc="left")


def _bars(axes: Axes, bins: Rows, color: str) -> None:
    """The number of items in each bin."""
    middles = [50 * (row["low_edge"] + row["high_edge"]) for row in bins]
    counts = [row["n"] for row in bins]
    axes.bar(middles, counts, width=88 / BINS, color=color, alpha=0.6)
    for x, count in zip(middles, counts, strict=True):
        axes.annotate(f"{count:,}", (x, count), ha="center", va="bottom", fontsize=6)
    axes.set(xlim=(0, 100), ylim=(0, 1.35 * max(counts)), xticks=_QUARTERS, yticks=[])
    axes.set_xlabel("probability of the chosen option (%)", fontsize=8)
    axes.set_ylabel("n")


def _beside(axes: Axes, y: float, text: str, color: str) -> None:
    """Text in row `y`, right of the plot."""
    place = (1.03, y)
    axes.annotate(text, place, xycoords=("axes fraction", "data"), va="center", color=color, fontsize=8)


# Rows and titles, computed from the numbers

_HEAT = "viridis"  # one scale with any colour vision, dark to light


def _margin(labels: Sequence[str], size: float = 9.0) -> float:
    return max((canvas.text_inches(label, size) for label in labels), default=0.0) + 0.15


def _ends(rate: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(100 * rate[key] for key in ("value", "low", "high"))


def _interval(measure: Mapping[str, Any], scale: float, digits: int = 1, sign: str = "") -> str:
    value, low, high = (f"{scale * measure[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _spread(axes: Axes, losses: Sequence[float]) -> None:
    """A logarithmic axis where a steep beginning would press all that follows into one line."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if min(losses) > 0 and max(losses) / min(losses) > 5:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())


def _mean(pairs: Sequence[Sequence[float]]) -> tuple[float, float]:
    steps, values = zip(*pairs, strict=True)
    return sum(steps) / len(steps), sum(values) / len(values)


def _count(pairs: Sequence[Any], unit: str) -> str:
    return f"n = {len(pairs):,} {unit}{'s' if len(pairs) != 1 else ''}"


def _loss_title(valid: Sequence[Sequence[float]], train: Sequence[Sequence[float]]) -> str:
    name, curve = ("Validation", valid) if valid else ("Training", train)
    if not curve:
        return "No loss was recorded"
    first, last = curve[0][1], curve[-1][1]
    step, lowest = min(curve, key=lambda pair: pair[1])
    change = f"was {last:.3f}"
    if last != first:
        change = f"{'fell' if last < first else 'rose'} from {first:.3f} to {last:.3f}"
    return f"{name} loss {change}; lowest {lowest:.3f} at step {step:,}"


def _category_title(rows: Rows) -> str:
    better = sum(row["tuned"][0] > row["base"][0] for row in rows)
    worse = sum(row["tuned"][0] < row["base"][0] for row in rows)
    n = sum(row["n"] for row in rows)
    return f"Tuned above base in {better} of {len(rows)} categories, below in {worse} (n = {n:,})"
