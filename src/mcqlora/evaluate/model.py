"""A model ready to be asked: the network, its words, and what it has said so far."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mcqlora import hashing
from mcqlora.evaluate import forward, generation, protocols, scoring
from mcqlora.evaluate.answers import Cache
from mcqlora.model import architecture
from mcqlora.model.weights import Merged, read
from mcqlora.provenance import fingerprint
from mcqlora.tokens import prompt, segments, tokenizer

Items = list[protocols.Item]


@dataclass(frozen=True)
class Model:
    """A network ready to be asked, with its words; `limit` is the longest text that it sees."""

    name: str
    forward: forward.Forward
    processor: Any
    encode: prompt.Encode
    template: prompt.Template
    batch_size: int
    limit: int
    cache: Cache
    progress: scoring.Progress = scoring.silent
    head: float = 1.0  # see `scoring.score`

    def score(self, groups: Mapping[str, Items]) -> dict[str, list[list[scoring.Scored]]]:
        """The items' scores, group by group; all of them are batched together."""
        trees = [item.tree for items in groups.values() for item in items]
        settings = (
            self.batch_size,
            self.limit,
            self.cache,
            self.progress,
            f"{self.name}: choices",
            self.head,
        )
        found = iter(scoring.score(self.forward, trees, *settings))
        return {name: list(islice(found, len(items))) for name, items in groups.items()}

    def write(
        self,
        prompts: Sequence[list[int]],
        most: int,
        stop: set[int],
        what: str,
        starts: Sequence[list[int]] | None = None,
    ) -> list[list[int]]:
        """Greedy continuations of at most `most` ids."""
        what, size = f"{self.name}: {what}", self.batch_size
        return generation.generate(
            self.forward, prompts, most, stop, size, self.limit, self.cache, starts, self.progress, what
        )


class Share(NamedTuple):
    """Which of an evaluation's processes this one is; they meet in the folder `meetings`, see `Cache`."""

    rank: int = 0
    ranks: int = 1
    meetings: Path | None = None


ALONE = Share()


def ready(
    *,
    model: str,
    base: str,
    adapter: str | None,
    tokenizer_path: str,
    runs: str,
    network: dict,
    lora: dict | None,
    device: str,
    seq_length: int,
    batch_size: int,
    reference_template: bool,
    progress: scoring.Progress = scoring.silent,
    share: Share = ALONE,
) -> Model:
    """The base, or the base with `adapter`, ready to be asked; it is built when the first question comes.

    Args:
        runs: what the network says is kept below it, see `kept`.
        lora: that of `adapter`; the base needs none.
        share: of several processes that ask the same, each feeds its share of the batches.
    """
    processor = tokenizer.load(tokenizer_path)
    template = prompt.template(processor, reference_template)
    network = architecture.network_of(Path(base), network, seq_length)
    config = architecture.model_config(
        network, seq_length, batch_size, device, template.pad, template.eos, None
    )

    @functools.cache
    def built() -> forward.Forward:
        tuned = read(adapter) if adapter else {}
        scale = lora["alpha"] / lora["rank"] if lora else 1.0
        weights = Merged(Path(base) / "model.safetensors", tuned, scale)
        return forward.load(config, device, weights, str(adapter or base))

    return Model(
        model,
        lambda rows: built()(rows),
        processor,
        segments.SegmentEncoder(processor),
        template,
        batch_size,
        seq_length,
        Cache(kept(Path(runs), Path(base), adapter, lora, config), *share),
        progress,
        network["vocab_size"] / (12 * network["num_layers"] * network["hidden_size"]),
    )


def kept(runs: Path, base: Path, adapter: str | None, lora: dict | None, config: dict) -> Path:
    """The file of the network's sayings: its name is made from all that decides them, the code among it."""
    files = [hashing.sha256(path) for path in (base / "model.safetensors", adapter) if path]
    code = fingerprint.fingerprint(Path(generation.__file__))  # which builds on scoring and forward
    versions = [version(name) for name in ("mindspore", "mindformers")]
    return runs / hashing.digest(files, lora, config, code, versions)[:16] / "evaluation.jsonl"
