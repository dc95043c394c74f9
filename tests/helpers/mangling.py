"""Bytes of a file cut out and replaced, for tests of damaged inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

Edits = Iterable[tuple[int, int, bytes]]


def edits_of(places: int, junk: Sequence[bytes]) -> st.SearchStrategy[Edits]:
    """One to five edits (place, bytes cut out, bytes put there): bytes at random, or some of `junk`."""
    inserted = st.one_of(st.binary(max_size=6), st.sampled_from(junk))
    return st.lists(st.tuples(st.integers(0, places), st.integers(0, 6), inserted), min_size=1, max_size=5)


def mangled(raw: bytes, edits: Edits) -> bytes:
    """`raw` after these edits; a place beyond its end counts from the start again."""
    for at, cut, junk in edits:
        at %= len(raw) + 1
        raw = raw[:at] + junk + raw[at + cut :]
    return raw
