"""Per-image Dice as the SIIM-ACR competition defines it; the one definition that training and evaluation share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def dice(intersection: ArrayLike, predicted: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Dice 2|X∩Y| / (|X|+|Y|) of images from their pixel counts, element by element.

    An image without pneumothorax and without a predicted pixel scores 1, one with just one of them 0; so that an
    all-empty prediction scores the share of negatives (SIIM-ACR evaluation rule). Never pool before this.

    Args:
        intersection: pixels in both masks, any shape.
        predicted: pixels of the predicted mask, same shape.
        truth: pixels of the true mask, same shape.
    """
    total = np.asarray(predicted, np.float64) + np.asarray(truth, np.float64)
    doubled = 2.0 * np.asarray(intersection, np.float64)
    return np.where(total == 0, 1.0, doubled / np.where(total == 0, 1.0, total))
