"""Connected components as instances, and which predicted ones hit a true one.

A predicted component's score is its mean probability. At an IoU threshold it is a hit if a true component that no
better-scored one has taken overlaps it so far (Lin et al. 2014, COCO).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.decision import Map, Mask

Floats = NDArray[np.float64]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


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
