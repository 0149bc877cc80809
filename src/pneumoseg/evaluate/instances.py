"""Connected components as instances, and their average precision as in COCO.

A predicted component's score is its mean probability. At an IoU threshold it is a hit if a true component that no
better-scored one has taken overlaps it so far. Average precision is the mean of the interpolated precision at 101
recalls; AP is its mean over the IoU thresholds 0.50, 0.55 … 0.95 (Lin et al. 2014, COCO).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.decision import Map, Mask
from pneumoseg.stats.bootstrap import UNKNOWN, Interval, PatientBootstrap, percentile_interval

Floats = NDArray[np.float64]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_RECALLS = np.round(np.arange(101) / 100, 2)


@dataclass(frozen=True)
class ImageInstances:
    """Of one image: T true components; for P predicted ones, best score first, their scores and hits.

    Attributes:
        truths: T.
        scores: (P,) mean probability.
        hits: (P, 10) whether it is one, at each IoU threshold.
    """

    truths: int
    scores: Floats
    hits: NDArray[np.bool_]


def components(mask: Mask) -> tuple[int, NDArray[np.int32]]:
    """Count and label the 8-connected components: their number and (H, W) labels, 0 for background."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return count - 1, labels.astype(np.int32)


def match_instances(predicted: Mask, truth: Mask, probability_map: Map) -> ImageInstances:
    """Match the components of one image.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        probability_map: (H, W) uint8, round(255 p).
    """
    p_count, p_labels = components(predicted)
    t_count, t_labels = components(truth)
    if not p_count:
        return ImageInstances(t_count, np.empty(0), np.empty((0, len(IOU_THRESHOLDS)), np.bool_))
    inside = p_labels[predicted]
    p_area = np.bincount(inside, minlength=p_count + 1)[1:]
    mean = np.bincount(inside, weights=probability_map[predicted], minlength=p_count + 1)[1:] / p_area / 255.0
    pairs = inside.astype(np.int64) * (t_count + 1) + t_labels[predicted]
    shared = np.bincount(pairs, minlength=(p_count + 1) * (t_count + 1)).reshape(p_count + 1, t_count + 1)[1:, 1:]
    t_area = np.bincount(t_labels.ravel(), minlength=t_count + 1)[1:]
    iou = shared / (p_area[:, None] + t_area[None, :] - shared)
    order = np.argsort(-mean, kind="stable")
    hits = np.stack([_greedy(iou[order], threshold) for threshold in IOU_THRESHOLDS], axis=1)
    return ImageInstances(t_count, mean[order], hits)


def _greedy(iou: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which predictions, best score first, are hits: (P,) from (P, T) IoU."""
    hits = np.zeros(len(iou), np.bool_)
    taken: set[int] = set()
    for index in np.flatnonzero((iou >= threshold).any(axis=1)) if iou.size else ():
        free = [column for column in np.flatnonzero(iou[index] >= threshold) if column not in taken]
        if free:
            taken.add(int(max(free, key=lambda column: iou[index, column])))
            hits[index] = True
    return hits


def interpolated_precision(hits: Floats, false_calls: Floats, truths: float) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one; NaN without true instances.

    Args:
        hits: (D,) weight of each detection that is a hit, 0 for the others; best score first.
        false_calls: (D,) the same of those that are none.
        truths: weight of all true instances.
    """
    if truths <= 0:
        return float("nan")
    found = np.cumsum(hits)
    called = found + np.cumsum(false_calls)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # A recall of 0.07 reached as 0.06999… must count: compare with a hair's tolerance.
    return float(envelope[np.searchsorted(found / truths, _RECALLS - 1e-12)].mean())


@dataclass(frozen=True)
class InstanceFigures:
    """AP over all IoU thresholds, AP50 and AP75, each with its interval over patients."""

    truths: int
    predictions: int
    values: dict[str, float]
    intervals: dict[str, Interval]


def average_precision(images: Sequence[ImageInstances], bootstrap: PatientBootstrap) -> InstanceFigures:
    """Average precision over the instances of N images.

    Args:
        images: one for each image, in the order of the bootstrap's patients.
        bootstrap: of the patients.
    """
    truths = np.array([image.truths for image in images], np.float64)
    owner = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    scores = np.concatenate([image.scores for image in images] or [np.empty(0)])
    hits = np.concatenate([image.hits for image in images] or [np.empty((0, len(IOU_THRESHOLDS)), np.bool_)])
    order = np.argsort(-scores, kind="stable")
    owner, hits = owner[order], hits[order].astype(np.float64)

    def precisions(weights: NDArray[np.int64]) -> Floats:
        """(b, 3) AP, AP50, AP75 of (b, N) weights of images."""
        rows = []
        for row in weights.astype(np.float64):
            by_detection, total = row[owner], float(row @ truths)
            parts = [
                interpolated_precision(by_detection * column, by_detection * (1 - column), total) for column in hits.T
            ]
            rows.append((np.mean(parts), parts[0], parts[IOU_THRESHOLDS.index(0.75)]))
        return np.array(rows, np.float64).reshape(-1, 3)

    names = ("ap", "ap50", "ap75")
    value = precisions(np.ones((1, len(images)), np.int64))[0]
    replicates = bootstrap.statistic(precisions)
    intervals = {name: percentile_interval(replicates[:, column]) for column, name in enumerate(names)}
    for name, figure in zip(names, value, strict=True):
        if np.isnan(figure) or figure in (0.0, 1.0):  # resampling could only repeat it
            intervals[name] = UNKNOWN
    return InstanceFigures(int(truths.sum()), len(scores), dict(zip(names, map(float, value), strict=True)), intervals)
