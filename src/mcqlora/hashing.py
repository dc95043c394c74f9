"""Hashes of files and values, and random generators keyed by a seed and an item's own name."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import orjson

from mcqlora.files import PathLike


def sha256(path: PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: object) -> str:
    """Hex SHA-256 of the parts as JSON; the order of keys does not count."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def rng(seed: int, *key: object) -> np.random.Generator:
    """A generator that depends only on the seed and the item's own key, never on order or process."""
    raw = hashlib.sha256("\x1f".join([str(seed), *map(str, key)]).encode()).digest()
    bits = np.random.Philox(_Key(raw))  # type: ignore[arg-type]  # numpy's stubs know SeedSequence alone
    return np.random.Generator(bits)


class _Key(np.random.bit_generator.ISeedSequence):
    """Philox's key itself: `Philox(key=...)` also gathers entropy that it does not use, which takes 30 µs."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.frombuffer(self.raw, dtype, n_words)
