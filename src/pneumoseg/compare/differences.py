"""Paired differences of experiments on the same images: intervals over patients, a test, and a verdict in words.

All experiments are resampled with the same draws of patients, so what makes a patient easy or hard for all of them
cancels out. Two things must agree before a difference is called one: the interval leaves out 0, and the permutation
test, corrected for the number of experiments, says so too. For a handful of patients the interval alone is too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pneumoseg.stats.bootstrap import (
    CONFIDENCE,
    UNKNOWN,
    Interval,
    PatientBootstrap,
    Ratio,
    percentile_interval,
    perfect_interval,
)
from pneumoseg.stats.permutations import SAME, holm, permutation_p
from pneumoseg.stats.ranking import weighted_auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Verdict = Literal["better", "worse", "not shown", "same", "unknown"]

#: Compared figures by name; higher is better in all of them.
FIGURES: Final[Mapping[str, str]] = {
    "dice_all": "Dice, all images",
    "dice_pos": "Dice, positives only",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auc": "AUC of the image probability",
}
_LEVEL = 1 - CONFIDENCE


@dataclass(frozen=True)
class Scores:
    """One experiment on the common images, in their order.

    Attributes:
        dice: (N,) Dice.
        called: (N,) whether the predicted mask has a pixel.
        probability: (N,) image probability; None where it is not known.
    """

    dice: Floats
    called: Bools
    probability: Floats | None


@dataclass(frozen=True)
class Difference:
    """A figure of one experiment minus that of the reference.

    Attributes:
        value: the difference; NaN where the images do not give it.
        interval: 95 %, over patients; NaN twice where it is unknown.
        p: two-sided, of the permutation test.
        p_holm: the same after Holm's correction for the number of experiments.
        verdict: ``better`` or ``worse`` than the reference, or why neither.
        words: the verdict as a reader gets it.
    """

    value: float
    interval: Interval
    p: float
    p_holm: float
    verdict: Verdict
    words: str


@dataclass(frozen=True)
class Measured:
    """A difference before it is judged; ``same``: no image differs."""

    value: float
    interval: Interval
    p: float
    same: bool


def paired_differences(
    scores: Sequence[Scores], positive: Bools, bootstrap: PatientBootstrap
) -> list[dict[str, Difference]]:
    """Compare every experiment with the first one.

    Args:
        scores: of two or more experiments, the reference first.
        positive: (N,) truth of the common images.
        bootstrap: their patients, and how often they are resampled; the tests take as many permutations.

    Returns:
        For each experiment but the first, its differences by the names of FIGURES; no ``auc`` where an experiment has
        no probabilities.
    """
    reference, others = scores[0], scores[1:]
    measured = [_measure(reference, other, positive, bootstrap) for other in others]
    corrected = {name: holm([item[name].p for item in measured]) for name in measured[0]}
    return [
        {name: _judge(item[name], corrected[name][index], len(others)) for name in item}
        for index, item in enumerate(measured)
    ]


def _measure(reference: Scores, other: Scores, positive: Bools, bootstrap: PatientBootstrap) -> dict[str, Measured]:
    negative = ~positive
    gain = other.dice - reference.dice
    called = other.called.astype(np.float64) - reference.called
    found = {
        "dice_all": mean_difference(gain, np.ones_like(positive), bootstrap),
        "dice_pos": mean_difference(gain, positive, bootstrap),
        "sensitivity": mean_difference(called, positive, bootstrap),
        "specificity": mean_difference(-called, negative, bootstrap),
    }
    if reference.probability is not None and other.probability is not None:
        found["auc"] = auc_difference(reference.probability, other.probability, positive, bootstrap)
    return found


def mean_difference(gain: Floats, counted: Bools, bootstrap: PatientBootstrap) -> Measured:
    """Mean of paired differences.

    The interval is the percentile one of the cluster bootstrap (see evaluation.intervals). The test flips the sign of
    each patient's sum of differences: where the two experiments are exchangeable, either sign is as likely (Fisher
    1935; whole patients are flipped, as Winkler et al. 2014 flip whole blocks). All 2^m ways are gone through where
    they are no more than the replicates, else so many are drawn and p = (1 + extreme) / (1 + drawn) (Phipson and Smyth
    2010).

    Args:
        gain: (N,) differences, from -1 to 1.
        counted: (N,) images that the mean is over.
        bootstrap: of the patients.
    """
    count = int(counted.sum())
    if not count:
        return Measured(float("nan"), UNKNOWN, float("nan"), same=False)
    interval = bootstrap.ratios({"mean": Ratio.of(gain * counted, counted, bounded=False)})["mean"]
    value = float(gain[counted].sum()) / count
    sums = np.bincount(bootstrap.patients, weights=gain * counted)
    moved = sums[np.abs(sums) > SAME]
    patients = len(np.unique(bootstrap.patients[counted]))
    p = permutation_p(lambda flips: np.abs((1 - 2.0 * flips) @ moved), len(moved), bootstrap)
    return Measured(
        value,
        _with_width(value, interval, patients),
        p,
        same=not np.abs(gain[counted]).max() > SAME,
    )


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
    if not np.isfinite(value):
        return Measured(value, UNKNOWN, float("nan"), same=False)
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


def _with_width(value: float, interval: Interval, patients: int) -> Interval:
    """The interval, or where all resamples are alike the exact bound: few equal patients do not prove equality.

    Where m patients have one and the same difference, the share of others is at most w = 1 - 0.025^(1/m) (Clopper and
    Pearson 1934); theirs lie from -1 to 1.
    """
    low, high = (round(bound, 12) for bound in interval)  # 0 is 0 whatever the order of addition
    if patients < 2 or not np.isfinite([low, high]).all():
        return UNKNOWN
    if high - low > SAME:
        return low, high
    others = 1 - perfect_interval(patients)[0]
    return value - others * (1 + value), value + others * (1 - value)


def _judge(measured: Measured, p_holm: float, comparisons: int) -> Difference:
    verdict, words = _verdict(measured, p_holm, comparisons)
    return Difference(measured.value, measured.interval, measured.p, p_holm, verdict, words)


def _verdict(measured: Measured, p_holm: float, comparisons: int) -> tuple[Verdict, str]:
    low, high = measured.interval
    if not np.isfinite(measured.value):
        return "unknown", "cannot be told: no image gives it"
    if measured.same:
        return "same", "the same on every image"
    if not np.isfinite([low, high]).all():
        return "unknown", "cannot be told: too few patients for an interval"
    if low <= 0 <= high:
        return "not shown", "no difference shown: interval includes 0"
    if measured.p > _LEVEL:
        return "not shown", "no difference shown: interval leaves out 0, but the permutation test does not confirm it"
    if p_holm > _LEVEL:
        return "not shown", f"no difference shown: not after correction for {comparisons} experiments"
    return ("better", "better") if low > 0 else ("worse", "worse")
