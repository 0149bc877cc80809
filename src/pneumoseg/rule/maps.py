"""A probability map at the size of its radiograph: the one definition for training, prediction and use."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def restore_map(probability: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Bring a probability map back to the size of its radiograph.

    Args:
        probability: (h, w) float32 in [0, 1].
        rows: of the radiograph.
        columns: of the radiograph.

    Returns:
        (rows, columns) float32 in [0, 1], by bilinear interpolation.
    """
    grown = cv2.resize(probability, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.clip(grown, 0.0, 1.0).astype(np.float32, copy=False)


def grey_levels(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map as it is written and counted: round(255 p), uint8 of the same shape."""
    return np.rint(probability * 255).astype(np.uint8)
