"""A model as it is asked: trees to be scored, prompts to be continued."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from mcqlora.evaluate import generation, scoring
from mcqlora.evaluate.engine import Engine
from mcqlora.evaluate.generation import Texts
from mcqlora.evaluate.protocols import Item, Tokenization
from mcqlora.evaluate.trees import Scored

Group = TypeVar("Group", bound=Hashable)


@dataclass(frozen=True)
class GenerationSettings:
    """Greedy answers: of how many items at most, and of how many new ids at most."""

    items: int
    max_new_tokens: int


@dataclass(frozen=True)
class Model:
    """A network that is fed in batches, with its name in the artefacts and its tokenizer."""

    name: str
    engine: Engine
    tokens: Tokenization

    def score(self, groups: Mapping[Group, Sequence[Item]]) -> dict[Group, list[list[Scored]]]:
        """The items' scores, group by group; all of them are batched together."""
        trees = [item.tree for items in groups.values() for item in items]
        found = iter(scoring.score(self.engine, trees, f"{self.name}: choices"))
        return {group: list(islice(found, len(items))) for group, items in groups.items()}

    def write(
        self, prompts: Texts, most: int, stop: set[int], what: str, starts: Texts = ()
    ) -> list[list[int]]:
        """Greedy continuations, see `generation.generate`."""
        return generation.generate(self.engine, prompts, most, stop, starts, f"{self.name}: {what}")
