"""The MindFormers YAMLs of the report's two evaluations, to be handed to MindFormers by itself.

They need nothing of ours: the network is MindFormers' own LLaMA with biases, which is InternLM, under LoRA as
it was trained. `load_checkpoint` names a folder that holds the base's and one adapter's safetensors. (The
workflow's own evaluation is `mcqlora.evaluate`.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mcqlora import files
from mcqlora.model import architecture
from mcqlora.tokens import prompt, tokenizer

BLOCK = 16  # tokens of a block of the key-value cache

SQUAD_BATCH = 8  # the report's

# What differs in text generation: on a CPU there is no paged attention, and logits are processed in numpy.
DEVICES: dict[str, dict[str, dict[str, Any]]] = {
    "CPU": {"model": {"use_past": False}, "context": {"postprocess_use_numpy": True}},
    "Ascend": {
        "model": {"use_past": True, "is_dynamic": True, "use_flash_attention": True, "block_size": BLOCK},
        "context": {},
    },
}


def render(
    *,
    kind: Literal["squad", "mcq"],
    network: Mapping[str, Any],
    lora: Mapping[str, Any],
    device: str,
    seq_length: int,
    batch_size: int,
    max_new_tokens: int,
    pad: int,
    stop: Sequence[int],
    marks: Mapping[str, str],
    load_checkpoint: str,
    vocab_file: str,
) -> dict[str, Any]:
    """The YAML, as a dict, of a greedy generation with a tuned network.

    squad: MindFormers' EmF1Metric over a MindRecord file (`run_mode: eval`), or prompts (`run_mode:
    predict`); it takes batches only where the whole length is limited and not the answer's. mcq: prompts
    answered with at most `max_new_tokens`. `network` and `lora` as in `training.model_config`; `seq_length`
    is the training's, which is lengthened by the answer to whole blocks. The first of the `stop` ids is </s>;
    `marks` are the tokenizer's `unk_token`, `bos_token`, `eos_token` and `pad_token`.
    """
    length = math.ceil((seq_length + max_new_tokens) / BLOCK) * BLOCK
    config = architecture.model_config(dict(network), length, batch_size, device, pad, stop[0], dict(lora))
    bias = config.pop("has_bias")
    config |= {
        "type": "LlamaConfig",
        "qkv_has_bias": bias,
        "attn_proj_has_bias": bias,
        "eos_token_id": list(stop),
        "do_sample": False,
        "top_k": 1,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_decode_length": length,
        **DEVICES[device]["model"],
    }
    if config["use_past"]:
        config["num_blocks"] = batch_size * length // BLOCK
    if kind == "mcq":
        config["max_new_tokens"] = max_new_tokens
    dataset = {
        "data_loader": {"type": "MindDataset", "dataset_dir": "", "shuffle": False},
        "input_columns": ["input_ids", "labels"],
        "num_parallel_workers": 1,
        "python_multiprocessing": False,
        "drop_remainder": False,
        "repeat": 1,
        "numa_enable": False,
        "prefetch_size": 1,
    }
    evaluation = {
        "eval_dataset": dataset,
        "eval_dataset_task": {"type": "CausalLanguageModelDataset", "dataset_config": dataset},
        "metric": {"type": "EmF1Metric"},
    }
    return {
        "seed": 0,
        "output_dir": "./output",
        "load_checkpoint": load_checkpoint,
        "load_ckpt_format": "safetensors",
        "src_strategy_path_or_dir": "",
        "auto_trans_ckpt": False,
        "only_save_strategy": False,
        "resume_training": False,
        "use_parallel": False,
        "run_mode": "eval" if kind == "squad" else "predict",
        "trainer": {"type": "CausalLanguageModelingTrainer", "model_name": kind},
        "runner_config": {"epochs": 1, "batch_size": batch_size, "sink_mode": False, "sink_size": 1},
        **(evaluation if kind == "squad" else {}),
        "context": architecture.context(device) | DEVICES[device]["context"],
        "parallel": {"parallel_mode": 0, "gradients_mean": False, "full_batch": False},
        "parallel_config": {"data_parallel": 1, "model_parallel": 1, "pipeline_stage": 1},
        "recompute_config": {"recompute": False},
        "model": {"model_config": config, "arch": {"type": "LlamaForCausalLM"}},
        "processor": {
            "return_tensors": "ms",
            "tokenizer": {
                "type": "LlamaTokenizer",
                "vocab_file": vocab_file,
                **marks,
            },
            "type": "LlamaProcessor",
        },
    }


def write(
    *,
    tokenizer_path: str,
    squad: Path,
    mcq: Path,
    network: Mapping[str, Any],
    lora: Mapping[str, Any],
    device: str,
    seq_length: int,
    reference_template: bool,
    squad_max_new_tokens: int,
    mcq_max_new_tokens: int,
    load_checkpoint: str,
) -> None:
    """Write both YAMLs; the paths in them are relative to the folder in which the workflow runs."""
    import yaml

    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    special = {"unk": processor.unk_id(), "bos": template.bos, "eos": template.eos, "pad": template.pad}
    marks = {f"{name}_token": processor.id_to_piece(index) for name, index in special.items()}
    ids = tokenizer.network_vocabulary(processor.vocab_size(), network["vocab_size"])
    for kind, path, batch_size, answer in (
        ("squad", squad, SQUAD_BATCH, squad_max_new_tokens),
        ("mcq", mcq, 1, mcq_max_new_tokens),
    ):
        made = render(
            kind=kind,
            network=dict(network) | {"vocab_size": ids},
            lora=lora,
            device=device,
            seq_length=seq_length,
            batch_size=batch_size,
            max_new_tokens=answer,
            pad=template.pad,
            stop=(template.eos, template.eoa),
            marks=marks,
            load_checkpoint=load_checkpoint,
            vocab_file=tokenizer_path,
        )
        files.write_text(path, yaml.safe_dump(made, sort_keys=False))
