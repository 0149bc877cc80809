"""Distances between the outlines of two masks, in millimetres or pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pneumoseg.evaluate.instances import extent
from pneumoseg.rule.decision import Mask

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True)
class SurfaceDistances:
    """Of one image: the 95 % Hausdorff distance and the mean surface distance."""

    hd95: float
    mean: float


def surface_points(mask: Mask) -> NDArray[np.int64]:
    """The mask's pixels that touch its outside over an edge; beyond the image is outside.

    Args:
        mask: (H, W) bool.

    Returns:
        (N, 2) row and column.
    """
    part = extent(mask)
    pixels = mask[part].astype(np.uint8)
    inner = cv2.erode(pixels, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(np.argwhere(pixels > inner) + [one.start for one in part], np.int64)


def surface_distances(first: Mask, second: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> SurfaceDistances | None:
    """Distances between the surface pixels of two masks; None where one of them is empty.

    HD95 is the larger of the two directed 95th percentiles, the mean is that of all distances in both directions
    (Maier-Hein et al. 2024, Metrics reloaded).

    Args:
        first: (H, W) bool.
        second: (H, W) bool.
        spacing: of rows and of columns, e.g. in millimetres; the result has its unit.
    """
    points = [surface_points(mask) * np.asarray(spacing) for mask in (first, second)]
    if not all(len(part) for part in points):
        return None
    there = cKDTree(points[1]).query(points[0])[0]
    back = cKDTree(points[0]).query(points[1])[0]
    hd95 = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    return SurfaceDistances(hd95, float(np.concatenate([there, back]).mean()))
