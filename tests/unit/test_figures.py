import math
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from test_report import inputs

from mcqlora import figures, report, statistics

CHINESE = "科目" * 8
SVG = "{http://www.w3.org/2000/svg}"
HISTORY = [{"step": step, "train_loss": 3 / step, "valid_loss": math.nan} for step in range(1, 301)] + [
    {"step": 100, "valid_loss": 2.0},
    {"step": 200, "valid_loss": 1.0},
    {"step": 300, "valid_loss": 1.5},
]


def rows(count):
    """`count` categories; Chinese, and characters that mean something to XML or TeX, in their names."""
    return [
        {
            "category": f"bench/{CHINESE} $x$_<{i}> & co",
            "n": 20,
            "base": (5, *statistics.wilson(5, 20)),
            "tuned": (i % 21, *statistics.wilson(i % 21, 20)),
        }
        for i in range(count)
    ]


def texts(path):
    """(text, x, y, font size, anchor) of every text of the figure, in points from the upper left."""
    found = []
    for element in ET.parse(path).iter(f"{SVG}text"):
        style = element.get("style")
        size = float(re.search(r"font-size: ([\d.]+)px", style).group(1))
        anchor = re.search(r"text-anchor: (\w+)", style)
        if element.get("x"):
            place = float(element.get("x")), float(element.get("y"))
        else:
            place = tuple(
                map(float, re.search(r"translate\(([\d.]+) ([\d.]+)\)", element.get("transform")).groups())
            )
        found.append((element.text, *place, size, anchor.group(1) if anchor else "start"))
    return found


DRAWINGS = {
    "loss_curve": lambda path: figures.loss_curve(HISTORY, path, [{"name": "checkpoint_1", "step": 200}]),
    "few": lambda path: figures.accuracy_by_category(rows(12), path),
    "many": lambda path: figures.accuracy_by_category(rows(124), path),
    "comparison": lambda path: figures.base_against_tuned(report.summary(**inputs()), path),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_numbers_give_the_same_bytes_without_a_date(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for copy in "ab":
            DRAWINGS[name](tmp_path / copy)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert b"dc:date" not in data and b"dc:creator" not in data
    assert ET.fromstring(data).tag == f"{SVG}svg"


def test_a_users_matplotlib_settings_change_nothing(tmp_path):
    import matplotlib

    DRAWINGS["few"](tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path"}):
        DRAWINGS["few"](tmp_path / "b.svg")
        assert matplotlib.rcParams["font.size"] == 30  # and drawing leaves them alone
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("count", [1, 12, 124])
def test_category_labels_are_whole_and_do_not_overlap(tmp_path, count):
    path = tmp_path / "figure.svg"
    figures.accuracy_by_category(rows(count), path)
    width = float(ET.parse(path).getroot().get("viewBox").split()[2])
    found = texts(path)
    labels = [text for text in found if text[0].endswith("(20)")]
    assert {text[0] for text in labels} == {f"{row['category']} (20)" for row in rows(count)}
    columns = sorted({x for _, x, *_ in labels})
    assert len(columns) == (2 if count == 124 else 1)
    for text, x, _, size, anchor in labels:
        # Chinese is an em wide, the rest at most 0.62 em on average; the plot to the left ends 2.6 inches on.
        left = x - size * (len(CHINESE) + 0.62 * (len(text) - len(CHINESE)))
        assert anchor == "end" and left > (columns[0] + 2.6 * 72 if x == columns[-1] and count == 124 else 0)
    for column in columns:
        heights = sorted((y, size) for _, x, y, size, _ in labels if x == column)
        assert all(b[0] - a[0] >= b[1] for a, b in pairwise(heights))
    title = found[[text[0].startswith("Tuned above") for text in found].index(True)]
    assert title[1] + 0.6 * title[3] * len(title[0]) <= width + 1


def test_the_category_title_counts_what_the_rows_say(tmp_path):
    path = tmp_path / "figure.svg"
    figures.accuracy_by_category(rows(12), path, leaked=True)
    assert "LEAKED: tuned above base in 6 of 12 categories, below in 5 (n = 240)" in [
        t[0] for t in texts(path)
    ]


def test_the_loss_title_and_legend_say_the_numbers(tmp_path):
    path = tmp_path / "figure.svg"
    figures.loss_curve(
        HISTORY, path, [{"name": "checkpoint_1", "step": 100}, {"name": "checkpoint_2", "step": 200}]
    )
    found = [text[0] for text in texts(path)]
    assert "Validation loss fell from 2.000 to 1.500; lowest 1.000 at step 200" in found
    assert "training loss (n = 300 steps), mean of each 3" in found
    assert "validation loss (n = 3 evaluations)" in found
    assert "1" in found and "2" in found


@pytest.mark.parametrize(
    ("history", "title"),
    [
        ([], "No loss was recorded"),
        ([{"step": 1, "train_loss": 2.0}], "Training loss was 2.000; lowest 2.000 at step 1"),
        (
            [{"step": 1, "valid_loss": 1.0}, {"step": 2, "valid_loss": 2.0}],
            "Validation loss rose from 1.000 to 2.000; lowest 1.000 at step 1",
        ),
    ],
)
def test_the_loss_title_of_short_histories(tmp_path, history, title):
    figures.loss_curve(history, tmp_path / "figure.svg")
    assert title in [text[0] for text in texts(tmp_path / "figure.svg")]


def test_the_comparison_shows_every_score_with_its_n(tmp_path):
    path = tmp_path / "figure.svg"
    figures.base_against_tuned(report.summary(**inputs()), path)
    found = [text[0] for text in texts(path)]
    assert "Answer accuracy 90.0 % tuned, 30.0 % base (n = 40)" in found
    for label in (
        "answer (n = 40)",
        "generation (n = 8)",
        "SQuAD official F1 (n = 30)",
        "SQuAD mindformers EM (n = 10)",
    ):
        assert label in found
    assert "90.0 %" in found and "30.0 %" in found


def test_the_comparison_draws_what_was_measured(tmp_path):
    path = tmp_path / "figure.svg"
    values = inputs(leaked=True)
    for given, expected in (({}, 0), ({"base": values["squad"]["base"]}, 4)):
        figures.base_against_tuned(report.summary(**values | {"squad": given}), path)
        found = [text[0] for text in texts(path)]
        assert sum(text.startswith("SQuAD") for text in found) == expected
        assert any(text.startswith("LEAKED: answer accuracy") for text in found)


def test_importing_does_not_load_the_slow_libraries():
    code = (
        "import sys, mcqlora.figures, mcqlora.report, mcqlora.squad\n"
        "print({'matplotlib', 'scipy', 'statsmodels', 'pandas', 'jieba', 'mindspore'} & set(sys.modules))"
    )
    env = {"PYTHONPATH": str(next(p for p in sys.path if p.endswith("src")))}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True) == "set()\n"
