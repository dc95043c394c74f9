"""The report's figures: SVG, the same bytes from the same numbers.

Text stays text (the viewer's fonts draw it, Chinese too), so margins come from an estimate of its width, not
from a font here.
"""

from __future__ import annotations

import contextlib
import io as streams
import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcqlora import io, report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
STYLES = (("base", BLUE, "o", -0.17), ("tuned", ORANGE, "s", +0.17))  # the shift is in rows, downwards
CHANCE = 25.0  # percent

_STYLE = {
    "svg.hashsalt": "mcqlora",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_MANY = 40  # more categories than this go into two columns
_INCH = 72.0  # points
_EM = 0.62  # mean width of a Latin character by its height, of a wide sans-serif


def loss_curve(
    history: Sequence[Mapping[str, Any]], path: io.PathLike, checkpoints: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Training and validation loss by optimizer step.

    Args:
        history: rows `{"step", "train_loss"?, "valid_loss"?}`; None and NaN count as absent.
        path: of the SVG.
        checkpoints: `{"name", "step"}`, marked by a vertical line each.
    """
    train, valid = (report.losses(history, key) for key in ("train_loss", "valid_loss"))
    with _figure(7.0, 4.0) as (figure, save):
        axes = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.84, bottom=0.13)
        if train:
            label = f"training loss ({_count(train, 'step')})"
            if len(train) > 200:
                axes.plot(*zip(*train, strict=True), color=BLUE, alpha=0.25, linewidth=0.6)
                width = math.ceil(len(train) / 100)
                train = [_mean(train[i : i + width]) for i in range(0, len(train), width)]
                label += f", mean of each {width}"
            axes.plot(*zip(*train, strict=True), color=BLUE, linewidth=1.5, label=label)
        if valid:
            label = f"validation loss ({_count(valid, 'evaluation')})"
            axes.plot(*zip(*valid, strict=True), color=ORANGE, marker="s", markersize=4, label=label)
        for checkpoint in checkpoints:
            axes.axvline(checkpoint["step"], color=GREY, linewidth=0.7, linestyle=":", zorder=0)
            axes.annotate(
                checkpoint["name"].removeprefix("checkpoint_"),
                (checkpoint["step"], 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
                color=GREY,
            )
        axes.set_xlabel("optimizer step" + (" (dotted: checkpoints)" if checkpoints else ""))
        axes.set_ylabel("loss (nats a token)")
        if train or valid:
            axes.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
        _title(figure, _loss_title(valid, train))
        save(path)


def accuracy_by_category(rows: Sequence[Mapping[str, Any]], path: io.PathLike, leaked: bool = False) -> None:
    """Accuracy of base and tuned by category with Wilson intervals, the best tuned category on top.

    Args:
        rows: `{"category", "n", "base": (correct, low, high), "tuned": (correct, low, high)}`, intervals as
            fractions, as from `report.categories`.
        path: of the SVG.
        leaked: stamp the title.
    """
    rows = sorted(rows, key=lambda row: (-row["tuned"][0] / row["n"], row["category"]))
    columns = 2 if len(rows) > _MANY else 1
    height = max(1, math.ceil(len(rows) / columns))
    size = 7.0 if columns == 2 else 9.0
    labels = [f"{row['category']} ({row['n']:,})" for row in rows]
    points = [{side: _percent(row["n"], *row[side]) for side in report.SIDES} for row in rows]
    label_inches = max([_text_points(label, size) for label in labels], default=0) / _INCH + 0.15
    plot_inches, top, bottom = 2.6 if columns == 2 else 4.2, 0.72, 0.5
    column = label_inches + plot_inches + 0.25
    total = top + bottom + height * size * 1.9 / _INCH
    title = _category_title(rows, leaked)
    width = max(column * columns, _text_points(title, 10.0) / _INCH)
    with _figure(width, total) as (figure, save):
        for i in range(columns):
            frame = (i * column + label_inches, bottom, plot_inches, total - top - bottom)
            part = slice(i * height, (i + 1) * height)
            axes = _forest(figure, frame, labels[part], points[part], height, size)
            axes.axvline(CHANCE, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            axes.set_xlabel("accuracy, 95 % interval; dashed: chance", fontsize=size)
        _legend(figure)
        _title(figure, title)
        save(path)


def base_against_tuned(summary: Mapping[str, Any], path: io.PathLike) -> None:
    """Every protocol's accuracy and every SQuAD score, base against tuned, with 95 % intervals.

    Args:
        summary: of `report.summary`.
        path: of the SVG.
    """
    chosen, scores = _protocol_rows(summary["mcq"]["protocols"]), _squad_rows(summary["squad"])
    labels = [label for label, _ in chosen + scores]
    label_inches = max(_text_points(label, 9.0) for label in labels) / _INCH + 0.15
    title = _comparison_title(summary)
    width, top, bottom = max(label_inches + 5.0, _text_points(title, 10.0) / _INCH), 0.72, 0.5
    total = top + bottom + 0.5 * len(labels)
    with _figure(width, total) as (figure, save):
        frame = (label_inches, bottom, 4.2, total - top - bottom)
        axes = _forest(figure, frame, labels, [row for _, row in chosen + scores], len(labels), 9.0)
        axes.vlines(CHANCE, -0.5, len(chosen) - 0.5, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.axhline(len(chosen) - 0.5, color=GREY, linewidth=0.5)
        axes.set_xlabel("score, 95 % interval; dashed: chance")
        for y, (_, row) in enumerate(chosen + scores):
            _values(axes, y, row)
        _legend(figure)
        _title(figure, title)
        save(path)


# Parts of a figure


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Any]]:
    """A figure of `width` x `height` inches in this module's style, and the function that writes it."""
    import matplotlib
    from matplotlib.figure import Figure

    def save(path: io.PathLike) -> None:
        stream = streams.BytesIO()
        with warnings.catch_warnings():
            # Chinese labels are the viewer's font's to draw, not that of this machine.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        io.write_bytes(path, stream.getvalue())

    with matplotlib.rc_context():
        # From the defaults, so that no matplotlibrc of the user changes the bytes.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Without pyplot there is no backend, no window and no global state.
        figure = Figure(figsize=(width, height))
        yield figure, save


def _forest(
    figure: Figure,
    frame: tuple[float, float, float, float],
    labels: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    height: int,
    size: float,
) -> Axes:
    """Points with intervals on 0 to 100 %, a row each from the top, base above tuned.

    `frame` is left, bottom, width and height in inches, room for `height` rows of font `size`. A row's side
    is (score, low, high) in percent, or None.
    """
    inches = figure.get_size_inches().tolist() * 2
    axes = figure.add_axes([part / whole for part, whole in zip(frame, inches, strict=True)])
    for y in range(1, len(rows), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", linewidth=0, zorder=-1)  # leads the eye to the label
    for y, row in enumerate(rows):
        for name, color, marker, shift in STYLES:
            if row[name] is not None:
                score, low, high = row[name]
                axes.plot([low, high], [y + shift] * 2, color=color, linewidth=size / 7, alpha=0.7)
                # Unclipped: a point at 100 % is drawn whole.
                axes.plot(score, y + shift, color=color, marker=marker, markersize=size / 2.2, clip_on=False)
    axes.set_yticks(range(len(rows)), labels, fontsize=size)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_xlim(0, 100)
    ticks = (0, 25, 50, 75, 100)
    axes.set_xticks(ticks, [f"{tick} %" for tick in ticks], fontsize=size)
    axes.tick_params(axis="y", length=0)
    return axes


def _values(axes: Axes, y: int, row: Mapping[str, Any]) -> None:
    """The row's scores in figures, right of the plot."""
    for name, color, _, shift in STYLES:
        if row[name] is not None:
            place, coordinates = (1.03, y + shift), ("axes fraction", "data")
            axes.annotate(
                f"{row[name][0]:.1f} %", place, xycoords=coordinates, va="center", color=color, fontsize=8
            )


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, marker=marker, label=name) for name, color, marker, _ in STYLES]
    corner = (0.0, 1 - 0.33 / figure.get_figheight())
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=corner, ncols=2, borderaxespad=0.2)


