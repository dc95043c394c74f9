"""Runs of the workflow in MindSpore's venv, to be compared with transformers and peft in this one.

Three networks are tuned: the embedded default's own small base, and two random Hugging Face ones that go in
through `base.path`. `make parity` starts this; MCQLORA_PYTHON is the other venv's interpreter.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.helpers.runs import ROOT, TINY

SEQ_LENGTH, PROMPTS, NEW_TOKENS = 128, 50, 24
PIECES = 1400  # of the embedded default's tokenizer
LORA = {"rank": 4, "alpha": 32, "dropout": 0.05, "target_modules": ".*wq|.*wk|.*wv|.*wo"}
SHAPE = {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "intermediate_size": 96}
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
GIVEN = {
    "gqa": SHAPE | {"n_kv_heads": 2, "has_bias": False, "theta": 50000.0, "rms_norm_eps": 1e-5},
    "biased": SHAPE | {"n_kv_heads": None, "has_bias": True, "theta": 10000.0, "rms_norm_eps": 1e-6},
}
TEXTS = [
    "hello world",
    "  two  spaces \n\n A.x\nB.y",
    " a space first",
    "The right option is D.小于、等于下渗能力",
    "中文，测试！\n",
    "<|User|>:Here is a question<eoh>\n<|Bot|>:",
    "tab\tx 1234567 é 😀 \u3000",
    " ",
    "\n",
    "",
]


class Run(NamedTuple):
    """A tuned network: what both sides made of it."""

    name: str
    export: Path  # Hugging Face formats
    base: Path  # the Hugging Face folder of the untuned network
    checkpoint: str  # the merged one
    ours: dict[str, np.ndarray]  # see compute.py


def other_python(*arguments: object) -> None:
    """Run MindSpore's interpreter; a failure shows the end of what it said."""
    python = os.environ.get("MCQLORA_PYTHON")
    assert python, "MCQLORA_PYTHON is not set; run make parity"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(
        [python, *map(str, arguments)], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def tune(folder: Path, run: str, config: dict) -> Path:
    """Run the workflow up to its exports in `folder`; returns results/<run>."""
    overlay = folder / f"{run}.yaml"
    overlay.write_text(json.dumps({"run": run} | config))
    arguments = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--cores", 2]
    other_python("-m", "snakemake", *arguments, "--configfile", TINY, overlay, "--", "export")
    return folder / "results" / run


def compare(folder: Path, name: str, results: Path, base: Path) -> Run:
    checkpoint = json.loads((results / "export" / "merged" / "merged_from.json").read_text())["checkpoint"]
    job = {
        "tokenizer": str(results / "tokenizer.model"),
        "test": str(results / "splits" / "test.json"),
        "base": str(results / "base"),
        "adapter": str(results / "adapters" / f"{checkpoint}.safetensors"),
        "lora": LORA,
        "seq_length": SEQ_LENGTH,
        "prompts": PROMPTS,
        "new_tokens": NEW_TOKENS,
        "texts": TEXTS,
        "output": str(folder / f"{name}.npz"),
    }
    (folder / f"{name}.json").write_text(json.dumps(job))
    other_python(Path(__file__).with_name("compute.py"), folder / f"{name}.json")
    return Run(name, results / "export", base, checkpoint, dict(np.load(job["output"])))


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("parity")


@pytest.fixture(scope="session")
def own(folder) -> Run:
    """The embedded default's network, bootstrapped and tuned."""
    results = tune(folder, "own", {"train": {"workers": 1}})
    return compare(folder, "own", results, results / "export" / "base")


@pytest.fixture(scope="session", params=["own", *GIVEN])
def run(request, folder, own) -> Run:
    """Each of the three networks."""
    name = request.param
    if name == "own":
        return own
    given = folder / f"given-{name}"
    make_network(given, name)
    shutil.copyfile(own.export / "merged" / "tokenizer.model", given / "tokenizer.model")
    train = {"workers": 1, "learning_rate": 0.01}
    results = tune(folder, name, {"base": {"path": str(given)}, "model": GIVEN[name], "train": train})
    return compare(folder, name, results, given)


def make_network(folder: Path, name: str) -> None:
    """A random LLaMA: gqa with tied embeddings in shards of safetensors; biased in two .bin of bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    network = GIVEN[name]
    config = LlamaConfig(
        vocab_size=PIECES,
        hidden_size=network["hidden_size"],
        num_hidden_layers=network["num_layers"],
        num_attention_heads=network["num_heads"],
        num_key_value_heads=network["n_kv_heads"],
        intermediate_size=network["intermediate_size"],
        rms_norm_eps=network["rms_norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": network["theta"]},
        attention_bias=network["has_bias"],
        tie_word_embeddings=name == "gqa",
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config)
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    if name == "gqa":
        model.save_pretrained(folder, max_shard_size="100KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
        return
    model = model.to(torch.bfloat16)
    model.config.save_pretrained(folder)
    names = sorted(model.state_dict())
    shards = {f"pytorch_model-{i + 1:05}-of-00002.bin": names[i::2] for i in (0, 1)}
    for file, part in shards.items():
        torch.save({key: model.state_dict()[key] for key in part}, folder / file)
    where = {key: file for file, part in shards.items() for key in part}
    index = {"metadata": {"total_size": 2 * model.num_parameters()}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
