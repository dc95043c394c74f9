"""Models judged through transformers and peft, item by item against MindSpore on the same weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mcqlora import files
from mcqlora.data.questions import read_questions
from mcqlora.evaluate import foreign, mcq
from mcqlora.evaluate.asking import GenerationSettings
from tests.parity.conftest import ROOT, SEQ_LENGTH, TINY, other_python

pytestmark = pytest.mark.parity
SETTINGS = mcq.McqSettings(
    protocols=["answer", "letter", "option", "harness", "cmmlu", "generation"],
    shots=[0],
    rotations=True,
    option_references={},
    leak_items=0,
    generation=GenerationSettings(6, 4),  # as tiny.yaml has it
)


def evaluated(run, model: str) -> dict:
    """mcq.json of MindSpore's."""
    results = run.export.parent
    folder, target = results.parents[1], f"results/{results.name}/evaluation/{model}/mcq.json"
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", 2]
    overlay = folder / f"{results.name}.yaml"
    other_python("-m", "snakemake", target, *arguments, "--configfile", TINY, overlay)
    return json.loads((folder / target).read_text())


def judged(run, path: Path, adapter: Path | None, place: Path) -> dict:
    results = run.export.parent
    spec = foreign.ForeignSpec(
        name="judged",
        path=str(path),
        adapter=adapter and str(adapter),
        runs=str(place),
        seq_length=SEQ_LENGTH,
        batch_size=32,
        device="cpu",
        dtype="float32",
        template=None,
    )
    questions = {question.id: question for question in read_questions(results / "questions.jsonl")}
    test = list(files.read_json_array(results / "splits" / "test.json"))
    groups = files.read_json(results / "groups.json")["groups"]
    model = foreign.ready(spec)
    assert model.tokens.template.name == "internlm"
    return mcq.choose(model, questions, test, [], SETTINGS, 0, groups)


def by_item(part: dict) -> dict:
    return {(item["id"], item["order"]): item for item in part["items"]}


def said(item: dict) -> str:
    """A generated text up to bytes that are no UTF-8, which random networks say.

    Of such a run of byte pieces SentencePiece keeps those that are ASCII, transformers none.
    """
    return item.get("text", "").partition("\ufffd")[0]


def agree(run, ours: dict, theirs: dict, what: str) -> None:
    apart, count = 0.0, 0
    pairs = [(ours["protocols"][name], theirs["protocols"][name]) for name in ours["protocols"]]
    pairs += [(ours["circular"][name], theirs["circular"][name]) for name in ("answer", "letter")]
    for left, right in pairs:
        mine, other = by_item(left), by_item(right)
        assert mine.keys() == other.keys()
        for key, item in mine.items():
            assert item["choice"] == other[key]["choice"] and said(item) == said(other[key]), key
            scores = zip(item.get("scores", ()), other[key].get("scores", ()), strict=True)
            apart = max(apart, *(abs(a - b) for a, b in scores), 0.0)
            count += 1
    print(f"\n{run.name}: {count} items of {what} alike, log-likelihoods within {apart:.1e}", end="")
    assert apart < 1e-3


def published(run, place: Path) -> Path:
    """The base's folder with a tokenizer_config.json, as published ones have it.

    Without one transformers reads a tokenizer.model otherwise: a mark in a text becomes one piece.
    """
    shutil.copytree(run.base, place, dirs_exist_ok=True)
    shutil.copy(run.export / "merged" / "tokenizer_config.json", place)
    return place


def test_the_merged_network_and_the_adapter_are_judged_as_mindspore_evaluates_them(run, tmp_path):
    os.environ["HF_HUB_OFFLINE"] = "1"
    ours = evaluated(run, run.checkpoint)
    agree(run, ours, judged(run, run.export / "merged", None, tmp_path), "the merged network")
    adapter = run.export / "peft" / run.checkpoint
    agree(run, ours, judged(run, published(run, tmp_path / "base"), adapter, tmp_path), "the adapter")


def test_a_foreign_network_is_judged_as_mindspore_evaluates_it(run, tmp_path):
    """The random ones among them were never tuned here."""
    base = published(run, tmp_path / "base")
    agree(run, evaluated(run, "base"), judged(run, base, None, tmp_path), "the base")
