"""docs/extending.md, followed: a network by its declaration, a protocol in the registry."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from mcqlora.data import alpaca
from mcqlora.data.questions import Question
from mcqlora.evaluate import mcq, protocols
from mcqlora.evaluate.asking import GenerationSettings, Model
from mcqlora.evaluate.engine import Engine
from mcqlora.model.architecture import Architecture, Parameters
from tests.helpers.templates import internlm

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "extending.md").read_text(encoding="utf-8")


def blocks(section: str, kind: str) -> list[str]:
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_a_network_by_its_declaration():
    (declared,), (counted,) = blocks("A network", "yaml"), blocks("A network", "python")
    said: list[Parameters] = []
    names: dict = {}
    exec(counted, {"print": said.append}, names)
    network: Architecture = names["network"]
    assert yaml.safe_load(declared)["model"].items() <= vars(network).items()
    trainable, total = re.search(r"It prints ([\d,]+) trainable of ([\d,]+)", PAGE).groups()
    assert (f"{said[0].trainable:,}", f"{said[0].total:,}") == (trainable, total)


def characters(text: str) -> list[int]:
    """One id per character."""
    return [100 + ord(character) for character in text]


def forward(rows):
    """A network that likes low ids: the log-probability of an id is the lower, the higher it is."""
    return (-rows.targets / 1000).astype(np.float32), rows.targets


@pytest.fixture
def registered(monkeypatch) -> protocols.Protocol:
    """The protocol of the page, as if its blocks stood in the module."""
    build, entry = blocks("A protocol", "python")
    monkeypatch.setattr(protocols, "blind", None, raising=False)
    exec(build, vars(protocols))
    added = eval(entry, vars(protocols))
    monkeypatch.setattr(protocols, "PROTOCOLS", (*protocols.PROTOCOLS, added))
    monkeypatch.setattr(protocols, "BY_NAME", protocols.BY_NAME | {added.name: added})
    return added


def test_a_protocol_in_the_registry(registered):
    question = Question(
        id="toy/old_birds/test/0",
        benchmark="toy",
        subject="old_birds",
        split="test",
        row=0,
        language="en",
        question="Which bird sings?",
        options=["owl", "wren", "gull", "lark"],
        answer="A",
    )
    template = internlm(bos=1, eos=2, eoh=3, eoa=4, newline=5, pad=0)
    tokens = protocols.Tokenization(None, characters, template)
    model = Model("base", Engine(forward, batch_size=4, limit=500), tokens)
    settings = mcq.McqSettings(
        protocols=[registered.name],
        shots=[0],
        rotations=False,
        option_references={},
        leak_items=0,
        generation=GenerationSettings(items=0, max_new_tokens=1),
    )
    record = alpaca.shuffled_record(question, "BADC")
    found = mcq.choose(model, {question.id: question}, [record], [], settings, seed=0)
    assert found["protocols"].keys() == {"blind", "blind_norm"}
    (item,) = found["protocols"]["blind"]["items"]
    sums = [round(-sum(characters(f" {option}")) / 1000, 5) for option in question.options]
    assert item["scores"] == pytest.approx(sums, abs=1e-5)
    assert (item["order"], item["choice"], item["correct"]) == ("ABCD", "A", True)  # the shortest
    assert protocols.label("blind_norm") == "options alone per character"


def test_every_protocol_has_a_row_in_the_table():
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page.split("## Protocols")[1].split("\n## ")[0], re.MULTILINE)
    names = [protocol.name for protocol in protocols.PROTOCOLS]
    assert set(rows) == {*names, *(f"{p.name}_norm" for p in protocols.PROTOCOLS if p.per_character)}
