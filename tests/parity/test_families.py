"""Every family of networks, random and tiny, as transformers makes it: in, tuned, and out again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.conftest import other_python

pytestmark = pytest.mark.parity
LIMIT = 1e-3  # on the largest difference between two logits
ROWS, LENGTH, PROMPTS, NEW_TOKENS = 10, 64, 50, 12
SHAPE = {
    "vocab_size": 420,  # more than the tokenizer's pieces
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
NETWORKS = {
    "llama3": ("Llama", SHAPE | {"rope_parameters": LLAMA3}),
    "linear": ("Llama", SHAPE | {"rope_parameters": LINEAR}),
    "qwen2": ("Qwen2", SHAPE | {"tie_word_embeddings": True}),
    "yarn": ("Qwen2", SHAPE | {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", SHAPE | {"head_dim": 20, "tie_word_embeddings": True}),
    "mistral": ("Mistral", SHAPE | {"head_dim": 16, "sliding_window": 64}),
    "internlm": ("Llama", SHAPE | {"attention_bias": True, "num_key_value_heads": 4}),
    "internlm2": ("Llama", SHAPE),  # rewritten into its own layout
}


def network(folder: Path):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def make(folder: Path, name: str) -> None:
    """The folder of a random network; NAME-reference is the same one where transformers lacks it."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind, config = NETWORKS[name]
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**config))
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
        if "norm" in key:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    model.save_pretrained(folder)
    if name.startswith("internlm"):
        model.save_pretrained(folder.with_name(f"{name}-reference"))
        said = json.loads((folder / "config.json").read_text())
        rotary = {"base": 10000, "type": "dynamic"}
        said |= {"model_type": name, "bias": name == "internlm", "rotary": rotary}
        if name == "internlm2":
            to_internlm2(folder)
            del said["rotary"]
        (folder / "config.json").write_text(json.dumps(said))


RENAMED = {
    "model.embed_tokens": "model.tok_embeddings",
    "lm_head": "output",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}


def to_internlm2(folder: Path) -> None:
    """q, k and v in one matrix, as InternLM2's own convert2llama.py takes them apart."""
    from safetensors.numpy import load_file, save_file

    theirs, made = load_file(folder / "model.safetensors"), {}
    for key, value in theirs.items():
        if "q_proj" in key:
            parts = [theirs[key.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            grouped = [part.reshape(2, -1, 12, 48) for part in parts]
            key = key.replace("self_attn.q_proj", "attention.wqkv")
            value = np.concatenate(grouped, 1).reshape(-1, 48)
        elif "k_proj" in key or "v_proj" in key:
            continue
        for one, other in RENAMED.items():
            key = key.replace(one, other)
        made[key] = np.ascontiguousarray(value)
    save_file(made, folder / "model.safetensors", {"format": "pt"})


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    """The folder of all networks, and {family: what we computed}."""
    folder, random = tmp_path_factory.mktemp("families"), np.random.default_rng(0)
    for name in NETWORKS:
        make(folder / name, name)
    ids = random.integers(3, 420, (ROWS, LENGTH)).tolist()
    prompts = [random.integers(3, 420, 8 + i % 9).tolist() for i in range(PROMPTS)]
    (folder / "job.json").write_text(json.dumps({"ids": ids, "prompts": prompts, "new_tokens": NEW_TOKENS}))
    other_python("-m", "tests.parity.families_compute", folder, *NETWORKS)
    return folder, ids, prompts, {name: np.load(folder / f"{name}.npz") for name in NETWORKS}


def logits(model, ids) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)).logits.numpy()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "internlm2"])
def test_base_tuned_and_merged(computed, name):
    from peft import PeftModel

    folder, ids, prompts, ours = computed
    given = folder / (f"{name}-reference" if name == "internlm" else name)
    out = folder / f"{name}-out"
    tuned = PeftModel.from_pretrained(network(given), out / "peft").eval()
    merged = network(out / "merged")
    found = {"base": logits(network(given), ids), "tuned": logits(tuned, ids), "merged": logits(merged, ids)}
    apart = {side: float(np.abs(ours[name][side] - theirs).max()) for side, theirs in found.items()}
    same = greedy(merged, prompts, ours[name]["written"])
    print(
        f"\n{name}: " + ", ".join(f"{side} {d:.1e}" for side, d in apart.items()) + f", greedy {same}", end=""
    )
    assert max(apart.values()) < LIMIT and same == PROMPTS
    assert np.abs(ours[name]["tuned"] - ours[name]["base"]).max() > 20 * LIMIT
    said, original = (json.loads((place / "config.json").read_text()) for place in (out / "merged", given))
    assert said["model_type"] == original["model_type"]


def greedy(model, prompts, written) -> int:
    import torch

    same = 0
    for ids, expected in zip(prompts, written, strict=True):
        row = torch.tensor([ids])
        with torch.no_grad():
            made = model.generate(
                row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )[0, len(ids) :].tolist()
        same += made == expected.tolist()
    return same


def test_internlm2_in_its_own_layout(computed):
    """Its code is not in transformers; in a LLaMA's layout its numbers are the reference, tuned ones too."""
    from safetensors.numpy import load_file

    folder, ids, prompts, ours = computed
    model = network(folder / "internlm2-reference")
    apart = {"base": float(np.abs(ours["internlm2"]["base"] - logits(model, ids)).max())}
    out, given = folder / "internlm2-out", load_file(folder / "internlm2" / "model.safetensors")
    merged, lora = (
        load_file(out / file) for file in ("merged/model.safetensors", "peft/adapter_model.safetensors")
    )
    said = json.loads((out / "peft" / "adapter_config.json").read_text())
    assert set(merged) == set(given) and said["rank_pattern"] == {"wqkv": 12}
    for key, value in given.items():
        stem = f"base_model.model.{key.removesuffix('weight')}"
        if f"{stem}lora_A.weight" in lora:  # as PEFT folds it in: alpha / r is 2 for all of them
            value = value + 2 * lora[f"{stem}lora_B.weight"] @ lora[f"{stem}lora_A.weight"]
        np.testing.assert_allclose(merged[key], value, rtol=0, atol=1e-5, err_msg=key)
    with_merged(model, merged)
    apart["merged"] = float(np.abs(ours["internlm2"]["merged"] - logits(model, ids)).max())
    apart["tuned"] = float(np.abs(ours["internlm2"]["tuned"] - logits(model, ids)).max())
    same = greedy(model, prompts, ours["internlm2"]["written"])
    print(f"\ninternlm2: {apart}, greedy {same}", end="")
    assert max(apart.values()) < LIMIT and same == PROMPTS


def with_merged(model, merged) -> None:
    """Put tensors in InternLM2's layout into a LLaMA."""
    import torch

    state = {}
    for key, value in merged.items():
        for one, other in RENAMED.items():
            key = key.replace(other, one)
        if "attention.wqkv" in key:
            grouped = value.reshape(2, 4, 12, 48)
            for part, rows in (("q", grouped[:, :2]), ("k", grouped[:, 2:3]), ("v", grouped[:, 3:])):
                name = key.replace("attention.wqkv", f"self_attn.{part}_proj")
                state[name] = torch.from_numpy(rows.reshape(-1, 48).copy())
        else:
            state[key] = torch.from_numpy(value)
    model.load_state_dict(state)
