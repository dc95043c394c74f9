"""lm-evaluation-harness on the merged export of a run, against that run's own `harness` items, one by one.

The run is the small one of conftest.py. MCQLORA_RUN=results/demo adds one that stands there with its exports.
"""

import json
import os
from pathlib import Path

import pytest

from tests.parity.conftest import ROOT, TINY, other_python
from tests.parity.test_harness import zero_shot

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module", params=["own", *filter(None, [os.environ.get("MCQLORA_RUN")])])
def results(request) -> Path:
    """The results of a run, with its merged network evaluated."""
    if request.param != "own":
        return ROOT / request.param
    made = request.getfixturevalue("own").export.parent
    overlay = made.parents[1] / "own.yaml"
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", made.parents[1], "--cores", 2]
    target = f"results/own/evaluation/{merged_from(made)}/mcq.json"
    other_python("-m", "snakemake", target, *arguments, "--configfile", TINY, overlay)
    return made


def merged_from(results: Path) -> str:
    return json.loads((results / "export" / "merged" / "merged_from.json").read_text())["checkpoint"]


def test_the_harness_agrees_on_the_merged_network(results, tmp_path):
    evaluation = json.loads((results / "evaluation" / merged_from(results) / "mcq.json").read_text())
    mine = {item["id"]: item for item in evaluation["protocols"]["harness"]["items"]}
    with open(results / "questions.jsonl", encoding="utf-8") as file:
        tested = [question for question in map(json.loads, file) if question["id"] in mine]
    samples = zero_shot(tmp_path, results / "export" / "merged", tested)
    assert samples.keys() == mine.keys()
    apart = 0.0
    for identity, sample in samples.items():
        likelihoods = [float(pair[0][0]) for pair in sample["resps"]]
        apart = max(apart, *(abs(a - b) for a, b in zip(mine[identity]["scores"], likelihoods, strict=True)))
        assert mine[identity]["correct"] == (sample["acc"] == 1.0), identity
    right = sum(item["correct"] for item in mine.values())
    print(f"\n{results.name}: {right} of {len(mine)} right both ways, log-likelihoods within {apart:.1e}")
    assert apart < 1e-3
