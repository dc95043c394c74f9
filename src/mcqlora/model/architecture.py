"""The network by numbers: its dimensions, its matrices, its parameters, MindFormers' configuration of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcqlora import files
from mcqlora.errors import UserError

# What a CPU lacks (left), and what the report's recipe uses on Ascend (right). docs/devices.md says why.
DEVICES: dict[str, dict[str, Any]] = {
    "CPU": {
        "model": {
            "compute_dtype": "float32",
            "param_init_type": "float32",
            "use_flash_attention": False,
            "use_rope_slice": True,
            "fused_rms_norm": False,
        },
        "sink_size": 1,
        "sink_mode": False,
    },
    "Ascend": {
        "model": {
            "compute_dtype": "float16",
            "param_init_type": "float16",
            "use_flash_attention": False,  # its mask is one row's; documents are isolated in plain operators
            "use_rope_slice": False,
            "fused_rms_norm": True,
        },
        "sink_size": 2,
        "sink_mode": True,
    },
}


def sink_size(device: str) -> int:
    """Steps between two calls of the callbacks: evaluations and checkpoints fire on its multiples only."""
    return DEVICES[device]["sink_size"]


def model_config(
    network: dict, seq_length: int, batch_size: int, device: str, pad: int, eos: int, lora: dict | None
) -> dict:
    """MindFormers' `model_config` of our registered InternLM.

    `network` has the architecture (`hidden_size`, `num_layers`, `num_heads`, `n_kv_heads`,
    `intermediate_size`, `vocab_size`, `rms_norm_eps`, `theta`, `has_bias`, `init_std`); `lora` has `rank`,
    `alpha`, `dropout`, `target_modules`, or is None for full training.
    """
    config = {
        "type": "InternLMConfig",
        "batch_size": batch_size,
        "seq_length": seq_length,
        "hidden_size": network["hidden_size"],
        "num_layers": network["num_layers"],
        "num_heads": network["num_heads"],
        "n_kv_heads": network["n_kv_heads"],
        "intermediate_size": network["intermediate_size"],
        "vocab_size": network["vocab_size"],
        "rms_norm_eps": network["rms_norm_eps"],
        "theta": network["theta"],
        "has_bias": network["has_bias"],
        "init_method_std": network["init_std"],
        "bos_token_id": 1,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "ignore_token_id": -100,
        "layernorm_compute_type": "float32",
        "softmax_compute_type": "float32",
        "rotary_dtype": "float32",
        "use_past": False,
        "scaling_factor": 1.0,
        "extend_method": "None",
        "offset": 0,
        "checkpoint_name_or_path": "",
        **DEVICES[device]["model"],
    }
    if lora:
        config["pet_config"] = {
            "pet_type": "lora",
            "lora_rank": lora["rank"],
            "lora_alpha": lora["alpha"],
            "lora_dropout": lora["dropout"],
            "target_modules": lora["target_modules"],
        }
    return config


def context(device: str) -> dict[str, Any]:
    """MindFormers' `context`: graph mode on `device`."""
    return {
        "mode": 0,
        "device_target": device,
        "max_call_depth": 10000,
        "save_graphs": False,
        "device_id": 0,
    }


def network_of(base: Path, network: dict, seq_length: int) -> dict:
    """The architecture that `base` was made with.

    Raises:
        UserError: the configuration asks for another one, or for rows longer than it has positions for.
    """
    made = files.read_json(base / "config.json")
    for key, value in network.items():
        if key != "vocab_size" and made[key] != value:
            raise UserError(f"model.{key} is {value}, but {base} has {made[key]}; make them the same")
    if seq_length > made.get("max_positions", seq_length):
        raise UserError(
            f"encode.seq_length is {seq_length}, but {base} has {made['max_positions']} positions; lower it"
        )
    return made


def count(network: Mapping[str, Any], lora: Mapping[str, Any] | None) -> dict[str, float]:
    """{"trainable", "total", "ratio"} of a LLaMA-architecture network, by arithmetic.

    total = 2 V H + layers (H (2 H + 2 K) + biases + 3 H F + 2 H) + H, K the width of keys and values, as the
    report counts it: without the adapter. LoRA on a matrix of n x m has r (n + m) parameters; without LoRA
    all is trainable.
    """
    hidden, kv = network["hidden_size"], kv_width(network)
    biases = (2 * hidden + 2 * kv) if network["has_bias"] else 0
    layer = sum(n * m for n, m in projections(network).values()) + biases + 2 * hidden
    total = trainable = 2 * network["vocab_size"] * hidden + network["num_layers"] * layer + hidden
    if lora:
        trainable = network["num_layers"] * lora["rank"] * sum(n + m for n, m in tuned(network, lora))
    return {"trainable": trainable, "total": total, "ratio": trainable / total}


ATTENTION = ("wq", "wk", "wv", "wo")


def projections(network: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of a layer's matrices, by the names of their MindFormers cells."""
    hidden, kv, inner = network["hidden_size"], kv_width(network), network["intermediate_size"]
    return {
        "wq": (hidden, hidden),
        "wk": (hidden, kv),
        "wv": (hidden, kv),
        "wo": (hidden, hidden),
        "w1": (hidden, inner),
        "w2": (inner, hidden),
        "w3": (hidden, inner),
    }


def tuned(network: Mapping[str, Any], lora: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of the matrices of a layer that LoRA tunes.

    MindFormers matches the names of cells on its way down, and passes over a container that matches, with all
    that is in it.
    """
    matches = re.compile(lora["target_modules"]).match

    def path(name: str) -> tuple[str, ...]:
        return "model", "layers", "0", "attention" if name in ATTENTION else "feed_forward"

    return [
        shape
        for name, shape in projections(network).items()
        if matches(name) and not any(map(matches, path(name)))
    ]


def kv_width(network: Mapping[str, Any]) -> int:
    heads = network["n_kv_heads"] or network["num_heads"]
    return network["hidden_size"] // network["num_heads"] * heads


def shapes(network: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of our network; a matrix is [out, in]."""
    hidden, width, kv = network["hidden_size"], network["intermediate_size"], kv_width(network)
    layer = {
        "attention.wq.weight": (hidden, hidden),
        "attention.wk.weight": (kv, hidden),
        "attention.wv.weight": (kv, hidden),
        "attention.wo.weight": (hidden, hidden),
        "feed_forward.w1.weight": (width, hidden),
        "feed_forward.w2.weight": (hidden, width),
        "feed_forward.w3.weight": (width, hidden),
        "attention_norm.weight": (hidden,),
        "ffn_norm.weight": (hidden,),
    }
    if network["has_bias"]:
        projections = [(name, shape) for name, shape in layer.items() if name.startswith("attention.")]
        layer |= {name.replace("weight", "bias"): shape[:1] for name, shape in projections}
    return {
        "model.tok_embeddings.embedding_weight": (network["vocab_size"], hidden),
        "model.norm_out.weight": (hidden,),
        "lm_head.weight": (network["vocab_size"], hidden),
    } | {
        f"model.layers.{i}.{name}": shape
        for i in range(network["num_layers"])
        for name, shape in layer.items()
    }
