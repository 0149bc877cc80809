"""The figures of a set of images, from the rows of test_cases.csv; each with its interval over patients.

A figure that the images cannot give (Dice of positives where there are none) is NaN, in JSON null; never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.stats.bootstrap import Interval, PatientBootstrap, Ratio

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
