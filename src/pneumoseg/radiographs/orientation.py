"""Whether a radiograph lies on its side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 64
_SHIFTS = np.arange(-20, 21, 2)  # of the middle of the chest from that of the image, twice, in pixels of _SIDE
_ANTIDIAGONALS = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)).ravel()
_MARGIN = 0.4


def lies_on_side(pixels: NDArray[Any]) -> bool:
    """Whether a frontal radiograph, (H, W), looks turned by 90 degrees.

    A chest is much the same left and right, and quite another above and below, so of an image on its side the upper
    half mirrors the lower one better than the left mirrors the right. The margin finds 6 of 10 such images and calls 3
    of 1,135 of SIIM-ACR such, which are not.
    """
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(small, (0, 0), _SIDE / 32), np.float64)
    smooth -= smooth.mean()
    return _symmetry(smooth.T) - _symmetry(smooth) > _MARGIN


def _symmetry(image: NDArray[np.float64]) -> float:
    """The highest correlation of an image of mean 0 with its mirror image, over shifts of its middle; 0 without any.

    Columns i and j mirror each other where i + j is the same: sums over antidiagonals of the Gram matrix.
    """
    gram = image.T @ image
    mirrored = np.bincount(_ANTIDIAGONALS, gram.ravel())[_SIDE - 1 + _SHIFTS]
    sums, squares = (_over_parts(columns) for columns in (image.sum(axis=0), gram.diagonal()))
    of_mean = sums**2 / (_SIDE * (_SIDE - np.abs(_SHIFTS)))
    power = squares - of_mean
    grey = power > 1e-9 * squares  # else of one level, but for rounding
    return float(np.max((mirrored - of_mean)[grey] / power[grey], initial=0.0))


def _over_parts(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the columns that stay in the image when its middle is shifted, one a shift."""
    summed = np.concatenate([[0.0], np.cumsum(columns)])
    return np.asarray(summed[_SIDE + np.minimum(_SHIFTS, 0)] - summed[np.maximum(_SHIFTS, 0)])
