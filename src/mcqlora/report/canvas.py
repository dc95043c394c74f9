"""What figures are made of: size in inches, title, LEAKED stamp, source line, reproducible SVG; plots.

Text stays text: the viewer's fonts draw it, Chinese too, so nothing here depends on the fonts of the machine
that made it. Margins come from an estimate of the text's width, on the wide side. Scores are in percent.
"""

from __future__ import annotations

import contextlib
import io
import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from mcqlora import files
from mcqlora.report.robustness import BINS
from mcqlora.report.words import HASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "#767676"

_FONTS = "DejaVu Sans,Noto Sans CJK SC,Source Han Sans SC,PingFang SC,Microsoft YaHei,WenQuanYi Micro Hei"
_STYLE = {
    "svg.hashsalt": "mcqlora",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": _FONTS,
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_INCH = 72.0  # points
_EM = 0.62  # mean width of a Latin character by its height, of a wide sans-serif
_TITLE, _SOURCE = 10.0, 6.0  # font sizes
_MARGIN = 0.12  # inches to the left of texts and above the title
_TOP = 0.42  # inches of the title's line
_STAMP = "LEAKED: "

QUARTERS = (0, 25, 50, 75, 100)
_MANY = 40  # more rows than this go into two columns
CHANCE: Mapping[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": "--", "zorder": 0}
_HEAT = "viridis"  # one scale with any colour vision, dark to light

Point = tuple[float, float, float]  # score and the ends of its interval
Row = Sequence[Point | None]  # by style


class Style(NamedTuple):
    label: str
    color: str
    marker: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a figure is written, and its texts besides what it draws."""

    path: files.PathLike
    leaked: bool = False  # is stamped on it
    source: Mapping[str, str] = field(default_factory=dict)  # file -> hex SHA-256, in small print below


class Canvas:
    """A figure whose parts are placed in inches from its lower left corner, above the source line."""

    def __init__(self, figure: Figure, foot: float):
        self.figure = figure
        self._foot = foot

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        whole = self.figure.get_size_inches().tolist() * 2
        parts = (left, self._foot + bottom, width, height)
        return self.figure.add_axes([part / size for part, size in zip(parts, whole, strict=True)])

    def text(self, bottom: float, text: str, **style: Any) -> None:
        self.figure.text(*self._left(bottom), text, **style)

    def legend(self, styles: Sequence[Style], bottom: float) -> None:
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], **style._asdict()) for style in styles]
        place = {"loc": "lower left", "bbox_to_anchor": self._left(bottom), "borderaxespad": 0.0}
        self.figure.legend(handles=handles, **place, ncols=len(handles))

    def _left(self, bottom: float) -> tuple[float, float]:
        """Where texts begin, as shares of the figure's size."""
        width, height = self.figure.get_size_inches()
        return _MARGIN / width, (self._foot + bottom) / height


@contextlib.contextmanager
def drawing(target: Target, width: float, height: float, title: str) -> Iterator[Canvas]:
    """A canvas of at least `width` x `height` inches below a title; the SVG is written at the end."""
    import matplotlib
    from matplotlib.figure import Figure

    stamp = text_inches(_STAMP, _TITLE) if target.leaked else 0
    width = max(width, text_inches(title, _TITLE) + 0.3 + stamp)
    lines = _wrapped(target.source, width - 0.2)
    foot = 0.06 + len(lines) * _SOURCE * 1.3 / _INCH
    stream = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # From the defaults, so that no matplotlibrc of the user changes the bytes.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Chinese labels are the viewer's font's to draw, not that of this machine.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Without pyplot there is no backend, no window and no global state.
        figure = Figure(figsize=(width, foot + height + _TOP))
        canvas = Canvas(figure, foot)
        _title(figure, title, target.leaked)
        for i, line in enumerate(reversed(lines)):
            bottom = 0.04 - foot + i * _SOURCE * 1.3 / _INCH
            canvas.text(bottom, line, fontsize=_SOURCE, color=GREY, va="bottom")
        yield canvas
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    files.write_bytes(target.path, stream.getvalue())


def note(target: Target, title: str, text: str) -> None:
    """A figure that says in words why there is nothing to draw."""
    with drawing(target, text_inches(text, 9.0) + 0.3, 0.35, title) as canvas:
        canvas.text(0.15, text, fontsize=9, color=GREY)


def text_inches(text: str, size: float) -> float:
    """Estimated width; a Chinese, Japanese or Korean character is as wide as it is high."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else _EM for char in text) / _INCH


def _title(figure: Figure, title: str, leaked: bool) -> None:
    """If leaked, it begins with the stamp, and LEAKED lies along the diagonal, over everything, faintly."""
    width, height = figure.get_size_inches()
    style = {"fontsize": _TITLE, "va": "top", "weight": "bold"}
    left, y = _MARGIN, 1 - _MARGIN / height
    if leaked:
        figure.text(left / width, y, _STAMP, color=ORANGE, **style)
        left += text_inches(_STAMP, _TITLE)
        size = min(0.55 * math.hypot(width, height) / text_inches("LEAKED", 1.0), 0.35 * height * _INCH)
        look = {"fontsize": size, "weight": "bold", "color": ORANGE, "alpha": 0.12, "zorder": 10}
        slope = math.degrees(math.atan2(height, width))
        figure.text(0.5, 0.5, "LEAKED", ha="center", va="center", rotation=slope, **look)
    figure.text(left / width, y, title, **style)


def _wrapped(source: Mapping[str, str], width: float) -> list[str]:
    """ "made from" and each file with its short hash, in lines of at most `width` inches."""
    lines = ["made from (SHA-256)"]
    for i, (name, value) in enumerate(source.items()):
        word = f"{name} {value[:HASH]}" + ("," if i + 1 < len(source) else "")
        if text_inches(f"{lines[-1]} {word}", _SOURCE) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines if source else []


class Columns:
    """Rows with long labels in one column, or in two where they are many; all in inches."""

    def __init__(self, labels: Sequence[str], narrow: float, wide: float):
        self.labels = labels
        self.count = 2 if len(labels) > _MANY else 1
        self.rows = max(1, math.ceil(len(labels) / self.count))
        self.size = 7.0 if self.count == 2 else 9.0  # of the font
        self.plot = narrow if self.count == 2 else wide
        self.left = margin(labels, self.size)
        self.height = self.rows * self.size * 1.9 / 72
        self.width = self.count * (self.left + self.plot + 0.25)

    def parts(self, bottom: float) -> Iterator[tuple[slice, tuple[float, float, float, float]]]:
        """Which rows stand in a column, and where its plot is; a shorter one ends further up."""
        for i in range(self.count):
            part = slice(i * self.rows, min((i + 1) * self.rows, len(self.labels)))
            height = self.height * (part.stop - part.start) / self.rows
            left = i * (self.left + self.plot + 0.25) + self.left
            yield part, (left, bottom + self.height - height, self.plot, height)


def margin(labels: Sequence[str], size: float = 9.0) -> float:
    """Inches that the labels need to the left of a plot."""
    return max((text_inches(label, size) for label in labels), default=0.0) + 0.15


def point(estimate: files.Json) -> Point:
    return 100 * estimate["value"], 100 * estimate["low"], 100 * estimate["high"]


def forest(
    axes: Axes, labels: Sequence[str], rows: Sequence[Row], styles: Sequence[Style], size: float = 9.0
) -> Axes:
    """Points with intervals on 0 to 100 %, one row per label from the top; a row has one point per style."""
    for y in range(1, len(rows), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", linewidth=0, zorder=-1)  # leads the eye to the label
    for y, row in enumerate(rows):
        for found, style, shift in zip(row, styles, shifts(styles), strict=True):
            if found is not None:
                score, low, high = found
                axes.plot([low, high], [y + shift] * 2, color=style.color, linewidth=size / 7, alpha=0.7)
                # Unclipped: a point at 100 % is drawn whole.
                look = {"color": style.color, "marker": style.marker, "markersize": size / 2.2}
                axes.plot(score, y + shift, **look, clip_on=False)
    axes.set_yticks(range(len(rows)), labels, fontsize=size)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xticks(QUARTERS, [f"{tick} %" for tick in QUARTERS], fontsize=size)
    axes.tick_params(axis="y", length=0, pad=6)  # clear of a point at 0 %
    return axes


def chance(axes: Axes, shares: Sequence[float | None]) -> None:
    """What guessing scores, a dashed line through the rows of a forest, from the top; None has no line."""
    end = 0
    for share, rows in groupby(shares):
        start, end = end, end + len(list(rows))
        if share is not None:
            axes.vlines(100 * share, start - 0.5, end - 0.5, **CHANCE)


def shifts(styles: Sequence[Style]) -> list[float]:
    """Where the styles stand in a row, in rows downwards from its middle."""
    return [0.34 * (i - (len(styles) - 1) / 2) for i in range(len(styles))]


def heat(
    axes: Axes, values: Sequence[Sequence[float]], labels: Sequence[str], heads: Sequence[str], size: float
) -> None:
    """Percentages as colours and digits, one row per label from the top, `heads` above the columns."""
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


def colorbar(drawn: Canvas, left: float, width: float, label: str) -> None:
    """The scale of the heat maps."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = drawn.axes(left, 0.42, width, 0.1)
    bar = drawn.figure.colorbar(ScalarMappable(Normalize(0, 100), _HEAT), axes, orientation="horizontal")
    bar.solids.set(rasterized=False, edgecolor="face")  # else a viewer shows the seams
    axes.set_xticks(QUARTERS, QUARTERS, fontsize=7)
    axes.set_xlabel(label, fontsize=8, loc="left")


def bars(axes: Axes, bins: Sequence[files.Json], color: str) -> None:
    """The number of items in each bin."""
    middles = [50 * (row["low_edge"] + row["high_edge"]) for row in bins]
    counts = [row["n"] for row in bins]
    axes.bar(middles, counts, width=88 / BINS, color=color, alpha=0.6)
    for x, count in zip(middles, counts, strict=True):
        axes.annotate(f"{count:,}", (x, count), ha="center", va="bottom", fontsize=6)
    axes.set(xlim=(0, 100), ylim=(0, 1.35 * max(counts)), xticks=QUARTERS, yticks=[])
    axes.set_xlabel("probability of the chosen option (%)", fontsize=8)
    axes.set_ylabel("n")


def beside(axes: Axes, y: float, text: str, color: str) -> None:
    """Text in row `y`, right of the plot."""
    style = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8}
    axes.annotate(text, (1.03, y), **style, color=color)


def log_scale_if_steep(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis where a steep beginning would press all that follows into one line."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if min(values) > 0 and max(values) / min(values) > 5:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
