"""The figures of subgroups of images, and the test between small and large pneumothoraces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.metric import all_metrics, column, estimate, mean_of
from pneumoseg.evaluate.result import SizeTest, Subgroup
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap, Weighted
from pneumoseg.stats.permutations import shuffled_p
from pneumoseg.stats.ranking import weighted_auc

SIZES = ("small", "medium", "large")


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
    for name in ("sex", "age_band", "view_position"):
        for value in sorted(set(rows[name]), key=_in_order):
            yield name, value, (rows[name] == value).to_numpy()


def _in_order(value: str) -> tuple[bool, bool, int, str]:
    """``<18`` before ``18-39`` before ``>=80``; ``unknown`` last."""
    digits = "".join(character if character.isdigit() else " " for character in value).split()
    return value == "unknown", not value.startswith("<"), int(digits[0]) if digits else 0, value


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
    AUC: difference of the areas of large and small against all negatives, with its interval over patients.
    """
    small, large = ((rows["lesion_size"] == size).to_numpy() for size in ("small", "large"))
    score, probability = column(rows, "dice"), column(rows, "probability")
    negative = column(rows, "pneumothorax") == 0

    def dice_gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means = [(weights[:, group] @ score[group]) / weights[:, group].sum(axis=1) for group in (small, large)]
        return np.asarray(means[1] - means[0], np.float64)

    def auc_gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [
            weighted_auc(probability[group | negative], group[group | negative], weights[:, group | negative])
            for group in (small, large)
        ]
        return np.asarray(areas[1] - areas[0], np.float64)

    gaps = {"dice_difference": Weighted(dice_gap, len(rows)), "auc_difference": Weighted(auc_gap, len(rows))}
    p = shuffled_p(score[small], score[large], permutations, seed)
    return SizeTest(
        figures=bootstrap.estimates(gaps),
        n_small=int(small.sum()),
        n_large=int(large.sum()),
        dice_pos_small=Estimate.of(mean_of(score, small).value).value,
        dice_pos_large=Estimate.of(mean_of(score, large).value).value,
        dice_permutation_p=Estimate.of(p).value,
    )
