"""A probability map at the size of its radiograph: the one definition for training, prediction and use.

It is computed in whole 65535ths, so that every processor finds the same: OpenCV here, map_counts on a GPU. 65535 is
255 x 257, so that rounding a second time, to 255ths, gives what rounding once would, and no 65535th lies half-way.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Steps from 0 to 1 in which maps are enlarged.
STEPS = 65535


def enlarge_map(probability: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.uint16]:
    """Bring a probability map back to the size of its radiograph, by bilinear interpolation in whole numbers.

    Args:
        probability: (h, w) float32 in [0, 1].
        rows: of the radiograph.
        columns: of the radiograph.

    Returns:
        (rows, columns) uint16, in 65535ths.
    """
    small = np.rint(probability * np.float32(STEPS)).astype(np.uint16)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR_EXACT), np.uint16)


def restore_map(probability: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """The same as probabilities: (rows, columns) float32 in [0, 1]."""
    return np.true_divide(enlarge_map(probability, rows, columns), np.float32(STEPS), dtype=np.float32)


def grey_levels(whole: NDArray[np.uint16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map as it is written and counted: round(255 p), uint8 of the same shape.

    Args:
        whole: (rows, columns), of enlarge_map or of restore_map: both give the same.
    """
    steps = STEPS if whole.dtype == np.uint16 else 1
    return np.asarray(cv2.convertScaleAbs(whole, alpha=255 / steps), np.uint8)
