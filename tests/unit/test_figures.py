import math
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest

from mcqlora.report import figures, intervals
from mcqlora.report.canvas import Target
from mcqlora.report.words import HASH
from tests.helpers.evaluations import build, few, full, with_options

CHINESE = "科目" * 8
SVG = "{http://www.w3.org/2000/svg}"
HISTORY = [{"step": step, "train_loss": 3 / step, "valid_loss": math.nan} for step in range(1, 301)] + [
    {"step": 100, "valid_loss": 2.0},
    {"step": 200, "valid_loss": 1.0},
    {"step": 300, "valid_loss": 1.5},
]
NAMES = ("loss", "heatmap", "forest", "comparison", "letters", "reliability", "leak")
HASHES = {"evaluation/base/mcq.json": "ab" * 32, "evaluation/checkpoint_5/mcq.json": "cd" * 32}


def rows(count):
    """`count` categories; Chinese, and characters that mean something to XML or TeX, in their names."""
    return [
        {
            "category": f"bench/{CHINESE} $x$_<{i}> & co",
            "n": 20,
            "chance": 1 / (4 + i % 2),
            "base": (5, *intervals.wilson(5, 20)),
            "tuned": (i % 21, *intervals.wilson(i % 21, 20)),
        }
        for i in range(count)
    ]


def table(count):
    models = ("base", *(f"checkpoint_{k}" for k in range(1, 6)))
    return {
        row["category"]: {model: {"n": 20, "correct": row["tuned"][0]} for model in models}
        for row in rows(count)
    }


def texts(path):
    """(text, x, y, font size, anchor) of every upright text of the figure, in points from the upper left."""
    found = []
    for element in ET.parse(path).iter(f"{SVG}text"):
        style = element.get("style")
        size = float(re.search(r"font-size: ([\d.]+)px|font: (?:bold )?([\d.]+)px", style).group(1))
        anchor = re.search(r"text-anchor: (\w+)", style)
        if element.get("x"):
            place = float(element.get("x")), float(element.get("y"))
        else:
            place = tuple(
                map(float, re.search(r"translate\(([\d.]+) ([\d.]+)\)", element.get("transform")).groups())
            )
        turned = re.search(r"rotate\(-?([\d.]+)", element.get("transform") or "")
        if not turned or float(turned.group(1)) == 0:
            found.append((element.text, *place, size, anchor.group(1) if anchor else "start"))
    return found


def box(text, x, y, size, anchor):
    """Left, right, top and bottom of what a text surely covers: fonts are not narrower than 0.45 em."""
    wide = sum(1.0 if ord(char) > 0x2E80 else 0.45 for char in text) * size
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * wide
    return left, left + wide, y - 0.7 * size, y


def drawn(directory, whole, training, mcq):
    paths = {name: directory / f"{name}.svg" for name in NAMES}
    figures.draw(whole, training, mcq, paths)
    return paths


@pytest.fixture(scope="module")
def all_figures(tmp_path_factory):
    """Every figure of a run with everything, of one with less, and of one that leaks."""
    made = {}
    for name, values in {
        "full": full(),
        "less": few(),
        "leaked": full(leaked=True),
    }.items():
        if name == "leaked":
            for scores in values["mcq"].values():
                scores["leak"] = scores["circular"] = None
        directory = tmp_path_factory.mktemp(name)
        made[name] = drawn(directory, build(values), values["training"], values["mcq"])
    values = with_options(full(), (2, 3, 4, 5, 10))
    directory = tmp_path_factory.mktemp("options")
    made["options"] = drawn(directory, build(values), values["training"], values["mcq"])
    return made


