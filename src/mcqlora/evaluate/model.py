"""A model of the run ready to be asked: the network on MindSpore, its tokenizer, its responses so far."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mcqlora import hashing
from mcqlora.evaluate import forward, generation, memory, scoring
from mcqlora.evaluate.answers import ALONE, Cache, Share
from mcqlora.evaluate.asking import Model
from mcqlora.evaluate.engine import Engine, Progress, silent
from mcqlora.evaluate.protocols import Tokenization
from mcqlora.evaluate.trees import Forward
from mcqlora.files import Json
from mcqlora.launch.memory import limit
from mcqlora.model.architecture import DEVICES, Architecture
from mcqlora.model.attention import fused
from mcqlora.model.weights import Merged, computes_in, read
from mcqlora.provenance import fingerprint
from mcqlora.tokens import prompt, segments, tokenizer


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which model is asked, and how it is built."""

    name: str  # base or checkpoint_k
    base: str  # a folder
    adapter: str | None  # a file; without one the base itself is asked
    tokenizer: str  # a file
    runs: str  # the folder below which its answers are kept, see `kept`
    architecture: Architecture  # of the base
    scaling: float  # what the update of `adapter` is multiplied by
    device: str  # CPU or Ascend
    seq_length: int  # ids of the longest text
    batch_size: int  # rows of a forward pass, at most
    template: str | None  # see `prompt.template`


def ready(spec: ModelSpec, progress: Progress = silent, share: Share = ALONE) -> Model:
    """The model of `spec`; its network is built when it is first asked something that is not kept.

    Args:
        share: of several processes that ask the same, each feeds its share of the batches.

    Raises:
        UserError: the tokenizer is not as `spec` says.
    """
    processor = tokenizer.load(spec.tokenizer)
    template = prompt.template(processor, spec.template)
    base, network = Path(spec.base), spec.architecture
    config = network.model_config(spec.seq_length, spec.batch_size, spec.device, template.pad, template.eos)
    flash = config["use_flash_attention"] = fused("auto", spec.device, network, spec.seq_length)
    if kind := computes_in(base / "model.safetensors", spec.device):
        config |= {"compute_dtype": kind, "param_init_type": kind}

    @functools.cache
    def built() -> Forward:
        tuned = read(spec.adapter) if spec.adapter else {}
        weights = Merged(base / "model.safetensors", tuned, spec.scaling)
        return forward.load(config, spec.device, weights, spec.adapter or spec.base)

    cache = Cache(kept(spec, config), share)
    head = network.vocabulary / (12 * network.num_layers * network.hidden_size)
    width = DEVICES[spec.device].bytes_per_weight
    room = memory.room(network, spec.device, width, flash, limit())
    engine = Engine(
        forward=lambda rows: built()(rows),
        batch_size=spec.batch_size,
        limit=spec.seq_length,
        cache=cache,
        progress=progress,
        head=head,
        compilation=forward.compilation(spec.device, network.num_layers),
        room=room,
    )
    return Model(spec.name, engine, Tokenization(processor, segments.SegmentEncoder(processor), template))


def kept(spec: ModelSpec, config: Json) -> Path:
    """The file of a model's answers, named by all that decides them; `config` is MindFormers'."""
    paths = (Path(spec.base) / "model.safetensors", spec.adapter)
    files = [hashing.sha256(path) for path in paths if path]
    code = fingerprint.fingerprint(
        *(Path(one.__file__) for one in (generation, scoring, forward) if one.__file__)
    )
    versions = [version(name) for name in ("mindspore", "mindformers")]
    key = hashing.digest(files, spec.scaling, config, code, versions)
    return Path(spec.runs) / key[:16] / "evaluation.jsonl"
