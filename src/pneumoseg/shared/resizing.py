"""An image at a given size, whatever its proportions: one definition for networks, the search for copies, pictures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def resize(image: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Area means along axes that shrink, then linear interpolation along axes that grow.

    Args:
        image: (H, W) of any type that OpenCV takes.
        rows: wanted.
        columns: wanted.

    Returns:
        (rows, columns) of the same type; the array itself where it has that size.
    """
    smaller = (min(columns, image.shape[1]), min(rows, image.shape[0]))  # OpenCV's order: width, height
    if smaller != image.shape[::-1]:
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA))
    if smaller != (columns, rows):
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR))
    return image
