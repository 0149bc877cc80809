"""Which predicted instances hit a true one, by mask and by box, as in COCO.

True instances are the 8-connected components of the true mask. Predicted ones are the findings that a detector tells
apart, with its scores, whatever the decision rule; of a network that gives a map alone, the components of the decided
mask, each with its mean probability as score. At an IoU threshold a prediction is a hit if a true instance that no
better-scored one has taken overlaps it so far (Lin et al. 2014, COCO).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.decision import Map, Mask
from pneumoseg.rule.findings import Finding

Floats = NDArray[np.float64]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True)
class ImageInstances:
    """Of one image: T true instances; for P predicted ones, best score first, their scores and hits.

    Attributes:
        truths: T.
        scores: (P,).
        hits: (P, 10) whether its mask is one, at each IoU threshold.
        box_hits: (P, 10) whether its box is one.
    """

    truths: int
    scores: Floats
    hits: NDArray[np.bool_]
    box_hits: NDArray[np.bool_]


@dataclass(frozen=True)
class Components:
    """The 8-connected components of a mask.

    Attributes:
        labels: (H, W), 1 to T; 0 for background.
        areas: (T,) pixels.
        boxes: (T, 4) x1, y1, x2, y2; the ends lie behind the last pixel.
    """

    labels: NDArray[np.int32]
    areas: NDArray[np.int64]
    boxes: Floats

    @classmethod
    def of(cls, mask: Mask) -> Self:
        """Count, label and measure them."""
        _, labels, table, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        corners, areas = table[1:, :2].astype(np.float64), table[1:, cv2.CC_STAT_AREA].astype(np.int64)
        return cls(np.asarray(labels, np.int32), areas, np.hstack([corners, corners + table[1:, 2:4]]))


def extent(*masks: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold everything that is marked in any of the masks, (H, W) bool; at least one pixel."""
    x, y, width, height = cv2.boundingRect(np.logical_or.reduce(masks).view(np.uint8))
    return slice(y, y + max(height, 1)), slice(x, x + max(width, 1))


def count_components(mask: Mask) -> int:
    """How many 8-connected components a mask has, (H, W) bool."""
    return int(cv2.connectedComponents(mask[extent(mask)].astype(np.uint8), connectivity=8)[0]) - 1


def match_instances(predicted: Mask, truth: Mask, probability_map: Map) -> ImageInstances:
    """Match the components of one image.

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        probability_map: (H, W) uint8, round(255 p).
    """
    part = extent(predicted, truth)
    predicted, truth, probability_map = predicted[part], truth[part], probability_map[part]
    ours, true = Components.of(predicted), Components.of(truth)
    p_count, t_count = len(ours.areas), len(true.areas)
    inside = ours.labels[predicted]
    mean = np.bincount(inside, weights=probability_map[predicted], minlength=p_count + 1)[1:] / ours.areas / 255.0
    pairs = inside.astype(np.int64) * (t_count + 1) + true.labels[predicted]
    shared = np.bincount(pairs, minlength=(p_count + 1) * (t_count + 1)).reshape(p_count + 1, t_count + 1)[1:, 1:]
    return _matched(mean, _iou(shared, ours.areas, true.areas), _box_iou(ours.boxes, true.boxes))


def match_findings(findings: Sequence[Finding], truth: Mask) -> ImageInstances:
    """Match what a detector finds in one image.

    Args:
        findings: in any order.
        truth: (H, W) bool.
    """
    true = Components.of(truth)
    count = len(true.areas)
    scores = np.array([one.score for one in findings])
    shared = np.array([np.bincount(true.labels[one.mask], minlength=count + 1)[1:] for one in findings])
    shared = shared.reshape(len(findings), count)
    areas = np.array([np.count_nonzero(one.mask) for one in findings], np.int64)
    boxes = np.array([one.box for one in findings]).reshape(-1, 4)
    return _matched(scores, _iou(shared, areas, true.areas), _box_iou(boxes, true.boxes))


def _matched(scores: Floats, iou: Floats, box_iou: Floats) -> ImageInstances:
    """From (P,) scores and (P, T) IoU of masks and of boxes."""
    order = np.argsort(-scores, kind="stable")
    hits, box_hits = (
        np.stack([_greedy(one[order], threshold) for threshold in IOU_THRESHOLDS], axis=1) for one in (iou, box_iou)
    )
    return ImageInstances(iou.shape[1], scores[order], hits, box_hits)


def _iou(
    shared: NDArray[np.int64] | Floats, one: NDArray[np.int64] | Floats, other: NDArray[np.int64] | Floats
) -> Floats:
    """(P, T) from shared areas (P, T) and areas (P,) and (T,)."""
    union = one[:, None] + other[None, :] - shared
    return np.divide(shared, union, out=np.zeros(union.shape), where=union > 0)


def _box_iou(one: Floats, other: Floats) -> Floats:
    """(P, T) of boxes (P, 4) and (T, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    return _iou(shared, (one[:, 2:] - one[:, :2]).prod(axis=1), (other[:, 2:] - other[:, :2]).prod(axis=1))


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
