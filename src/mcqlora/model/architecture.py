"""The network by numbers: its dimensions, its matrices, its parameters, MindFormers' configuration of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mcqlora import files
from mcqlora.errors import UserError

Shapes = dict[str, tuple[int, ...]]  # by a tensor's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What differs between devices."""

    model: Mapping[str, str | bool]  # keys of MindFormers' `model_config`
    context: files.Json  # keys of MindFormers' `context`
    sink_mode: bool  # how data reaches the network
    sink_size: int  # steps between two calls of callbacks: evaluations and checkpoints fire on its multiples

    @property
    def bytes_per_weight(self) -> int:
        return 2 if self.model["param_init_type"] == "float16" else 4


# What a CPU lacks, and what the report's recipe uses on Ascend. docs/devices.md says why.
_CPU: dict[str, str | bool] = {
    "compute_dtype": "float32",
    "param_init_type": "float32",
    "use_flash_attention": False,
    "use_rope_slice": True,
    "fused_rms_norm": False,
}
_ASCEND: dict[str, str | bool] = {
    "compute_dtype": "float16",
    "param_init_type": "float16",
    "use_flash_attention": False,  # unless `attention.fused`
    "use_rope_slice": False,
    "fused_rms_norm": True,
}
# As MindFormers' template for training, configs/general/llm_finetune_dense_template.yaml of 1.9.0: kernel
# by kernel, which takes aclnn's, and what an NPU of 64 GB leaves beside its own needs.
_ASCEND_CONTEXT: files.Json = {"jit_config": {"jit_level": "O0"}, "max_device_memory": "58GB"}
DEVICES = {
    "CPU": Device(model=_CPU, context={}, sink_mode=False, sink_size=1),
    "Ascend": Device(model=_ASCEND, context=_ASCEND_CONTEXT, sink_mode=True, sink_size=2),
}


