"""Adapters in the format of PEFT."""

from __future__ import annotations

from pathlib import Path

from mcqlora import files
from mcqlora.interop.names import name_of
from mcqlora.model import weights
from mcqlora.model.architecture import Lora

CARD = """\
---
base_model: {name}
library_name: peft
---

A LoRA adapter of rank {rank} for {name}.

`AutoPeftModelForCausalLM` looks for the base at `{base}`, relative to the working directory.
From anywhere else name both folders:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("THE FOLDER OF THE BASE")
tuned = PeftModel.from_pretrained(base, "THIS FOLDER")
```
"""
KINDS = dict(zip(weights.LORA, ("lora_A.weight", "lora_B.weight"), strict=True))


def export_adapter(adapter: Path, output: Path, lora: Lora, base: str, name: str | None = None) -> None:
    """Write the PEFT folder `output` of an adapter's file, with a README.md that says how to load it.

    `base` is where PEFT looks for the network, `name` what else it is known by, such as its address.

    Both sides hold A as [rank, in] and B as [out, rank] and scale by alpha / rank, so only names differ.
    """
    tensors = {peft_name(name): value for name, value in weights.read(adapter).items()}
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
    files.write_json(output / "adapter_config.json", config, indent=True)
    files.write_text(output / "README.md", CARD.format(name=name or base, base=base, rank=lora.rank))


def peft_name(ours: str) -> str:
    stem, _, kind = ours.rpartition(".")
    return f"base_model.model.{name_of(f'{stem}.weight').removesuffix('weight')}{KINDS[kind]}"
