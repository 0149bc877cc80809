"""The figures of a set of images, from the rows of test_cases.csv; each with its interval over patients.

A figure that the images cannot give (Dice of positives where there are none) is NaN, in JSON null; never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.stats.bootstrap import Interval, PatientBootstrap, Ratio
from pneumoseg.stats.ranking import auc_with_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """Values by name, and the intervals of those that have one."""

    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)

    def with_ratios(self, ratios: dict[str, Ratio], bootstrap: PatientBootstrap) -> Figures:
        """These figures and further ones."""
        values = {name: ratio.value for name, ratio in ratios.items()}
        return Figures({**self.values, **values}, {**self.intervals, **bootstrap.ratios(ratios)})

    def with_one(self, name: str, value: float, interval: Interval) -> Figures:
        """These figures and one more."""
        return Figures({**self.values, name: value}, {**self.intervals, name: interval})


def column(rows: pd.DataFrame, name: str) -> Floats:
    """A column of numbers, (N,) float64."""
    return rows[name].to_numpy(np.float64)


def dice_ratios(truth_px: Floats, predicted_px: Floats, score: Floats) -> dict[str, Ratio]:
    """The figures that always stand together: D_all, D_pos, sensitivity, specificity, all-empty score, prevalence.

    Args:
        truth_px: (N,) pixels of the true masks.
        predicted_px: (N,) pixels of the predicted ones; an image is called positive where there is one.
        score: (N,) Dice.
    """
    positive, called = (truth_px > 0).astype(np.float64), (predicted_px > 0).astype(np.float64)
    negative, one = 1 - positive, np.ones_like(positive)
    return {
        "dice_all": Ratio.of(score, one),
        "dice_pos": Ratio.of(score * positive, positive),
        "sensitivity": Ratio.of(called * positive, positive),
        "specificity": Ratio.of((1 - called) * negative, negative),
        "all_empty": Ratio.of(negative, one),
        "prevalence": Ratio.of(positive, one),
    }


def overlap_ratios(rows: pd.DataFrame) -> dict[str, Ratio]:
    """Intersection over union, per image; and Dice and IoU pooled over all pixels, which no image-wise mean equals."""
    truth, predicted, shared = (column(rows, name) for name in ("truth_px", "predicted_px", "intersection_px"))
    positive = (truth > 0).astype(np.float64)
    iou = column(rows, "iou")
    return {
        "iou": Ratio.of(iou, np.ones_like(iou)),
        "iou_pos": Ratio.of(iou * positive, positive),
        "pooled_dice": Ratio.of(2 * shared, truth + predicted),
        "pooled_iou": Ratio.of(shared, truth + predicted - shared),
    }


def call_ratios(rows: pd.DataFrame) -> dict[str, Ratio]:
    """Image-level figures of the call positive or negative, in which the mask's place does not matter.

    False positive and false negative percent are shares of all images, so that with accuracy they add up to 100
    (Deng et al. 2023).
    """
    positive, called = column(rows, "pneumothorax"), column(rows, "called")
    negative, silent, one = 1 - positive, 1 - called, np.ones(len(rows))
    return {
        "ppv": Ratio.of(positive * called, called),
        "npv": Ratio.of(negative * silent, silent),
        "f1": Ratio.of(2 * positive * called, positive + called),
        "accuracy": Ratio.of(positive * called + negative * silent, one),
        "false_positive_percent": Ratio.of(negative * called, one, scale=100.0),
        "false_negative_percent": Ratio.of(positive * silent, one, scale=100.0),
    }


def distance_ratios(rows: pd.DataFrame) -> dict[str, Ratio]:
    """Mean surface distances over the images in which both masks have a pixel."""
    found = {}
    for name in ("hd95_mm", "mean_surface_distance_mm", "hd95_px", "mean_surface_distance_px"):
        values = column(rows, name)
        known = np.isfinite(values)
        found[name] = Ratio.of(np.where(known, values, 0.0), known, bounded=False)
    return found


def core_figures(rows: pd.DataFrame, bootstrap: PatientBootstrap, prefix: str = "") -> Figures:
    """The figures of dice_ratios of the tuned rule, or with prefix ``plain_`` of the plain one."""
    ratios = dice_ratios(column(rows, "truth_px"), column(rows, f"{prefix}predicted_px"), column(rows, f"{prefix}dice"))
    return Figures().with_ratios(ratios, bootstrap)


def margin_of(first: Floats, second: Floats, bootstrap: PatientBootstrap) -> dict[str, Any]:
    """Mean paired difference of two scores of the same images, its interval and its verdict.

    The verdict is ``better`` or ``worse`` where the interval lies on one side of 0, else ``not shown``.
    """
    ratio = Ratio.of(first - second, np.ones_like(first), bounded=False)
    low, high = bootstrap.ratios({"difference": ratio})["difference"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "not shown"
    return {"difference": ratio.value, "interval": [low, high], "verdict": verdict}


def group_figures(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> Figures:
    """What is told of a subgroup: the figures of dice_ratios and the AUC."""
    value, interval = auc_with_interval(column(rows, "probability"), column(rows, "pneumothorax") > 0, bootstrap)
    return core_figures(rows, bootstrap).with_one("auc", value, interval)
