"""What a test figure is: everything that tables, pages, comparisons and the tracking server must know of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.shared.registry import METRICS
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap, Ratio, Weighted

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A figure of a set of images.

    Attributes:
        name: its key in metrics/test.json.
        label: in words, for tables and plots.
        of: from rows as those of test_cases.csv, one an image, to a ratio of sums over the images or to another figure
            of weighted ones. What cannot be had of an image is NaN in the rows and counts for nothing. While the
            stage evaluate runs, a further column ``instances`` holds the ImageInstances of each image.
        unit: empty for what has none.
        better: which values are; None for what describes the images.
        headline: whether it stands at the head of the report and the card, and is compared between experiments.
        of_rule: whether it says what a decision rule is worth, and so is told of the plain rule, of validation images
            and by ``pneumoseg score`` too. It may need the columns pneumothorax, called and dice alone.
        subgroups: of which subgroups of images it is told: ``mixed``, those that may have both classes; ``any``, those
            of positive images too; ``against_negatives``, likewise, but positive images are set against all negative
            ones.
        section: the object of test.json that it stands in; empty for the top.
    """

    name: str
    label: str
    of: Callable[[pd.DataFrame], Ratio | Weighted]
    unit: str = ""
    better: Literal["higher", "lower"] | None = "higher"
    headline: bool = False
    of_rule: bool = False
    subgroups: Literal["", "mixed", "any", "against_negatives"] = ""
    section: Literal["", "surface", "instances"] = ""

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


def register(metric: Metric) -> Metric:
    """Put a figure on the list."""
    METRICS.register(metric.name, metric)
    return metric


def all_metrics() -> tuple[Metric, ...]:
    """The list of test figures, in the order of test.json."""
    return tuple(metric for _, metric in METRICS.items())


def estimate(metrics: Iterable[Metric], rows: pd.DataFrame, bootstrap: PatientBootstrap) -> dict[str, Estimate]:
    """The figures of some images by name, each with its interval over patients."""
    return bootstrap.estimates({metric.name: metric.of(rows) for metric in metrics})


def column(rows: pd.DataFrame, name: str) -> Floats:
    """A column of numbers, (N,) float64; NaN where a cell is empty."""
    return rows[name].to_numpy(np.float64, na_value=np.nan)


def of_masks(rows: pd.DataFrame, name: str) -> Floats:
    """A column of what is measured on masks, as ``column``; all of it NaN where no positive image has a value.

    Of negatives alone it would tell how many are called, under the name of a figure of masks. Where there is no
    positive image at all it stays as it is.
    """
    values, positive = column(rows, name), column(rows, "pneumothorax") > 0
    return values * np.nan if positive.any() and not np.isfinite(values[positive]).any() else values


def mean_of(values: Floats, counted: NDArray[np.bool_] | Floats | None = None, bounded: bool = True) -> Ratio:
    """The mean of (N,) values over the images that are counted (by default all) and have one."""
    known = np.isfinite(values) & (True if counted is None else counted > 0)
    return Ratio.of(np.where(known, values, 0.0), known, bounded)
