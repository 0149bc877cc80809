"""Whether image probabilities mean what they say: reliability, expected calibration error, temperature."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Probabilities come from 8-bit maps or float32 heads: 0 and 1 are rounded ones.
_EDGE = 1e-6
_LOG_TEMPERATURES = (math.log(0.05), math.log(20.0))


def bin_of(probability: Floats, bins: int) -> NDArray[np.int64]:
    """The equal-width bin of each probability, 0 to bins - 1; 1.0 is in the last."""
    return np.minimum((probability * bins).astype(np.int64), bins - 1)


def reliability_table(probability: Floats, positive: Bools, bins: int) -> list[dict[str, float | None]]:
    """For each bin: its limits, images, mean probability and the share that has a pneumothorax (None if empty)."""
    index = bin_of(probability, bins)
    rows: list[dict[str, float | None]] = []
    for number in range(bins):
        inside = index == number
        count = int(inside.sum())
        rows.append(
            {
                "from": number / bins,
                "to": (number + 1) / bins,
                "n": count,
                "mean_probability": float(probability[inside].mean()) if count else None,
                "share_positive": float(positive[inside].mean()) if count else None,
            }
        )
    return rows


def calibration_error(probability: Floats, positive: Bools, bins: int, weights: NDArray[np.int64]) -> Floats:
    """Expected calibration error: mean gap between probability and share, weighted by images (Naeini et al. 2015).

    Args:
        probability: (N,).
        positive: (N,) truth.
        bins: equal-width ones.
        weights: (b, N) how often each image counts.

    Returns:
        (b,) errors; NaN without images or without a probability.
    """
    if not np.isfinite(probability).all():
        return np.full(len(weights), np.nan)
    member = (bin_of(probability, bins)[:, None] == np.arange(bins)).astype(np.float64)  # (N, bins)
    gap = (positive - probability)[:, None] * member
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, np.abs(weights @ gap).sum(axis=1) / total, np.nan)


def _logit(probability: Floats) -> Floats:
    clipped = np.clip(probability, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


def apply_temperature(probability: Floats, temperature: float) -> Floats:
    """Divide the logits by a temperature: (N,) probabilities; above 1 it makes them less certain; NaN gives NaN."""
    return np.asarray(1.0 / (1.0 + np.exp(-_logit(probability) / temperature)), np.float64)


def fit_temperature(probability: Floats, positive: Bools) -> float:
    """The temperature from 0.05 to 20 with the highest likelihood (Guo et al. 2017); NaN where a class is missing."""
    if not len(positive) or positive.all() or not positive.any():
        return float("nan")
    signed = np.where(positive, 1.0, -1.0) * _logit(probability)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -signed / math.exp(log_temperature)).mean())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6})
    return float(round(math.exp(found.x), 4))