def context(device: str) -> files.Json:
    """MindFormers' `context`: graph mode on `device`."""
    common = {"max_call_depth": 10000, "save_graphs": False, "device_id": 0}
    return {"mode": 0, "device_target": device, **common, **DEVICES[device].context}


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on cells whose names match `target_modules`."""

    rank: int
    alpha: float
    dropout: float
    target_modules: str


@dataclass(frozen=True)
class Parameters:
    """Numbers of a network: all, those that a training changes, and the share of these."""

    trainable: int
    total: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of LLaMA's architecture by its dimensions."""

    vocab_size: int | None  # ids; None until a tokenizer says it
    hidden_size: int
    num_layers: int
    num_heads: int
    n_kv_heads: int | None  # None means as many as `num_heads`
    intermediate_size: int
    rms_norm_eps: float
    theta: float
    has_bias: bool  # InternLM's, on q, k, v and o
    init_std: float  # of random weights
    max_positions: int | None = None  # None where nothing limits them

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.num_heads

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values, of all heads together."""
        return self.hidden_size // self.num_heads * self.kv_heads

    @property
    def vocabulary(self) -> int:
        """Raises: ValueError: no tokenizer has said it yet, which only a defect can cause."""
        if self.vocab_size is None:
            raise ValueError("the network's vocabulary is not known yet")
        return self.vocab_size

    def projections(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices, by the names of their MindFormers cells."""
        hidden, kv, inner = self.hidden_size, self.kv_width, self.intermediate_size
        attention = {"wq": (hidden, hidden), "wk": (hidden, kv), "wv": (hidden, kv), "wo": (hidden, hidden)}
        return attention | {"w1": (hidden, inner), "w2": (inner, hidden), "w3": (hidden, inner)}

    def tuned(self, lora: Lora) -> list[tuple[int, int]]:
        """(inputs, outputs) of the matrices of a layer that LoRA tunes.

        MindFormers matches the names of cells on its way down, and passes over a container that matches, with
        all that is in it.
        """
        matches = re.compile(lora.target_modules).match
        return [
            shape
            for name, shape in self.projections().items()
            if matches(name) and not any(map(matches, ("model", "layers", "0", _container(name))))
        ]

    def parameters(self, lora: Lora | None = None) -> Parameters:
        """Numbers of parameters, by arithmetic.

        total = 2 V H + layers (H (2 H + 2 K) + biases + 3 H F + 2 H) + H, K the width of keys and values, as
        the report counts it: without the adapter. LoRA on a matrix of n x m has r (n + m) parameters; without
        LoRA all is trainable.
        """
        hidden = self.hidden_size
        biases = (2 * hidden + 2 * self.kv_width) if self.has_bias else 0
        layer = sum(n * m for n, m in self.projections().values()) + biases + 2 * hidden
        total = trainable = 2 * self.vocabulary * hidden + self.num_layers * layer + hidden
        if lora:
            trainable = self.num_layers * lora.rank * sum(n + m for n, m in self.tuned(lora))
        return Parameters(trainable, total, trainable / total)

    def shapes(self) -> Shapes:
        """Name and shape of every tensor, by MindSpore's names; a matrix is [out, in]."""
        hidden, ids, matrices = self.hidden_size, self.vocabulary, self.projections()
        layer: Shapes = {f"{_container(name)}.{name}.weight": matrices[name][::-1] for name in matrices}
        layer |= {"attention_norm.weight": (hidden,), "ffn_norm.weight": (hidden,)}
        if self.has_bias:
            layer |= {f"attention.{name}.bias": matrices[name][1:] for name in ATTENTION}
        named = {f"model.layers.{i}.{key}": layer[key] for i in range(self.num_layers) for key in layer}
        outer = {"model.tok_embeddings.embedding_weight": (ids, hidden), "model.norm_out.weight": (hidden,)}
        return outer | {"lm_head.weight": (ids, hidden)} | named

    def model_config(
        self, seq_length: int, batch_size: int, device: str, pad: int, eos: int, lora: Lora | None = None
    ) -> files.Json:
        """MindFormers' `model_config` of our registered InternLM; without `lora` for full training."""
        dimensions = ("hidden_size", "num_layers", "num_heads", "n_kv_heads", "intermediate_size")
        config = {
            "type": "InternLMConfig",
            "batch_size": batch_size,
            "seq_length": seq_length,
            **{key: getattr(self, key) for key in dimensions},
            "vocab_size": self.vocabulary,
            "rms_norm_eps": self.rms_norm_eps,
            "theta": self.theta,
            "has_bias": self.has_bias,
            "init_method_std": self.init_std,
            "bos_token_id": 1,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "ignore_token_id": -100,
            **dict.fromkeys(("layernorm_compute_type", "softmax_compute_type", "rotary_dtype"), "float32"),
            "use_past": False,
            "scaling_factor": 1.0,
            "extend_method": "None",
            "offset": 0,
            "checkpoint_name_or_path": "",
            **DEVICES[device].model,
        }
        if lora:
            config["pet_config"] = {
                "pet_type": "lora",
                "lora_rank": lora.rank,
                "lora_alpha": lora.alpha,
                "lora_dropout": lora.dropout,
                "target_modules": lora.target_modules,
            }
        return config

    def for_tokenizer(self, pieces: int) -> Architecture:
        """The same with an id for each of the tokenizer's pieces.

        Raises:
            UserError: the network has fewer ids than pieces, which would crash, or more: another tokenizer.
        """
        if self.vocab_size not in (None, pieces):
            said = f"the network has {self.vocab_size} ids, the tokenizer {pieces} pieces"
            raise UserError(f"model.vocab_size: {said}; give the base's own tokenizer")
        return replace(self, vocab_size=pieces)

    def of_base(self, base: Path, seq_length: int) -> Architecture:
        """The architecture that the folder `base` was made with, which has to be this one.

        Raises:
            UserError: it is another one, or rows are longer than it has positions for.
        """
        made = read_architecture(base)
        for key, value in asdict(self).items():
            there = getattr(made, key)
            if key not in ("vocab_size", "max_positions") and there != value:
                raise UserError(f"model.{key} is {value}, but {base} has {there}; make them the same")
        if made.max_positions is not None and seq_length > made.max_positions:
            has = f"{base} has {made.max_positions} positions"
            raise UserError(f"encode.seq_length is {seq_length}, but {has}; lower it")
        return made


ATTENTION = ("wq", "wk", "wv", "wo")


def _container(name: str) -> str:
    """The cell of a layer that holds the matrix `name`."""
    return "attention" if name in ATTENTION else "feed_forward"


def read_architecture(base: Path) -> Architecture:
    """What the config.json of a base folder says."""
    return Architecture(**files.read_json(base / "config.json"))


def write_architecture(base: Path, architecture: Architecture) -> None:
    """Write the config.json of a base folder; positions stand there only where they are limited."""
    known = asdict(architecture)
    if architecture.max_positions is None:
        del known["max_positions"]
    files.write_json(base / "config.json", known, indent=True)
