"""What one pass over the maps must keep so that every decision rule can be judged without them.

An image's score depends on its map only through counts: how many pixels lie above a level, and how many of those are in
the true mask. With both for all 256 grey levels, any rule is judged exactly in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.rule.cases import Case, patient_codes
from pneumoseg.rule.decision import DecisionRule, clean_mask, level_of, reaches_area
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.parallel import map_threads

Counts = NDArray[np.int64]
LEVELS = 256
_EXACT = 2**24 - 1


def histogram(values: NDArray[np.uint8], mask: NDArray[Any] | None = None) -> Counts:
    """Pixels of each grey level: (256,) int64.

    Args:
        values: (H, W) uint8.
        mask: (H, W) bool or uint8, of the pixels that count; all by default.
    """
    counts = np.zeros(LEVELS, np.int64)
    # OpenCV hands counts over in float32, which is exact below 2**24: larger images are counted in parts.
    step = max(1, _EXACT // values.shape[1])
    for start in range(0, values.shape[0], step):
        rows = slice(start, start + step)
        inside = None if mask is None else mask[rows].view(np.uint8)
        counts += cv2.calcHist([values[rows]], [0], inside, [LEVELS], [0, LEVELS]).ravel().astype(np.int64)
    return counts


def pixels_above(histograms: Counts) -> Counts:
    """Pixels above each grey level, (..., 256), from those of each: entry L counts values > L."""
    return np.asarray(histograms.sum(-1, keepdims=True) - histograms.cumsum(-1), np.int64)


@dataclass(frozen=True)
class LevelCounts:
    """Counts of N images at 256 grey levels, and of their masks at M mask thresholds after cleaning.

    Attributes:
        patients: (N,) patient number.
        probability: (N,) image probability of pneumothorax.
        image_px: (N,) pixels of the image.
        truth_px: (N,) pixels of the true mask.
        above: (N, 256) pixels with map > level.
        inside: (N, 256) those of them in the true mask.
        thresholds: the M mask thresholds for which cleaned masks were counted; none where nothing is cleaned.
        clean_px: (N, M) pixels of the cleaned mask at each.
        clean_inside: (N, M) those of them in the true mask.
    """

    patients: NDArray[np.int64]
    probability: NDArray[np.float64]
    image_px: Counts
    truth_px: Counts
    above: Counts
    inside: Counts
    thresholds: tuple[float, ...]
    clean_px: Counts
    clean_inside: Counts

    def masks(self, threshold: float, cleaned: bool) -> tuple[Counts, Counts]:
        """Pixels of every image's mask at a threshold and those in the true mask: two (N,)."""
        if cleaned:
            column = self.thresholds.index(threshold)
            return self.clean_px[:, column], self.clean_inside[:, column]
        return self.above[:, level_of(threshold)], self.inside[:, level_of(threshold)]

    def predicted(self, rule: DecisionRule) -> tuple[Counts, Counts]:
        """Predicted and intersecting pixels of every image under a rule: two (N,); as if its masks had been made."""
        called = np.asarray(rule.opens(self.probability), np.bool_)
        for level in rule.levels:
            counts = self.above[:, level_of(level.threshold)]
            called &= reaches_area(counts, level.min_area_px_at_1024, self.image_px)
        if rule.mask_threshold is None:
            raise DataError("a decision rule without a mask has no pixels to count")
        pixels, hits = self.masks(rule.mask_threshold, rule.cleans)
        return called * pixels, called * hits

    def outcomes(self, rule: DecisionRule) -> pd.DataFrame:
        """Every image under a rule: columns pneumothorax, called (its mask has a pixel) and dice."""
        pixels, hits = self.predicted(rule)
        return pd.DataFrame(
            {"pneumothorax": self.truth_px > 0, "called": pixels > 0, "dice": dice(hits, pixels, self.truth_px)}
        )


@dataclass(frozen=True)
class Cleaning:
    """For which mask thresholds cleaned masks are counted, and how they are cleaned."""

    thresholds: tuple[float, ...]
    min_component_px_at_1024: int
    fill_holes: bool

    @property
    def needed(self) -> tuple[float, ...]:
        """The thresholds, ascending; none where cleaning would change nothing."""
        return tuple(sorted(set(self.thresholds))) if self.min_component_px_at_1024 or self.fill_holes else ()


@dataclass(frozen=True)
class _ImageCounts:
    image_px: int
    truth_px: int
    above: Counts
    inside: Counts
    clean_px: list[int]
    clean_inside: list[int]


def _count(case: Case, cleaning: Cleaning) -> _ImageCounts:
    levels = case.read_map()
    truth = None if levels is None else case.read_truth(levels.shape)
    if levels is None or truth is None:
        raise DataError(f"{case.image_id} has no map or no known mask: nothing to count")
    masks = [
        clean_mask(levels > level_of(threshold), cleaning.min_component_px_at_1024, cleaning.fill_holes)
        for threshold in cleaning.needed
    ]
    return _ImageCounts(
        image_px=levels.size,
        truth_px=int(np.count_nonzero(truth)),
        above=pixels_above(histogram(levels)),
        inside=pixels_above(histogram(levels, truth)),
        clean_px=[int(np.count_nonzero(mask)) for mask in masks],
        clean_inside=[int(np.count_nonzero(mask & truth)) for mask in masks],
    )


def count_levels(cases: Sequence[Case], cleaning: Cleaning, workers: int | None) -> LevelCounts:
    """Go once through the maps of N cases whose masks are known; workers are threads, None for one a core.

    Raises:
        DataError: a file is missing or damaged, or a case has no map or no known mask.
    """
    counted = map_threads(partial(_count, cleaning=cleaning), cases, workers, "validation maps")
    shape = (len(counted), len(cleaning.needed))
    return LevelCounts(
        patients=patient_codes([case.patient for case in cases]),
        probability=np.array([case.probability for case in cases]),
        image_px=np.array([item.image_px for item in counted], np.int64),
        truth_px=np.array([item.truth_px for item in counted], np.int64),
        above=np.stack([item.above for item in counted]),
        inside=np.stack([item.inside for item in counted]),
        thresholds=cleaning.needed,
        clean_px=np.array([item.clean_px for item in counted], np.int64).reshape(shape),
        clean_inside=np.array([item.clean_inside for item in counted], np.int64).reshape(shape),
    )
