"""Figures of the call positive or negative, in which the mask's place does not matter.

False positive and false negative percent are shares of all images, so that with accuracy they add up to 100
(Deng et al. 2023).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.metric import Floats, Metric, column, mean_of, register
from pneumoseg.stats.bootstrap import UNKNOWN, Ratio, Weighted


def _f1(rows: pd.DataFrame) -> Ratio:
    positive, called = column(rows, "pneumothorax"), column(rows, "called")
    return Ratio.of(2 * positive * called, positive + called)


def _accuracy(rows: pd.DataFrame) -> Ratio:
    return mean_of(1 - abs(column(rows, "pneumothorax") - column(rows, "called")))


def _percent(rows: pd.DataFrame, wrong: int) -> Ratio:
    """Images whose call minus truth is ``wrong``, of all images."""
    found = column(rows, "called") - column(rows, "pneumothorax") == wrong
    return Ratio.of(found, [1.0] * len(rows), scale=100.0)


PPV = register(
    Metric(
        "ppv", "positive predictive value", lambda rows: mean_of(column(rows, "pneumothorax"), column(rows, "called"))
    )
)
NPV = register(
    Metric(
        "npv", "negative predictive value",
        lambda rows: mean_of(1 - column(rows, "pneumothorax"), 1 - column(rows, "called")),
    )
)  # fmt: skip


def predictive_values(rows: pd.DataFrame, prevalence: float) -> dict[str, Weighted]:
    """PPV and NPV of the same sensitivity and specificity at another prevalence, by Bayes' theorem."""
    positive, called = column(rows, "pneumothorax") > 0, column(rows, "called") > 0

    def value(weights: NDArray[np.int64], of_calls: bool) -> Floats:
        right, right_of = called == of_calls, positive == of_calls
        share = prevalence if of_calls else 1 - prevalence
        with np.errstate(invalid="ignore", divide="ignore"):
            found = weights[:, right_of & right].sum(axis=1) / weights[:, right_of].sum(axis=1) * share
            wrong = weights[:, ~right_of & right].sum(axis=1) / weights[:, ~right_of].sum(axis=1) * (1 - share)
            return np.asarray(found / (found + wrong), np.float64)

    # Resampling could only repeat a perfect value.
    exact = {1.0: lambda _: UNKNOWN, 0.0: lambda _: UNKNOWN}
    return {metric.name: Weighted(partial(value, of_calls=metric is PPV), len(rows), exact) for metric in (PPV, NPV)}


register(Metric("f1", "F1 of the image call", _f1))
register(Metric("accuracy", "accuracy of the image call", _accuracy))
for _name, _label, _wrong in (
    ("false_positive_percent", "false positive calls of all images", 1),
    ("false_negative_percent", "false negative calls of all images", -1),
):
    register(Metric(_name, _label, partial(_percent, wrong=_wrong), unit="%", better="lower"))
