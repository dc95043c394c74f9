"""The network by numbers: its dimensions, its matrices, its parameters, MindFormers' configuration of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

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

    @property
    def memory(self) -> float | None:
        """Bytes that MindSpore takes of a device's own memory, at most; None on a CPU, which has none."""
        said = self.context.get("max_device_memory")
        return None if said is None else float(said.removesuffix("GB")) * 1e9

    def too_large(self, needed: float) -> str | None:
        """Says how much is there where so many bytes do not fit into a device's own memory; else None."""
        if self.memory is None or needed <= self.memory:
            return None
        return f"{needed / 1e9:.1f} GB, of the {self.memory / 1e9:.0f} that MindSpore may take"

    def cannot_train(self, network: Architecture) -> str | None:
        """Says so where a training of all weights has no room for them, gradients and float32 moments."""
        too_large = self.too_large((2 * self.bytes_per_weight + 8) * network.parameters().total)
        what = "no base.path is given, and a training of all weights takes, without activations,"
        return too_large and f"{what} {too_large}; give base.path"

    def cannot_ask(self, network: Architecture) -> str | None:
        """Says so where an evaluation, which puts the whole network on each device, has no room for it."""
        too_large = self.too_large(self.bytes_per_weight * network.parameters().total)
        remedy = "run `snakemake export`, and ask export/merged with `snakemake judge` on a larger device"
        return too_large and f"an evaluation has all weights on each device, {too_large}; {remedy}"


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
    """A decoder by its dimensions. What has a default is what families add to LLaMA."""

    vocab_size: int | None  # ids; None until a tokenizer says it
    hidden_size: int
    num_layers: int
    num_heads: int
    n_kv_heads: int | None  # None means as many as `num_heads`
    intermediate_size: int
    rms_norm_eps: float
    theta: float
    has_bias: bool  # on q, k, v and, but for `bare_output`, o
    init_std: float  # of random weights
    max_positions: int | None = None  # None where nothing limits them
    bare_output: bool = False  # o has no bias where q, k and v have one: Qwen2
    head_dim: int | None = None  # None means `hidden_size` shared among the heads
    qk_norm: bool = False  # of each head's queries and keys: Qwen3
    tied: bool = False  # the head is the embeddings
    rope_scaling: Mapping[str, Any] | None = None  # see `rotary.KINDS`
    window: int | None = None  # earlier ids that a token sees; None means all
    family: str = "llama"  # whose names its tensors have in Hugging Face's layout, see `interop.families`

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_heads

    @property
    def q_width(self) -> int:
        """Width of the queries of all heads together."""
        return self.head_width * self.num_heads

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values, of all heads together."""
        return self.head_width * self.kv_heads

    @property
    def divisible(self) -> int:
        """The most devices that the network can be divided among; so it can among any divisor of this."""
        return math.gcd(self.num_heads, self.kv_heads, self.intermediate_size)

    @property
    def biased(self) -> tuple[str, ...]:
        """The matrices that have a bias."""
        return ATTENTION[: 3 if self.bare_output else 4] if self.has_bias else ()

    @property
    def vocabulary(self) -> int:
        """Raises: ValueError: no tokenizer has said it yet, which only a defect can cause."""
        if self.vocab_size is None:
            raise ValueError("the network's vocabulary is not known yet")
        return self.vocab_size

    def projections(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices, by the names of their MindFormers cells."""
        hidden, q, kv, inner = self.hidden_size, self.q_width, self.kv_width, self.intermediate_size
        attention = {"wq": (hidden, q), "wk": (hidden, kv), "wv": (hidden, kv), "wo": (q, hidden)}
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

        total = 2 V H + layers (H (2 Q + 2 K) + biases + 3 H F + norms) + H, V H once where the head is the
        embeddings; Q and K are the widths of queries and of keys, as the report counts it: without the
        adapter. LoRA on a matrix of n x m has r (n + m) parameters; without LoRA all is trainable.
        """
        total = trainable = sum(math.prod(shape) for shape in self.shapes().values())
        if lora:
            trainable = self.num_layers * lora.rank * sum(n + m for n, m in self.tuned(lora))
        return Parameters(trainable, total, trainable / total)

    def shapes(self) -> Shapes:
        """Name and shape of every tensor, by MindSpore's names; a matrix is [out, in]."""
        hidden, ids, matrices = self.hidden_size, self.vocabulary, self.projections()
        layer: Shapes = {f"{_container(name)}.{name}.weight": matrices[name][::-1] for name in matrices}
        layer |= {"attention_norm.weight": (hidden,), "ffn_norm.weight": (hidden,)}
        layer |= {f"attention.{name}.bias": matrices[name][1:] for name in self.biased}
        if self.qk_norm:
            layer |= dict.fromkeys(("attention.q_norm.weight", "attention.k_norm.weight"), (self.head_width,))
        named = {f"model.layers.{i}.{key}": layer[key] for i in range(self.num_layers) for key in layer}
        outer: Shapes = {EMBEDDINGS: (ids, hidden), "model.norm_out.weight": (hidden,)}
        return outer | ({} if self.tied else {HEAD: (ids, hidden)}) | named

    def model_config(
        self, seq_length: int, batch_size: int, device: str, pad: int, eos: int, lora: Lora | None = None
    ) -> files.Json:
        """MindFormers' `model_config` of our registered decoder; without `lora` for full training."""
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
        config |= {"attn_proj_has_bias": False} if self.has_bias and self.bare_output else {}
        added: files.Json = {
            "head_dim": self.head_dim,
            "qk_norm": self.qk_norm,
            "tie_word_embeddings": self.tied,
        }
        added["rope_scaling"] = self.rope_scaling and dict(self.rope_scaling)
        config |= {key: value for key, value in added.items() if value}
        if lora:
            config["pet_config"] = {
                "pet_type": "lora",
                "lora_rank": lora.rank,
                "lora_alpha": lora.alpha,
                "lora_dropout": lora.dropout,
                "target_modules": lora.target_modules,
            }
        return config

    def check_parts(self, parts: int) -> None:
        """Check that the network can be divided among `parts` devices, see `decoder`.

        Raises:
            UserError: they do not divide its heads, key heads or inner width; names that and the divisors.
        """
        shared = self.divisible
        if shared % parts:
            has = (
                f"{self.num_heads} heads, {self.kv_heads} of keys, an inner width of {self.intermediate_size}"
            )
            can = ", ".join(str(n) for n in range(1, shared + 1) if shared % n == 0)
            raise UserError(f"train.parallel.tensor: {parts} does not divide {has}; set it to one of {can}")

    def for_tokenizer(self, pieces: int) -> Architecture:
        """The same with an id for each of the tokenizer's pieces; more ids than pieces are never asked.

        Raises:
            UserError: the network has fewer ids than pieces, which would crash.
        """
        if self.vocab_size is not None and self.vocab_size < pieces:
            said = f"the network has {self.vocab_size} ids, the tokenizer {pieces} pieces"
            raise UserError(f"model.vocab_size: {said}; give the base's own tokenizer")
        return replace(self, vocab_size=self.vocab_size or pieces)

    def check(self, asked: Mapping[str, Any], where: Path, seq_length: int | None = None) -> None:
        """Check that nothing in `asked`, the configuration's model.*, says otherwise; null says nothing.

        Raises:
            UserError: it does, or a row of `seq_length` ids is longer than the network has positions for, or
                than its attention reaches; names every key that differs.
        """
        known = asdict(self) | {"n_kv_heads": self.kv_heads}
        differ = [
            f"model.{key} is {value}, there {known[key]}"
            for key, value in asked.items()
            if key != "init_std" and value is not None and value != known[key]
        ]
        if differ:
            raise UserError(f"{where}: {'; '.join(differ)}; leave these keys out, or make them the same")
        for most, what in ((self.max_positions, "positions"), (self.window, "ids in its sliding window")):
            if most is not None and seq_length is not None and seq_length > most:
                raise UserError(f"{where}: has {most} {what}, encode.seq_length is {seq_length}; lower it")


EMBEDDINGS, HEAD = "model.tok_embeddings.embedding_weight", "lm_head.weight"
ATTENTION = ("wq", "wk", "wv", "wo")


def _container(name: str) -> str:
    """The cell of a layer that holds the matrix `name`."""
    return "attention" if name in ATTENTION else "feed_forward"


def read_architecture(base: Path) -> Architecture:
    """What the config.json of a base folder says."""
    return Architecture(**files.read_json(base / "config.json"))


def of_base(asked: Mapping[str, Any], base: Path, seq_length: int) -> Architecture:
    """The architecture that the folder `base` was made with, see `Architecture.check`.

    Raises:
        UserError: the configuration asks for another one, or for longer rows.
    """
    made = read_architecture(base)
    made.check(asked, base, seq_length)
    return made


def write_architecture(base: Path, architecture: Architecture) -> None:
    """Write the config.json of a base folder; what has a default stands there where it differs from it."""
    said = asdict(architecture)
    plain = {one.name for one in fields(Architecture) if one.default is not MISSING}
    usual = {one.name: one.default for one in fields(Architecture)}
    known = {key: said[key] for key in said if key not in plain or said[key] != usual[key]}
    files.write_json(base / "config.json", known, indent=True)
