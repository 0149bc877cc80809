"""How well the image probability ranks images with pneumothorax above those without.

As scikit-learn's, but for many rows of weights at once: a bootstrap resample is a row. Images of equal probability are
one step.
"""

from __future__ import annotations

import math
from functools import partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pneumoseg.stats.bootstrap import CONFIDENCE, UNKNOWN, Interval, PatientBootstrap, Weighted, perfect_interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def _steps(scores: Floats, positive: Bools, weights: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Weight of positives and negatives at each distinct score, highest score first: two (b, G)."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sorted_weights = weights[:, order].astype(np.float64)
    labels = positive[order]
    hits = np.add.reduceat(sorted_weights * labels, starts, axis=1)
    false_calls = np.add.reduceat(sorted_weights * ~labels, starts, axis=1)
    return hits, false_calls


def weighted_auc(scores: Floats, positive: Bools, weights: NDArray[np.int64]) -> Floats:
    """Area under the ROC curve, ties counted half (Mann-Whitney).

    Args:
        scores: (N,) image probabilities.
        positive: (N,) truth.
        weights: (b, N) how often each image counts.

    Returns:
        (b,) areas; NaN where a class is missing.
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    hits, false_calls = _steps(scores, positive, weights)
    better = np.cumsum(hits, axis=1) - hits / 2  # positives ranked above each step's negatives, ties half
    pairs = hits.sum(axis=1) * false_calls.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, (better * false_calls).sum(axis=1) / pairs, np.nan)


def placements(scores: Floats, positive: Bools) -> Floats:
    """Share of the negatives that each of N images is ranked above, ties half; the mean over positives is the AUC.

    All NaN where there is no negative.
    """
    below = np.sort(scores[~positive])
    if not len(below):
        return np.full(len(scores), np.nan)
    sides = [np.searchsorted(below, scores, side) for side in ("left", "right")]
    return np.asarray(np.mean(sides, axis=0) / len(below), np.float64)


def delong_interval(scores: Floats, positive: Bools) -> Interval:
    """The 95 % interval of an AUC that papers print: normal, by DeLong, DeLong and Clarke-Pearson (1988).

    It takes images as independent, which several of one patient are not, and may pass 1; so the bootstrap over patients
    is the interval, and this stands beside it. NaN twice with fewer than two images of a class.
    """
    if min(positive.sum(), (~positive).sum()) < 2:
        return UNKNOWN
    of_positives = placements(scores, positive)[positive]
    of_negatives = placements(-scores, ~positive)[~positive]
    variance = of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(variance)
    area = float(of_positives.mean())
    return area - half, area + half


def weighted_average_precision(scores: Floats, positive: Bools, weights: NDArray[np.int64]) -> Floats:
    """Average precision, the sum of precision x gain in recall over distinct scores (no interpolation).

    Arguments as in weighted_auc.

    Returns:
        (b,) values; NaN where no image is positive.
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    hits, false_calls = _steps(scores, positive, weights)
    called = np.cumsum(hits + false_calls, axis=1)
    precision = np.cumsum(hits, axis=1) / np.where(called == 0, 1.0, called)
    total = hits.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (precision * hits).sum(axis=1) / total, np.nan)


def area_under_roc(scores: Floats, positive: Bools) -> Weighted:
    """The AUC of N images as a figure that can be resampled.

    Where every positive image is above every negative one, resampling would give a width of zero. Pairs of one positive
    and one negative patient, each patient used once, are then independent draws that all were right, and the exact
    interval of that proportion is given.
    """

    def perfect(bootstrap: PatientBootstrap) -> Interval:
        return perfect_interval(min(len(np.unique(bootstrap.patients[chosen])) for chosen in (positive, ~positive)))

    return Weighted(partial(weighted_auc, scores, positive), len(scores), {1.0: perfect})


def average_precision(scores: Floats, positive: Bools) -> Weighted:
    """Average precision of N images as a figure that can be resampled; no interval where the ranking is perfect."""
    return Weighted(partial(weighted_average_precision, scores, positive), len(scores), {1.0: lambda _: UNKNOWN})
