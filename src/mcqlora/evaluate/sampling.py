"""Stratified samples that depend on a seed and the items' own keys."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mcqlora import hashing


def ranked(keys: Sequence[str], strata: Sequence[Hashable], seed: int) -> list[int]:
    """All indices, so that any first n of them are a sample of n stratified in proportion.

    Depends on the seed, the keys and what stratum each is in, not on the order. Of a stratum with m of all M
    items the sample has floor or ceiling of n m / M, give or take one.
    """
    members: dict[Hashable, list[int]] = {}
    for i in sorted(range(len(keys)), key=lambda i: hashing.digest(seed, "sample", keys[i])):
        members.setdefault(strata[i], []).append(i)
    place = {
        i: ((rank + hashing.rng(seed, "stratum", stratum).random()) / len(inside), str(stratum))
        for stratum, inside in members.items()
        for rank, i in enumerate(inside)
    }
    return sorted(place, key=place.__getitem__)


def drawn(keys: Sequence[str], strata: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Indices of at most `count` items, stratified, see `ranked`; in their original order."""
    return sorted(ranked(keys, strata, seed)[:count])
