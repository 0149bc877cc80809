"""Paired differences of experiments on the same images: intervals over patients, a test, and a verdict.

All experiments are resampled with the same draws of patients, so what makes a patient easy or hard for all of them
cancels out. Two things must agree before a difference is called one: the interval leaves out 0, and the permutation
test, corrected for the number of experiments, says so too. For a handful of patients the interval alone is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pneumoseg.evaluate.metric import Metric, column
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.stats.bootstrap import (
    CONFIDENCE,
    UNKNOWN,
    Interval,
    PatientBootstrap,
    Ratio,
    Weighted,
    percentile_interval,
    perfect_interval,
)
from pneumoseg.stats.permutations import SAME, holm, permutation_p
from pneumoseg.stats.ranking import weighted_auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Verdict = Literal["better", "worse", "not shown", "same", "unknown"]

_LEVEL = 1 - CONFIDENCE
#: How a reader is told of a verdict.
WORDS: Final[Mapping[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "not shown": "no difference shown",
    "same": "the same on every image",
    "unknown": "cannot be told",
}


@dataclass(frozen=True)
class Difference:
    """A figure of one experiment minus that of the reference.

    Attributes:
        metric: what figure.
        value: the difference; NaN where the images do not give it.
        interval: 95 %, over patients; NaN twice where it is unknown.
        p: two-sided, of the permutation test.
        p_holm: the same after Holm's correction for the number of experiments.
        verdict: ``better`` or ``worse`` than the reference, or why neither.
        reason: for that, in words; empty where none is needed.
    """

    metric: Metric
    value: float
    interval: Interval
    p: float
    p_holm: float
    verdict: Verdict
    reason: str = ""

    @property
    def words(self) -> str:
        """Verdict and reason as a reader gets them."""
        return f"{WORDS[self.verdict]}: {self.reason}" if self.reason else WORDS[self.verdict]


@dataclass(frozen=True)
class Measured:
    """A difference before it is judged; ``same``: no image differs."""

    value: float
    interval: Interval
    p: float
    same: bool


_NOTHING = Measured(float("nan"), UNKNOWN, float("nan"), same=False)


def paired_differences(
    rows: Sequence[pd.DataFrame], metrics: Sequence[Metric], bootstrap: PatientBootstrap
) -> list[dict[str, Difference]]:
    """Compare every experiment with the first one.

    Args:
        rows: of two or more experiments the common images in one order, as in test_cases.csv, the reference first.
        metrics: what is compared.
        bootstrap: their patients, and how often they are resampled; the tests take as many permutations.

    Returns:
        For each experiment but the first, its differences by the names of the metrics.
    """
    found: list[dict[str, Difference]] = [{} for _ in rows[1:]]
    for metric in metrics:
        measured = [measure(metric, rows[0], other, bootstrap) for other in rows[1:]]
        corrected = holm([item.p for item in measured])
        for differences, item, p_holm in zip(found, measured, corrected, strict=True):
            verdict, reason = _verdict(metric, item, p_holm, len(measured))
            differences[metric.name] = Difference(metric, item.value, item.interval, item.p, p_holm, verdict, reason)
    return found


def measure(metric: Metric, first: pd.DataFrame, second: pd.DataFrame, bootstrap: PatientBootstrap) -> Measured:
    """A figure of the second rows minus that of the first."""
    one, other = metric.of(first), metric.of(second)
    if not np.isfinite([one.value, other.value]).all():
        return _NOTHING
    if first.equals(second):  # the same predictions, not only the same figure: there is nothing to be unsure of
        return Measured(0.0, UNKNOWN, 1.0, same=True)
    if isinstance(one, Ratio) and isinstance(other, Ratio) and np.array_equal(one.denominator, other.denominator):
        return mean_difference(one, other, bootstrap)
    if metric.name == AUC.name:
        before, after = column(first, "probability"), column(second, "probability")
        return auc_difference(before, after, column(first, "pneumothorax") > 0, bootstrap)
    return _other_difference(metric, first, second, bootstrap)


def mean_difference(first: Ratio, second: Ratio, bootstrap: PatientBootstrap) -> Measured:
    """Difference of two ratios over the same images, which is the mean of paired differences.

    The interval is the percentile one of the bootstrap over patients. The test flips the sign of each patient's sum of
    differences: where the two experiments are exchangeable, either sign is as likely (Fisher 1935; whole patients are
    flipped, as Winkler et al. 2014 flip whole blocks). All 2^m ways are gone through where they are no more than the
    replicates, else so many are drawn and p = (1 + extreme) / (1 + drawn) (Phipson and Smyth 2010).
    """
    counted, gain = first.denominator, first.scale * (second.numerator - first.numerator)
    interval = bootstrap.ratios({"mean": Ratio(gain, counted, bounded=False)})["mean"]
    value = float(gain.sum()) / float(counted.sum())
    sums = np.bincount(bootstrap.patients, weights=gain)
    moved = sums[np.abs(sums) > SAME]
    patients = len(np.unique(bootstrap.patients[counted > 0])) if first.bounded and first.scale == 1 else None
    p = permutation_p(lambda flips: np.abs((1 - 2.0 * flips) @ moved), len(moved), bootstrap)
    return Measured(value, _with_width(value, interval, patients), p, same=not np.abs(gain).max() > SAME)


def auc_difference(first: Floats, second: Floats, positive: Bools, bootstrap: PatientBootstrap) -> Measured:
    """AUC of the second probabilities minus that of the first.

    The test swaps each patient's images between the two experiments: their ranks, because the probabilities of two
    networks need not be on one scale (Venkatraman and Begg 1996; ties, there broken at random, count half here).

    Args:
        first: (N,) probabilities of the reference.
        second: (N,) those of the other experiment.
        positive: (N,) truth.
        bootstrap: of the patients.
    """

    def gap(weights: NDArray[np.int64]) -> Floats:
        return weighted_auc(second, positive, weights) - weighted_auc(first, positive, weights)

    value = float(gap(np.ones((1, len(positive)), np.int64))[0])
    patients = bootstrap.patients
    pairs = min(len(np.unique(patients[positive])), len(np.unique(patients[~positive])))
    interval = _with_width(value, percentile_interval(bootstrap.statistic(gap)), pairs)
    ranks, other = rankdata(first), rankdata(second)
    moved = np.unique(patients[ranks != other])
    place = np.searchsorted(moved, patients).clip(max=max(0, len(moved) - 1))

    def swapped(flips: Bools) -> Floats:
        swap = flips[:, place] & (ranks != other)
        return np.abs(_auc(np.where(swap, ranks, other), positive) - _auc(np.where(swap, other, ranks), positive))

    return Measured(value, interval, permutation_p(swapped, len(moved), bootstrap), same=not len(moved))


def _auc(values: Floats, positive: Bools) -> Floats:
    """Area under the ROC curve of each row of (b, N) values, ties counted half (Mann-Whitney)."""
    count = int(positive.sum())
    ranks = rankdata(values, axis=1)[:, positive].sum(axis=1)
    return np.asarray((ranks - count * (count + 1) / 2) / (count * (len(positive) - count)), np.float64)


def _other_difference(
    metric: Metric, first: pd.DataFrame, second: pd.DataFrame, bootstrap: PatientBootstrap
) -> Measured:
    """The same of any other figure: the test exchanges all that was measured on a patient's images."""
    one, other = metric.of(first), metric.of(second)
    value = other.value - one.value
    drawn = bootstrap.statistic(_weighted(other)) - bootstrap.statistic(_weighted(one))
    cells, others = (rows.astype(object).where(rows.notna(), None).to_numpy() for rows in (first, second))
    moved = np.unique(bootstrap.patients[(cells != others).any(axis=1)])

    def swapped(flips: Bools) -> Floats:
        gaps = []
        for flip in flips:
            kept = ~np.isin(bootstrap.patients, moved[flip])
            keep = np.broadcast_to(kept[:, None], first.shape)
            pair = [before.where(keep, after) for before, after in ((first, second), (second, first))]
            gaps.append(abs(metric.of(pair[1]).value - metric.of(pair[0]).value))
        return np.array(gaps, np.float64)

    p = permutation_p(swapped, len(moved), bootstrap)
    return Measured(value, _with_width(value, percentile_interval(drawn), None), p, same=not len(moved))


