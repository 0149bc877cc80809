"""The figures of subgroups of images, and the test between small and large pneumothoraces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.measuring import TEST_CASES, UNWRITTEN
from pneumoseg.evaluate.metric import all_metrics, column, estimate, mean_of
from pneumoseg.evaluate.result import GroupTest, SizeTest, Subgroup
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap, Weighted
from pneumoseg.stats.permutations import shuffled_p
from pneumoseg.stats.ranking import placements, weighted_auc

SIZES = ("small", "medium", "large")
#: The group of images of which a table does not tell.
UNKNOWN_GROUP = "unknown"


def members(rows: pd.DataFrame) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Yield every subgroup: what it is by, its name, and (N,) whether an image is in it.

    Lesion size and number of components divide the positive images only.
    """
    positive = column(rows, "pneumothorax") > 0
    for size in SIZES:
        yield "lesion_size", size, (rows["lesion_size"] == size).to_numpy()
    parts = column(rows, "truth_components")
    yield "components", "one", positive & (parts == 1)
    yield "components", "several", positive & (parts > 1)
    for name in ("sex", "age_band", "view_position", *further(rows)):
        for value in sorted(set(rows[name]), key=_in_order):
            yield name, value, (rows[name] == value).to_numpy()


def further(rows: pd.DataFrame) -> tuple[str, ...]:
    """The columns of evaluate.subgroup_table that come after those of test_cases.csv."""
    return tuple(name for name in rows.columns if name not in TEST_CASES and name not in UNWRITTEN)


def _in_order(value: str) -> tuple[bool, bool, int, str]:
    """``<18`` before ``18-39`` before ``>=80``; ``unknown`` last."""
    digits = "".join(character if character.isdigit() else " " for character in value).split()
    return value == UNKNOWN_GROUP, not value.startswith("<"), int(digits[0]) if digits else 0, value


def subgroup_table(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> tuple[Subgroup, ...]:
    """Give every subgroup that has an image its figures with their intervals.

    What ranks images is told of groups of positive images against all negative ones (as Thian et al. 2021 do).
    """
    negative = column(rows, "pneumothorax") == 0
    found = []
    for by, name, inside in members(rows):
        if not inside.any():
            continue
        only_positive = by in ("lesion_size", "components")
        told = [
            metric
            for metric in all_metrics()
            if metric.subgroups and not (only_positive and metric.subgroups == "mixed")
        ]
        ranked = [metric for metric in told if only_positive and metric.subgroups == "against_negatives"]
        figures: dict[str, Estimate] = {}
        for metrics, chosen in (
            ([metric for metric in told if metric not in ranked], inside),
            (ranked, inside | negative),
        ):
            figures |= estimate(metrics, rows[chosen], bootstrap.subset(chosen))
        found.append(
            Subgroup(
                by=by,
                group=name,
                n=int(inside.sum()),
                positives=int((inside & ~negative).sum()),
                patients=int(rows.loc[inside, "patient"].nunique()),
                n_mask_known=int(rows.loc[inside, "truth_px"].notna().sum()),
                figures=figures,
            )
        )
    return tuple(found)


def size_test(rows: pd.DataFrame, bootstrap: PatientBootstrap, permutations: int, seed: int) -> SizeTest:
    """Test whether large pneumothoraces are segmented and found better than small ones.

    Dice: difference of the means (large - small), its interval over patients, and a two-sided permutation test that
    shuffles the sizes among these images (Phipson and Smyth 2010: p is never 0). The test takes images as
    exchangeable, which several images of a patient are not quite; the interval does not.
    AUC: difference of the areas of large and small against all negatives, with its interval over patients and a test of
    the same kind, which shuffles the sizes of the positives' placements among the negatives.
    """
    small, large = ((rows["lesion_size"] == size).to_numpy() for size in ("small", "large"))
    score = column(rows, "dice")

    def dice_gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means = [(weights[:, group] @ score[group]) / weights[:, group].sum(axis=1) for group in (small, large)]
        return np.asarray(means[1] - means[0], np.float64)

    gaps = {"dice_difference": Weighted(dice_gap, len(rows)), "auc_difference": _auc_gap(rows, large, small)}
    p = shuffled_p(score[small], score[large], permutations, seed)
    return SizeTest(
        figures=bootstrap.estimates(gaps),
        n_small=int(small.sum()),
        n_large=int(large.sum()),
        dice_pos_small=Estimate.of(mean_of(score, small).value).value,
        dice_pos_large=Estimate.of(mean_of(score, large).value).value,
        dice_permutation_p=Estimate.of(p).value,
        auc_permutation_p=_auc_p(rows, small, large, permutations, seed),
    )


def group_tests(rows: pd.DataFrame, bootstrap: PatientBootstrap, permutations: int, seed: int) -> tuple[GroupTest, ...]:
    """Test each column of evaluate.subgroup_table that has two values among positive images, as in size_test."""
    positive, found = column(rows, "pneumothorax") > 0, []
    for by in further(rows):
        values = sorted(set(rows.loc[positive, by]) - {UNKNOWN_GROUP}, key=_in_order)
        if len(values) != 2:
            continue
        first, second = (positive & (rows[by] == value).to_numpy() for value in values)
        found.append(
            GroupTest(
                by=by,
                first=values[0],
                second=values[1],
                n_first=int(first.sum()),
                n_second=int(second.sum()),
                figures=bootstrap.estimates({"auc_difference": _auc_gap(rows, first, second)}),
                auc_permutation_p=_auc_p(rows, first, second, permutations, seed),
            )
        )
    return tuple(found)


def _auc_gap(rows: pd.DataFrame, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Weighted:
    """By how much the AUC of one group of positive images against all negatives is above that of another."""
    probability, negative = column(rows, "probability"), column(rows, "pneumothorax") == 0

    def gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [
            weighted_auc(probability[group | negative], group[group | negative], weights[:, group | negative])
            for group in (first, second)
        ]
        return np.asarray(areas[0] - areas[1], np.float64)

    return Weighted(gap, len(rows))


def _auc_p(
    rows: pd.DataFrame, first: NDArray[np.bool_], second: NDArray[np.bool_], permutations: int, seed: int
) -> float | None:
    placed = placements(column(rows, "probability"), column(rows, "pneumothorax") > 0)
    return Estimate.of(shuffled_p(placed[first], placed[second], permutations, seed)).value
