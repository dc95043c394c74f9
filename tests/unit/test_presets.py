"""Every preset reads its set as it is published, and docs/benchmarks.md lists it."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from mcqlora.config import checks, inputs, presets
from mcqlora.data import readers
from mcqlora.data.layouts import Layout
from tests.helpers.benchmarks import QUESTIONS, invented, write
from tests.helpers.configs import given
from tests.helpers.questions import read_source

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"

# Questions by part and their numbers of options; the others are in the ledger.
KEPT = {
    "mmlu_pro": ({"dev": 36, "test": 36}, {3, 10}),
    "mmlu_redux": ({"test": 12}, {4}),
    "arc": ({"dev": 36, "val": 36, "test": 36}, {3, 4}),
    "truthfulqa": ({"test": 36}, {2, 5}),
    "tmlu": ({"dev": 36, "test": 36}, {4, 6}),
    "arabicmmlu": ({"dev": 18, "test": 36}, {2, 3, 5}),
    "head_qa": ({"dev": 36, "val": 36, "test": 36}, {5}),
    "agieval": ({"test": 18}, {5}),
    "cmmlu": ({"dev": 18, "test": 18}, {4}),
    "ceval": ({"dev": 18, "test": 18}, {4}),
    "commonsenseqa": ({"dev": 18, "test": 18}, {5}),
    "commonsenseqa_jsonl": ({"dev": 18, "test": 18}, {5}),
    "hellaswag": ({"dev": 18, "test": 18}, {4}),
    "medmcqa": ({"dev": 18, "test": 18}, {4}),
    "medmcqa_json": ({"dev": 18, "test": 18}, {4}),
    "global_mmlu": ({"dev": 18, "test": 18}, {4}),
    "include": ({"dev": 18, "test": 18}, {4}),
    "mmmlu": ({"test": 18}, {4}),
    "gpqa": ({"test": 18}, {4}),
    **dict.fromkeys(("piqa", "winogrande", "boolq"), ({"dev": 18, "test": 18}, {2})),
}
DROPPED = {
    "mmlu_redux": {"where": 6},
}
for name in ("ceval", "commonsenseqa", "commonsenseqa_jsonl", "hellaswag", "medmcqa", "medmcqa_json", "piqa"):
    DROPPED[name] = {"unlabelled": QUESTIONS}
DROPPED["winogrande"] = DROPPED["piqa"]


def opened(tmp_path, preset):
    entry = write(preset, tmp_path)
    made = given(data=str(tmp_path), benchmarks=[entry])
    checks.check(made)
    assert inputs.benchmark_files(made)
    (source,) = inputs.sources(made, str(tmp_path), "downloads")
    return made.benchmarks[0], readers.Source(**source | {"layout": Layout(**source["layout"])})


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_preset_reads_its_set(tmp_path, preset):
    entry, source = opened(tmp_path, preset)
    assert entry.licence and entry.language
    questions, entries = read_source(source)
    parts, options = KEPT.get(preset, (dict.fromkeys(("dev", "val", "test"), QUESTIONS), {4}))
    assert Counter(question.split for question in questions) == parts
    assert {len(question.options) for question in questions} == options
    assert Counter(one.reason for one in entries if one.reason) == DROPPED.get(preset, {})
    made = {one.text: one for one in everything()}
    for question in questions:
        one = made[question.question]
        right = ("no", "yes")[one.right] if preset == "boolq" else one.options[one.right]
        assert question.options[question.letters.index(question.answer)] == right
    if source.layout.answer == "first":  # the right option is not always where the file has it
        assert len({question.answer for question in questions}) > 1


def everything():
    splits = ("dev", "val", "valid", "test", "train", "validation", "Train", "Dev", "Test")
    for split in splits:
        for count in (2, 4, 5):
            yield from invented(split, count)
    for start in ("validation", "test", "train", "dev", "v", "part0", "part1"):
        for count in (2, 3, 4, 5, 6, 10):
            yield from invented(f"{start}{count}", count)
    for split in ("train", "dev", "test"):
        for exam in ("botany", "biology"):
            yield from invented(f"{split} {exam}", 5)


def test_a_passage_and_options_without_their_letters(tmp_path):
    _, source = opened(tmp_path, "agieval")
    questions, _ = read_source(source)
    assert questions[0].passage == "Gardens 0 were planted." and questions[0].subject == "lsat-ar"
    assert questions[0].options[0].startswith("the frond")


def test_a_set_has_the_same_questions_in_one_file_as_in_a_file_per_subject(tmp_path):
    _, source = opened(tmp_path, "mmlu_hf")
    with readers.opened(source) as benchmark:
        splits = ("dev", "test", "validation")
        assert benchmark.beside == [f"ferns/{split}-00000-of-00001.parquet" for split in splits]
        assert readers.passed_over(benchmark).startswith("benchmarks: mmlu_hf: 3 files beside it do not fit")
    before, _ = read_source(source)
    shutil.rmtree(tmp_path / "mmlu_hf" / "all")
    assert read_source(source)[0] == before and len(before) == 3 * QUESTIONS


def page_table() -> str:
    rows = [
        "| preset | set | language | licence | files | published at |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in presets.PRESETS.items():
        files = ", ".join(f"`{pattern}`" for pattern in one.keys.get("files", [])) or "one file"
        cells = [f"`{name}`", one.title, one.language or "give it", one.licence, files, one.source]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def test_the_page_has_every_preset():
    """To mend it: PYTHONPATH=src:. python -c "from tests.unit.test_presets import *; print(page_table())"."""
    found = re.search(r"<!-- presets -->\n(.*?)\n<!-- end of presets -->", PAGE.read_text(), re.DOTALL)
    assert found and found[1] == page_table()
