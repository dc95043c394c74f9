"""The MindFormers YAMLs of the report's two evaluations, for use with MindFormers alone.

They need nothing of ours: the network is MindFormers' own LLaMA with biases, which is InternLM, under LoRA as
it was trained. `load_checkpoint` names a folder that holds the base's and one adapter's safetensors. (The
workflow's own evaluation is `mcqlora.evaluate`.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from mcqlora import files
from mcqlora.model.architecture import Architecture, Lora, context
from mcqlora.tokens import prompt, tokenizer

Kind = Literal["squad", "mcq"]

BLOCK = 16  # tokens of a block of the key-value cache
BATCHES: dict[Kind, int] = {"squad": 8, "mcq": 1}  # the report's

# What differs in text generation: on a CPU there is no paged attention, and logits are processed in numpy.
PAGED = {"use_past": True, "is_dynamic": True, "use_flash_attention": True, "block_size": BLOCK}
DEVICES: dict[str, dict[str, files.Json]] = {
    "CPU": {"model": {"use_past": False}, "context": {"postprocess_use_numpy": True}},
    "Ascend": {"model": PAGED, "context": {}},
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer for MindFormers' YAML: its file, and the pieces and ids that no text is encoded to."""

    file: str
    marks: Mapping[str, str]  # `unk_token`, `bos_token`, `eos_token` and `pad_token`
    pad: int
    stop: tuple[int, ...]  # the first is </s>
    begins: bool = True  # whether bos stands before a text


def render(
    *,
    kind: Kind,
    network: Architecture,
    lora: Lora,
    device: str,
    seq_length: int,
    max_new_tokens: int,
    vocabulary: Vocabulary,
    load_checkpoint: str,
) -> files.Json:
    """The YAML, as a dict, of a greedy generation with a tuned network.

    squad: MindFormers' EmF1Metric over a MindRecord file (`run_mode: eval`), or prompts (`run_mode:
    predict`); it takes batches only where the whole length is limited and not the answer's. mcq: prompts
    answered with at most `max_new_tokens`. `seq_length` is the training's, which is lengthened by the answer
    to whole blocks.
    """
    batch_size, stop = BATCHES[kind], vocabulary.stop
    length = math.ceil((seq_length + max_new_tokens) / BLOCK) * BLOCK
    config = network.model_config(length, batch_size, device, vocabulary.pad, stop[0], lora)
    bias = config.pop("has_bias")
    scaling = config.pop("rope_scaling", None)
    config |= {
        "type": "LlamaConfig",
        "qkv_has_bias": bias,
        "attn_proj_has_bias": config.get("attn_proj_has_bias", bias),
        "eos_token_id": list(stop),
        "do_sample": False,
        "top_k": 1,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "max_decode_length": length,
        **DEVICES[device]["model"],
    }
    if scaling:
        numbers = {key: value for key, value in scaling.items() if key != "rope_type"}
        config |= {"extend_method": scaling["rope_type"].upper(), "scaling_factor": numbers}
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
    told: files.Json = {"type": "LlamaTokenizer", "vocab_file": vocabulary.file, **vocabulary.marks}
    if vocabulary.file.endswith(".json"):
        told = {"type": "LlamaTokenizerFast", "tokenizer_file": vocabulary.file, **vocabulary.marks}
        told |= {"add_bos_token": vocabulary.begins}
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
        "context": context(device) | DEVICES[device]["context"],
        "parallel": {"parallel_mode": 0, "gradients_mean": False, "full_batch": False},
        "parallel_config": {"data_parallel": 1, "model_parallel": 1, "pipeline_stage": 1},
        "recompute_config": {"recompute": False},
        "model": {"model_config": config, "arch": {"type": "LlamaForCausalLM"}},
        "processor": {"return_tensors": "ms", "tokenizer": told, "type": "LlamaProcessor"},
    }


class Answers(NamedTuple):
    """Where the YAML of an evaluation goes, and how many tokens an answer has at most."""

    yaml: Path
    max_new_tokens: int


def write(
    *,
    tokenizer_path: str,
    evaluations: Mapping[Kind, Answers],
    network: Architecture,
    lora: Lora,
    device: str,
    seq_length: int,
    template: str | None,
    load_checkpoint: str,
) -> None:
    """Write the YAMLs; the paths in them are relative to the folder in which the workflow runs.

    Raises:
        UserError: the tokenizer is not the network's.
    """
    import yaml

    processor = tokenizer.load(tokenizer_path)
    turns = prompt.template(processor, template)
    special = {"unk": processor.unk, "bos": processor.bos, "eos": turns.eos, "pad": turns.pad}
    marks = {f"{name}_token": processor.id_to_piece(i) for name, i in special.items() if i is not None}
    vocabulary = Vocabulary(tokenizer_path, marks, turns.pad, turns.stop, bool(turns.start))
    if network.qk_norm or network.head_dim:
        lacks = "a norm of queries and keys" if network.qk_norm else "a width of heads of their own"
        for answers in evaluations.values():
            files.write_text(
                answers.yaml, f"# MindFormers' LLaMA lacks {lacks}: it cannot ask this network\n"
            )
        print(f"no YAMLs for MindFormers alone: its LLaMA lacks {lacks}")
        return
    for kind, answers in evaluations.items():
        made = render(
            kind=kind,
            network=network.for_tokenizer(processor.vocab_size()),
            lora=lora,
            device=device,
            seq_length=seq_length,
            max_new_tokens=answers.max_new_tokens,
            vocabulary=vocabulary,
            load_checkpoint=load_checkpoint,
        )
        files.write_text(answers.yaml, yaml.safe_dump(made, sort_keys=False))
