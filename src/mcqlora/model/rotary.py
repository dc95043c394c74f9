"""Rotary position embedding's tables, with the scalings that lengthen the rows of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Scaling = Mapping[str, Any]  # `rope_type` and its numbers, by the names of Hugging Face's config.json
# Numbers that a kind needs. "dynamic" is the plain rotation up to the network's positions; longer rows are
# refused.
KINDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "dynamic": (),
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def tables(width: int, length: int, theta: float, scaling: Scaling | None) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines, float32 [length, width], of heads whose halves are rotated against each other.

    Source: RoFormer, arXiv 2104.09864, eq. 34; scalings as in transformers' modeling_rope_utils.py.
    """
    exponents = np.arange(0, width, 2)[: width // 2].astype(np.float32) / width
    plain, kind = 1.0 / (theta**exponents), (scaling or {}).get("rope_type", "default")
    frequencies, factor = plain, 1.0
    if scaling and kind == "linear":
        frequencies = plain / scaling["factor"]
    elif scaling and kind == "llama3":
        frequencies = _llama3(plain, scaling)
    elif scaling and kind == "yarn":
        frequencies, factor = _yarn(plain, width, theta, scaling)
    angles = np.outer(np.arange(length).astype(np.float32), frequencies.astype(np.float32))
    angles = np.concatenate((angles, angles), axis=-1)
    return np.cos(angles) * np.float32(factor), np.sin(angles) * np.float32(factor)


def _llama3(plain: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Long waves are stretched by `factor`, short ones not, those between in part (Llama 3.1)."""
    factor, low, high = (scaling[key] for key in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = scaling["original_max_position_embeddings"] * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - kept) * plain / factor + kept * plain


def _yarn(plain: np.ndarray, width: int, theta: float, scaling: Scaling) -> tuple[np.ndarray, float]:
    """YaRN (Peng et al. 2023, arXiv 2309.00071), and what its cosines and sines are multiplied by."""
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]

    def dimension(turns: float) -> float:
        """Which frequency makes so many turns in a row of `original` positions."""
        return width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(scaling.get("beta_fast") or 32), dimension(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = (np.arange(width // 2, dtype=np.float32) - low) / max(high - low, 0.001)
    kept = 1 - np.clip(ramp, 0, 1)
    return plain / factor * (1 - kept) + plain * kept, _attention_factor(factor, scaling)


def _attention_factor(factor: float, scaling: Scaling) -> float:
    def magnitude(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1.0 if factor > 1 else 1.0

    if (given := scaling.get("attention_factor")) is not None:
        return float(given)
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return magnitude(scaling["mscale"]) / magnitude(scaling["mscale_all_dim"])
    return magnitude(1)
