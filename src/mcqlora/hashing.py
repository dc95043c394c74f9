"""Hashes of files and values, and random generators keyed by a seed and an item's own name."""

from __future__ import annotations

import hashlib

import numpy as np
import orjson

from mcqlora.files import PathLike


def sha256(path: PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: object) -> str:
    """Hex SHA-256 of the parts' JSON, independent of key order."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def rng(seed: int, *key: object) -> np.random.Generator:
    """A generator that depends on the seed and the item's own key only, never on order or process."""
    raw = hashlib.sha256("\x1f".join([str(seed), *map(str, key)]).encode()).digest()
    return np.random.Generator(np.random.Philox(_Key(raw)))


class _Key(np.random.bit_generator.ISeedSequence):
    """Philox's key as it is: `Philox(key=...)` gathers entropy that it does not use, which takes 30 µs."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
        return np.frombuffer(self.raw, dtype, n_words)