def _weighted(figure: Ratio | Weighted) -> Callable[[NDArray[np.int64]], Floats]:
    if isinstance(figure, Weighted):
        return figure.function

    def ratio(weights: NDArray[np.int64]) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(figure.scale * (weights @ figure.numerator) / (weights @ figure.denominator), np.float64)

    return ratio


def _with_width(value: float, interval: Interval, patients: int | None) -> Interval:
    """The interval, or where all resamples are alike the exact bound: few equal patients do not prove equality.

    Where m patients have one and the same difference, the share of others is at most w = 1 - 0.025^(1/m) (Clopper and
    Pearson 1934); theirs lie from -1 to 1. ``patients`` is None for a figure whose differences may lie further.
    """
    low, high = (round(bound, 12) for bound in interval)  # 0 is 0 whatever the order of addition
    if (patients is not None and patients < 2) or not np.isfinite([low, high]).all():
        return UNKNOWN
    if high - low > SAME or patients is None:
        return low, high
    others = 1 - perfect_interval(patients)[0]
    return value - others * (1 + value), value + others * (1 - value)


def _verdict(metric: Metric, measured: Measured, p_holm: float, comparisons: int) -> tuple[Verdict, str]:
    low, high = measured.interval
    if not np.isfinite(measured.value):
        return "unknown", "not both experiments give it on these images"
    if measured.same:
        return "same", ""
    if not np.isfinite([low, high]).all():
        return "unknown", "too few patients for an interval"
    if low <= 0 <= high:
        return "not shown", "interval includes 0"
    if measured.p > _LEVEL:
        return "not shown", "interval leaves out 0, but the permutation test does not confirm it"
    if p_holm > _LEVEL:
        return "not shown", f"not after correction for {comparisons} experiments"
    return ("better", "") if (low > 0) != (metric.better == "lower") else ("worse", "")
