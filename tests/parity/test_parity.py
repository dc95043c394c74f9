"""MindSpore's numbers against those that transformers and peft compute from our exports, in float32."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.conftest import NEW_TOKENS, PIECES, PROMPTS, ROOT, TEXTS, other_python

pytestmark = pytest.mark.parity
LIMIT = 1e-3  # on the largest difference between two logits


def network(folder: Path):
    import torch
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def tuned(run):
    from peft import PeftModel

    return PeftModel.from_pretrained(network(run.base), run.export / "peft" / run.checkpoint).eval()


def test_an_adapter_s_card_loads_it_from_another_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, names = run.export / "peft" / run.checkpoint, {}
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("THE FOLDER OF THE BASE", str(run.base)).replace("THIS FOLDER", str(folder))
    exec(code, names)
    assert names["tuned"].peft_config["default"].base_model_name_or_path
    assert any("lora_A" in name for name, _ in names["tuned"].named_parameters())


def logits(model, run) -> np.ndarray:
    import torch

    ids = torch.tensor(run.ours["ids"], dtype=torch.long)
    mask = torch.arange(ids.shape[1]) < torch.tensor(run.ours["lengths"])[:, None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask.long()).logits.numpy()


def difference(run, ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference over all places that hold a token."""
    real = np.arange(ours.shape[1]) < run.ours["lengths"][:, None]
    assert ours.shape == theirs.shape and real.sum() > 1000
    return float(np.abs(ours - theirs)[real].max())


def test_base_logits(run):
    apart = difference(run, run.ours["base"], logits(network(run.base), run))
    report(run, "base, MindSpore and transformers", apart)
    assert apart < LIMIT


def test_adapter_logits(run):
    apart = difference(run, run.ours["tuned"], logits(tuned(run), run))
    report(run, "tuned, MindSpore and peft", apart)
    assert apart < LIMIT


def test_merged_logits(run):
    apart = difference(run, run.ours["merged"], logits(network(run.export / "merged"), run))
    report(run, "merged, MindSpore and transformers", apart)
    assert apart < LIMIT


def test_merged_and_adapter_are_one(run):
    ours = difference(run, run.ours["merged"], run.ours["tuned"])
    theirs = difference(run, logits(network(run.export / "merged"), run), logits(tuned(run), run))
    report(run, "merged and adapter, both sides", max(ours, theirs))
    assert max(ours, theirs) < LIMIT


def test_tuning_did_something(run):
    assert difference(run, run.ours["base"], run.ours["tuned"]) > 20 * LIMIT


def test_every_checkpoint_is_another_adapter(run):
    from safetensors.numpy import load_file

    folders = sorted((run.export / "peft").iterdir())
    assert [folder.name for folder in folders] == [f"checkpoint_{k}" for k in range(1, 6)]
    found = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    for one, other in itertools.pairwise(found):
        assert one.keys() == other.keys() and any((one[name] != other[name]).any() for name in one)


@pytest.mark.parametrize("side", ["base", "merged"])
def test_greedy_outputs_are_equal(run, side):
    """One prompt at a time, so that no padding of transformers' plays a part."""
    import torch

    model = network(run.base if side == "base" else run.export / "merged")
    prompts, written = run.ours["prompts"], run.ours[f"{side}_written"]
    assert len(prompts) == PROMPTS
    stop, same = [int(token) for token in run.ours["stop"]], 0
    for ids, expected in zip(prompts, written, strict=True):
        ids = torch.tensor(ids[ids >= 0], dtype=torch.long)[None]
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=stop[0],
            )[0, ids.shape[1] :].tolist()
        same += [token for token in made if token not in stop] == expected[expected >= 0].tolist()
    print(f"\n{run.name}: greedy outputs of {side}: {same} of {PROMPTS} equal", end="")
    assert same == PROMPTS


def test_merged_stops_where_we_do(own):
    from transformers import GenerationConfig

    assert GenerationConfig.from_pretrained(own.export / "merged").eos_token_id == own.ours["stop"].tolist()


def test_tokenizer_gives_our_ids(run):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.export / "merged")
    for i, text in enumerate(TEXTS):
        ids = tokenizer(text)["input_ids"]
        assert ids == run.ours[f"text_{i}"].tolist(), text
        assert tokenizer.decode(ids, skip_special_tokens=False) == f"<s>{text}", text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert len(tokenizer) == PIECES


WRITE_TOKENIZER = """
import json, sys
from pathlib import Path
from mcqlora import files
from mcqlora.interop import export
from mcqlora.tokens import prompt, segments, tokenizer
model, folder, texts = sys.argv[1:]
processor = tokenizer.load(model)
template = prompt.template(processor)
export.write_tokenizer(Path(model), processor, template, Path(folder), 2048)
encoder = segments.SegmentEncoder(processor)
files.write_json(Path(folder) / "ids.json", [[*template.start, *encoder(text)] for text in json.loads(texts)])
"""


def test_internlm_s_own_tokenizer(tmp_path):
    from transformers import AutoTokenizer

    model = ROOT.parent / "shared" / "data" / "tokenizer" / "internlm_7b_tokenizer.model"
    if not model.is_file():
        pytest.skip(f"no {model.name} beside the checkout")
    other_python("-c", WRITE_TOKENIZER, model, tmp_path, json.dumps(TEXTS))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text, ids in zip(TEXTS, json.loads((tmp_path / "ids.json").read_text()), strict=True):
        assert tokenizer(text)["input_ids"] == ids, text


def report(run, what: str, apart: float) -> None:
    print(f"\n{run.name}: {what}: largest difference of logits {apart:.1e}", end="")
