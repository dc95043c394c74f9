"""Adapters in the format of PEFT."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from mcqlora import files
from mcqlora.interop.names import FUSED, WQKV, Grouped, name_of
from mcqlora.model import weights
from mcqlora.model.architecture import Architecture, Lora, read_architecture

CARD = """\
---
base_model: {name}
library_name: peft
---

A LoRA adapter of rank {rank} for {name}.

`AutoPeftModelForCausalLM` looks for the base at `{base}`: a name on the Hub, or a folder relative to the
working directory. From anywhere else name both folders:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("THE FOLDER OF THE BASE")
tuned = PeftModel.from_pretrained(base, "THIS FOLDER")
```
"""
KINDS = dict(zip(weights.LORA, ("lora_A.weight", "lora_B.weight"), strict=True))


def export_adapter(
    *, adapter: Path, output: Path, lora: Lora, network: Path, base: str, name: str | None = None
) -> None:
    """Write the PEFT folder `output` of an adapter's file, with a README.md that says how to load it.

    `network` is the folder of the base that was tuned; `base` is where PEFT looks for it, `name` what else it
    is known by, such as its address.

    Both sides hold A as [rank, in] and B as [out, rank] and scale by alpha / rank, so only names differ; but
    for a fused matrix, see `fused`.
    """
    architecture, tensors = read_architecture(network), weights.read(adapter)
    if architecture.family == "internlm2":
        tensors = fused(tensors, architecture)
    tensors = {peft_name(name, architecture.family): value for name, value in tensors.items()}
    modules = sorted({name.split(".")[-3] for name in tensors})
    weights.save(tensors, output / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    if WQKV in modules:  # three adapters side by side, each scaled as before
        ranks = {len(tensors[name]) for name in tensors if f".{WQKV}.{KINDS[weights.LORA[0]]}" in name}
        times = max(ranks) // lora.rank
        config |= {"rank_pattern": {WQKV: times * lora.rank}, "alpha_pattern": {WQKV: times * lora.alpha}}
    files.write_json(output / "adapter_config.json", config, indent=True)
    files.write_text(output / "README.md", CARD.format(name=name or base, base=base, rank=lora.rank))


def peft_name(ours: str, family: str = "llama") -> str:
    stem, _, kind = ours.rpartition(".")
    return f"base_model.model.{name_of(f'{stem}.weight', family).removesuffix('weight')}{KINDS[kind]}"


def fused(tensors: weights.Arrays, network: Architecture) -> dict[str, np.ndarray]:
    """The same with the adapters of q, k and v as one of the matrix that holds all three.

    Their A stand below each other, and of B each has columns of its own, in the rows of its heads: the
    product is the three updates, exactly, and the rank is that of all together.
    """
    layers: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    made = {}
    for name, value in tensors.items():
        prefix, module, kind = name.rsplit(".", 2)
        if module in FUSED:
            layers[f"{prefix}.{WQKV}"][f"{module}.{kind}"] = value
        else:
            made[name] = value
    first, second = weights.LORA
    widths = {"wq": network.q_width, "wk": network.kv_width, "wv": network.kv_width}
    for stem, parts in layers.items():
        tuned = [module for module in FUSED if f"{module}.{first}" in parts]
        rank = len(parts[f"{tuned[0]}.{first}"])
        blocks = {
            module: np.zeros((width, rank * len(tuned)), parts[f"{tuned[0]}.{second}"].dtype)
            for module, width in widths.items()
        }
        for place, module in enumerate(tuned):
            blocks[module][:, place * rank : (place + 1) * rank] = parts[f"{module}.{second}"]
        made[f"{stem}.{first}"] = np.concatenate([parts[f"{module}.{first}"] for module in tuned])
        made[f"{stem}.{second}"] = Grouped.of(network).join(blocks)
    return made
