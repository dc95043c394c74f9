"""A real network, SmolLM2-135M-Instruct: its logits, its rows of MMLU, and its choices in the harness."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.parity.conftest import ROOT, other_python
from tests.parity.test_harness import zero_shot

pytestmark = pytest.mark.parity
MMLU = ROOT.parent / "shared" / "data" / "mmlu"
LIMIT = 512


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the Hugging Face folder in it, `network`, which is made where there is none."""
    if not MMLU.exists():
        pytest.skip("needs ../shared/data beside the checkout")
    made, there = tmp_path_factory.mktemp("smollm2"), ROOT / "smollm2" / "network"
    if there.exists():
        (made / "network").symlink_to(there)
    else:
        other_python("scripts/smollm2", made / "network")
    return made


def ours(part: str, folder) -> None:
    other_python("-m", "tests.parity.smollm2_compute", part, folder, MMLU)


def test_logits_of_real_questions(folder):
    import torch
    from transformers import AutoModelForCausalLM

    ours("logits", folder)
    mine = np.load(folder / "logits.npz")
    network = AutoModelForCausalLM.from_pretrained(folder / "network", dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = network(input_ids=torch.from_numpy(mine["ids"]).long()).logits.numpy()
    apart = float(np.abs(mine["logits"] - theirs).max())
    same = float((mine["logits"].argmax(-1) == theirs.argmax(-1)).mean())
    print(
        f"\nSmolLM2: logits of {mine['ids'].shape} ids within {apart:.1e}, first choices equal {same}", end=""
    )
    assert apart < 1e-3 and same == 1.0


def test_rows_of_all_questions(folder):
    """A row ends with the mark of the answer's end; the template's newline after it is left out."""
    from transformers import AutoTokenizer

    ours("rows", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "network")
    rows, records = np.load(folder / "rows.npz"), json.loads((folder / "records.json").read_text())
    mine = np.split(rows["ids"], np.cumsum(rows["lengths"])[:-1])
    for row, (instruction, question, answer) in zip(mine, records, strict=True):
        turns = [
            {"role": "user", "content": f"{instruction}\n{question}"},
            {"role": "assistant", "content": answer},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        assert row.tolist() == tokenizer.backend_tokenizer.encode(text.removesuffix("\n")).ids
    print(f"\nSmolLM2: all {len(mine):,} rows equal, {len(rows['ids']):,} ids", end="")


def test_the_harness_chooses_the_same(folder, tmp_path):
    ours("harness", folder)
    questions, mine = (json.loads((folder / f"{name}.json").read_text()) for name in ("questions", "harness"))
    theirs = zero_shot(tmp_path, folder / "network", questions, max_length=LIMIT)
    apart, differing = 0.0, []
    for item in mine:
        likelihoods = [float(pair[0][0]) for pair in theirs[item["id"]]["resps"]]
        apart = max(apart, *(abs(a - b) for a, b in zip(item["scores"], likelihoods, strict=True)))
        if item["choice"] != "ABCD"[int(np.argmax(likelihoods))]:
            differing.append(item["id"])
    right = sum(item["correct"] for item in mine)
    print(f"\nSmolLM2: {len(mine) - len(differing)} of {len(mine)} choices equal, {right} right, ", end="")
    print(f"log-likelihoods within {apart:.1e}", end="")
    assert not differing and apart < 1e-3