CHECKPOINTS = [{"name": "checkpoint_1", "step": 100}, {"name": "checkpoint_2", "step": 200}]
DRAWINGS = {
    "loss_curve": lambda path: figures.loss_curve(HISTORY, CHECKPOINTS, Target(path)),
    "few": lambda path: figures.category_forest(rows(12), Target(path)),
    "many": lambda path: figures.category_forest(rows(124), Target(path, source=HASHES)),
    "heatmap": lambda path: figures.category_heatmap(table(124), "checkpoint_5", Target(path, leaked=True)),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_numbers_give_the_same_bytes_without_a_date(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for copy in "ab":
            DRAWINGS[name](tmp_path / copy)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert b"dc:date" not in data and b"dc:creator" not in data
    assert b"<image" not in data
    assert ET.fromstring(data).tag == f"{SVG}svg"


def test_a_users_matplotlib_settings_change_nothing(tmp_path):
    import matplotlib

    DRAWINGS["few"](tmp_path / "a.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.fonttype": "path"}):
        DRAWINGS["few"](tmp_path / "b.svg")
        assert matplotlib.rcParams["font.size"] == 30  # and drawing leaves them alone
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["full", "less", "leaked", "options"])
@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_over_another_or_outside(all_figures, kind, name):
    path = all_figures[kind][name]
    width, height = map(float, ET.parse(path).getroot().get("viewBox").split()[2:])
    boxes = [(text[0], box(*text)) for text in texts(path)]
    assert len(boxes) > 1
    for text, (left, right, top, bottom) in boxes:
        assert left >= 0 and right <= width and top >= 0 and bottom <= height, text
    for (one, a), (other, b) in combinations(boxes, 2):
        assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2], (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_leaked_run_is_stamped_on_every_figure(all_figures, name):
    for kind, stamped in (("full", False), ("leaked", True)):
        data = all_figures[kind][name].read_text()
        assert ("LEAKED: " in data and ">LEAKED<" in data) == stamped


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_names_the_hashes_of_its_inputs_and_an_n(all_figures, name):
    values = full()["hashes"]
    of = {"loss": "training/training.json"}.get(name, "evaluation/checkpoint_2/mcq.json")
    data = all_figures["full"][name].read_text()
    assert f"{of.removeprefix('evaluation/')} {values[of][:HASH]}" in data
    assert "n = " in data


def test_what_was_not_measured_is_a_sentence_and_no_empty_panel(all_figures):
    for kind, words in (("less", "evaluate.leak_items"), ("leaked", "The split itself leaks")):
        root = ET.parse(all_figures[kind]["leak"]).getroot()
        assert not [group for group in root.iter(f"{SVG}g") if (group.get("id") or "").startswith("axes")]
        assert any(words in text[0] for text in texts(all_figures[kind]["leak"]))


@pytest.mark.integration
@pytest.mark.parametrize("count", [1, 12, 124])
@pytest.mark.parametrize("name", ["forest", "heatmap"])
def test_category_labels_are_whole_and_do_not_overlap(tmp_path, name, count):
    path, plot = tmp_path / "figure.svg", {"forest": 2.6, "heatmap": 0.36 * 6}[name] * 72
    if name == "forest":
        figures.category_forest(rows(count), Target(path))
    else:
        figures.category_heatmap(table(count), "checkpoint_5", Target(path))
    width = float(ET.parse(path).getroot().get("viewBox").split()[2])
    found = texts(path)
    labels = [text for text in found if text[0].endswith("(20)")]
    assert {text[0] for text in labels} == {f"{row['category']} (20)" for row in rows(count)}
    columns = sorted({round(x) for _, x, *_ in labels})
    assert len(columns) == (2 if count == 124 else 1)
    for text, x, _, size, anchor in labels:
        # Chinese is an em wide, the rest at most 0.62 em on average; the plot to the left ends before.
        left = x - size * (len(CHINESE) + 0.62 * (len(text) - len(CHINESE)))
        assert anchor == "end" and left > (
            columns[0] + plot if round(x) == columns[-1] and count == 124 else 0
        )
    for column in columns:
        heights = sorted((y, size) for _, x, y, size, _ in labels if round(x) == column)
        assert all(b[0] - a[0] >= b[1] for a, b in pairwise(heights))
    title = max(found, key=lambda text: text[3])
    assert title[1] + 0.62 * title[3] * len(title[0]) <= width + 1


def test_the_category_title_counts_what_the_rows_say(tmp_path):
    path = tmp_path / "figure.svg"
    figures.category_forest(rows(12), Target(path))
    assert "Tuned above base in 6 of 12 categories, below in 5 (n = 240)" in [t[0] for t in texts(path)]


def test_the_heat_map_shows_every_model_s_percentage(tmp_path):
    path = tmp_path / "figure.svg"
    cells = {
        "a/x": {"base": {"n": 8, "correct": 1}, "checkpoint_1": {"n": 8, "correct": 8}},
        "a/y": {"base": {"n": 4, "correct": 1}, "checkpoint_1": {"n": 4, "correct": 3}},
    }
    figures.category_heatmap(cells, "checkpoint_1", Target(path))
    found = [text[0] for text in texts(path)]
    assert {"base", "1*", "a/x (8)", "a/y (4)", "12", "100", "25", "75"} <= set(found)
    assert "Accuracy of 2 models in 2 categories (%, n = 12 per model)" in found


def test_the_loss_title_and_legend_say_the_numbers(tmp_path):
    path = tmp_path / "figure.svg"
    figures.loss_curve(HISTORY, CHECKPOINTS, Target(path))
    found = [text[0] for text in texts(path)]
    assert "Validation loss fell from 2.000 to 1.500; lowest 1.000 at step 200" in found
    assert "training loss (n = 300 steps), mean of each 6" in found
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
    figures.loss_curve(history, [], Target(tmp_path / "figure.svg"))
    assert title in [text[0] for text in texts(tmp_path / "figure.svg")]


def test_the_comparison_shows_every_score_with_its_n(all_figures):
    found = [text[0] for text in texts(all_figures["full"]["comparison"])]
    assert "Full answer: 90.0 % tuned, 30.0 % base (n = 40)" in found
    for label in (
        "full answer (n = 40)",
        "CMMLU's own, 5-shot (n = 20)",
        "full answer, all rotations (n = 160)",
        "full answer, right in all rotations (n = 40)",
        "full answer, training questions again (n = 40)",
        "SQuAD official F1 (n = 90)",
        "SQuAD MindFormers EM (n = 30)",
    ):
        assert label in found
    assert "90.0 %" in found and "30.0 %" in found


def test_the_comparison_draws_what_was_measured(tmp_path):
    path = tmp_path / "figure.svg"
    values = few()
    for given, expected in (({}, 0), ({"base": values["squad"]["base"]}, 4)):
        figures.base_against_tuned(build(values | {"squad": given}), Target(path))
        assert sum(text[0].startswith("SQuAD") for text in texts(path)) == expected


def test_the_confusion_and_the_bins_show_their_counts(all_figures):
    letters = [text[0] for text in texts(all_figures["full"]["letters"])]
    assert letters.count("A (10)") == 4 and "none" not in letters
    assert "tuned, full answer" in letters and "base, letter" in letters
    bins = [text[0] for text in texts(all_figures["full"]["reliability"])]
    assert bins.count("40") == 2  # one bin holds every question of either side
    assert "tuned, full answer" in bins and any(text.startswith("ECE ") for text in bins)


def test_the_leak_is_titled_by_what_is_beyond_the_base_s_gap(all_figures, tmp_path):
    said = [text[0] for text in texts(all_figures["full"]["leak"])]
    assert any(text.startswith("Leak gap of tuned beyond the base's: +10.0 [") for text in said)
    values, path = full(), tmp_path / "figure.svg"
    values["mcq"]["base"]["leak"] = None
    figures.leak_gap(build(values), Target(path))
    assert any(text[0].startswith("Leak gap of tuned: +10.0 [") for text in texts(path))


def test_unreadable_answers_have_a_column_of_their_own(tmp_path):
    path = tmp_path / "figure.svg"
    figures.letter_confusion(build(few(), protocol="generation"), Target(path))
    assert "none" in [text[0] for text in texts(path)]


def test_importing_does_not_load_the_slow_libraries():
    code = (
        "import sys, mcqlora.report.figures, mcqlora.report.page, mcqlora.evaluate.squad_metrics\n"
        "print({'matplotlib', 'scipy', 'statsmodels', 'pandas', 'jieba', 'mindspore'} & set(sys.modules))"
    )
    env = {"PYTHONPATH": str(next(p for p in sys.path if p.endswith("src")))}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True) == "set()\n"