def _title(figure: Figure, text: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 1 - 0.12 / height, text, fontsize=10, va="top", ha="left", weight="bold")


def _text_points(text: str, size: float) -> float:
    """Estimated width in points; a Chinese, Japanese or Korean character is as wide as it is high."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else _EM for char in text)


# Rows and titles, computed from the numbers


def _percent(n: int, correct: int, low: float, high: float) -> tuple[float, float, float]:
    return 100 * (correct / n), 100 * low, 100 * high


def _protocol_rows(protocols: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (
            f"{name} (n = {part['tuned']['n']:,})",
            {
                side: tuple(100 * part[side][key] for key in ("accuracy", "low", "high"))
                for side in report.SIDES
            },
        )
        for name, part in protocols.items()
    ]


def _squad_rows(squad: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    measured = [squad[side] for side in report.SIDES if squad[side]]
    for scorer in report.SCORERS if measured else ():
        n = measured[0][scorer]["n"]
        for key in ("em", "f1") if n else ():
            keys = (key, f"{key}_low", f"{key}_high")
            sides = {
                side: squad[side] and tuple(squad[side][scorer][key] for key in keys) for side in report.SIDES
            }
            rows.append((f"SQuAD {scorer} {key.upper()} (n = {n:,})", sides))
    return rows


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


def _category_title(rows: Sequence[Mapping[str, Any]], leaked: bool) -> str:
    better = sum(row["tuned"][0] > row["base"][0] for row in rows)
    worse = sum(row["tuned"][0] < row["base"][0] for row in rows)
    n = sum(row["n"] for row in rows)
    stamp = "LEAKED: tuned" if leaked else "Tuned"
    return f"{stamp} above base in {better} of {len(rows)} categories, below in {worse} (n = {n:,})"


def _comparison_title(summary: Mapping[str, Any]) -> str:
    mcq = summary["mcq"]
    base, tuned = (100 * mcq[side]["accuracy"] for side in report.SIDES)
    name = f"LEAKED: {mcq['protocol']}" if summary["leaked"] else mcq["protocol"].capitalize()
    n = mcq["tuned"]["n"]
    return f"{name} accuracy {tuned:.1f} % tuned, {base:.1f} % base (n = {n:,})"
