"""The figures of subgroups of images, and the test between small and large pneumothoraces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.stats.bootstrap import Interval, PatientBootstrap, percentile_interval
from pneumoseg.stats.figures import column, group_figures
from pneumoseg.stats.ranking import weighted_auc

SIZES = ("small", "medium", "large")
_SHOWN = ("dice_all", "dice_pos", "sensitivity", "specificity", "auc", "prevalence")


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


def subgroup_table(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> list[dict[str, Any]]:
    """Give a record for each subgroup that has an image: n, positives, patients, and figures with their intervals.

    For groups of positive images the AUC sets them against all negative ones (as Thian et al. 2021 do).
    """
    negative = column(rows, "pneumothorax") == 0
    records = []
    for by, name, inside in members(rows):
        if not inside.any():
            continue
        only_positive = by in ("lesion_size", "components")
        group = rows[inside]
        figures = group_figures(group, bootstrap.subset(inside))
        if only_positive:
            against = inside | negative
            ranked = group_figures(rows[against], bootstrap.subset(against))
            figures = figures.with_one("auc", ranked.values["auc"], ranked.intervals["auc"])
        shown = ("dice_pos", "sensitivity", "auc") if only_positive else _SHOWN
        record: dict[str, Any] = {
            "by": by,
            "group": name,
            "n": len(group),
            "positives": int(column(group, "pneumothorax").sum()),
            "patients": int(group["patient"].nunique()),
        }
        for key in shown:
            record[key] = figures.values[key]
            record[f"{key}_interval"] = list(figures.intervals[key])
        records.append(record)
    return records


def size_test(rows: pd.DataFrame, bootstrap: PatientBootstrap, permutations: int, seed: int) -> dict[str, Any]:
    """Test whether large pneumothoraces are segmented and found better than small ones.

    Dice: difference of the means (large - small), its interval over patients, and a two-sided permutation test that
    shuffles the sizes among these images (Phipson and Smyth 2010: p is never 0). The test takes images as
    exchangeable, which several images of a patient are not quite; the interval does not.
    AUC: difference of the areas of large and small against all negatives, with its interval over patients.

    Returns:
        Values with n of both groups; NaN where a group is empty.
    """
    small, large = ((rows["lesion_size"] == size).to_numpy() for size in ("small", "large"))
    score = column(rows, "dice")
    unknown = float("nan")
    result: dict[str, Any] = {
        "n_small": int(small.sum()),
        "n_large": int(large.sum()),
        "dice_pos_small": unknown,
        "dice_pos_large": unknown,
        "dice_difference": unknown,
        "dice_difference_interval": [unknown, unknown],
        "dice_permutation_p": unknown,
        "auc_difference": unknown,
        "auc_difference_interval": [unknown, unknown],
    }
    if not small.any() or not large.any():
        return result
    result["dice_pos_small"], result["dice_pos_large"] = float(score[small].mean()), float(score[large].mean())
    result["dice_difference"] = result["dice_pos_large"] - result["dice_pos_small"]
    result["dice_difference_interval"] = list(_dice_interval(score, small, large, bootstrap))
    result["dice_permutation_p"] = permutation_p(score[small], score[large], permutations, seed)
    value, interval = _auc_difference(rows, small, large, bootstrap)
    result["auc_difference"], result["auc_difference_interval"] = value, list(interval)
    return result


def _dice_interval(
    score: NDArray[np.float64], small: NDArray[np.bool_], large: NDArray[np.bool_], bootstrap: PatientBootstrap
) -> Interval:
    def gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means = [(weights[:, group] @ score[group]) / weights[:, group].sum(axis=1) for group in (small, large)]
        return np.asarray(means[1] - means[0], np.float64)

    return percentile_interval(bootstrap.statistic(gap))


def permutation_p(first: NDArray[np.float64], second: NDArray[np.float64], permutations: int, seed: int) -> float:
    """Two-sided p of the difference of two means under shuffling of the group labels."""
    pooled = np.concatenate([first, second])
    observed = abs(second.mean() - first.mean())
    rng = np.random.default_rng(seed)
    total, count, extreme = pooled.sum(), len(first), 0
    for _ in range(permutations):
        part = rng.permutation(pooled)[:count].sum()
        gap = abs((total - part) / len(second) - part / count)
        extreme += bool(gap >= observed - 1e-12)
    return (1 + extreme) / (1 + permutations)


def _auc_difference(
    rows: pd.DataFrame, small: NDArray[np.bool_], large: NDArray[np.bool_], bootstrap: PatientBootstrap
) -> tuple[float, Interval]:
    negative = column(rows, "pneumothorax") == 0
    probability = column(rows, "probability")

    def gap(weights: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = [
            weighted_auc(probability[group | negative], group[group | negative], weights[:, group | negative])
            for group in (small, large)
        ]
        return np.asarray(areas[1] - areas[0], np.float64)

    value = float(gap(np.ones((1, len(rows)), np.int64))[0])
    return value, percentile_interval(bootstrap.statistic(gap)) if np.isfinite(value) else (value, value)
