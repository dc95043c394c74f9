"""What all figures share: size in inches, title, LEAKED stamp, source line, reproducible SVG.

Text stays text: the viewer's fonts draw it, Chinese too, so nothing here depends on the fonts of the machine
that made it. Margins come from an estimate of the text's width, on the wide side.
"""

from __future__ import annotations

import contextlib
import io as streams
import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcqlora import files
from mcqlora.report.labels import HASH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "#767676"

_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Micro Hei",
)
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
_TOP = 0.42  # inches of the title's line
_STAMP = "LEAKED: "


class Canvas:
    """A figure whose parts are placed in inches from its lower left corner, above the source line."""

    def __init__(self, figure: Figure, foot: float):
        self.figure = figure
        self._foot = foot

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        whole = self.figure.get_size_inches().tolist() * 2
        parts = (left, self._foot + bottom, width, height)
        return self.figure.add_axes([part / size for part, size in zip(parts, whole, strict=True)])

    def text(self, left: float, bottom: float, text: str, **style: Any) -> None:
        width, height = self.figure.get_size_inches()
        self.figure.text(left / width, (self._foot + bottom) / height, text, **style)

    def legend(self, styles: Sequence[tuple[str, str, str]], left: float, bottom: float) -> None:
        """A line of (label, colour, marker) whose lower left corner is given."""
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], color=color, marker=marker, label=name) for name, color, marker in styles]
        width, height = self.figure.get_size_inches()
        self.figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(left / width, (self._foot + bottom) / height),
            ncols=len(handles),
            borderaxespad=0.0,
        )


@contextlib.contextmanager
def drawing(
    path: files.PathLike,
    width: float,
    height: float,
    title: str,
    *,
    leaked: bool = False,
    source: Mapping[str, str] | None = None,
) -> Iterator[Canvas]:
    """A canvas of at least `width` x `height` inches below a title; the SVG is written at the end.

    Args:
        leaked: stamp it.
        source: file -> hex SHA-256 of what was drawn, said in small print below.
    """
    import matplotlib
    from matplotlib.figure import Figure

    width = max(width, text_inches(title, _TITLE) + 0.3 + (text_inches(_STAMP, _TITLE) if leaked else 0))
    lines = _wrapped(source or {}, width - 0.2)
    foot = 0.06 + len(lines) * _SOURCE * 1.3 / _INCH
    with matplotlib.rc_context():
        # From the defaults, so that no matplotlibrc of the user changes the bytes.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Without pyplot there is no backend, no window and no global state.
        figure = Figure(figsize=(width, foot + height + _TOP))
        canvas = Canvas(figure, foot)
        _title(canvas, title, leaked)
        if lines:
            style = {"fontsize": _SOURCE, "color": GREY, "va": "bottom"}
            for i, line in enumerate(reversed(lines)):
                canvas.text(0.12, 0.04 - foot + i * _SOURCE * 1.3 / _INCH, line, **style)
        yield canvas
        _save(figure, path)


def note(path: files.PathLike, title: str, text: str, **options: Any) -> None:
    """A figure that says in words why there is nothing to draw."""
    with drawing(path, text_inches(text, 9.0) + 0.3, 0.35, title, **options) as canvas:
        canvas.text(0.12, 0.15, text, fontsize=9, color=GREY)


def text_inches(text: str, size: float) -> float:
    """Estimated width; a Chinese, Japanese or Korean character is as wide as it is high."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else _EM for char in text) / _INCH


def _title(canvas: Canvas, title: str, leaked: bool) -> None:
    figure = canvas.figure
    width, height = figure.get_size_inches()
    style = {"fontsize": _TITLE, "va": "top", "weight": "bold"}
    left, y = 0.12, 1 - 0.12 / height
    if leaked:
        figure.text(left / width, y, _STAMP, color=ORANGE, **style)
        left += text_inches(_STAMP, _TITLE)
        _watermark(figure, width, height)
    figure.text(left / width, y, title, **style)


def _watermark(figure: Figure, width: float, height: float) -> None:
    """LEAKED along the diagonal, over everything, faintly."""
    along = 0.55 * math.hypot(width, height) / text_inches("LEAKED", 1.0)
    style = {"fontsize": min(along, 0.35 * height * _INCH), "weight": "bold", "color": ORANGE, "alpha": 0.12}
    slope = math.degrees(math.atan2(height, width))
    figure.text(0.5, 0.5, "LEAKED", ha="center", va="center", rotation=slope, zorder=10, **style)


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


def _save(figure: Figure, path: files.PathLike) -> None:
    stream = streams.BytesIO()
    with warnings.catch_warnings():
        # Chinese labels are the viewer's font's to draw, not that of this machine.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    files.write_bytes(path, stream.getvalue())
