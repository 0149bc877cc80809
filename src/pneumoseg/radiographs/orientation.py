"""Whether a radiograph lies on its side."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 64
_SHIFT, _STEP = 20, 2  # of the middle of the chest from that of the image, twice, in pixels of _SIDE
_MARGIN = 0.4


def lies_on_side(pixels: NDArray[Any]) -> bool:
    """Whether a frontal radiograph, (H, W), looks turned by 90 degrees.

    A chest is much the same left and right, and quite another above and below, so of an image on its side the upper
    half mirrors the lower one better than the left mirrors the right. The margin finds 6 of 10 such images and calls 3
    of 1,135 of SIIM-ACR such, which are not.
    """
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), _SIDE / 32), np.float32)
    return _symmetry(small.T) - _symmetry(small) > _MARGIN


def _symmetry(image: NDArray[np.float32]) -> float:
    """The highest correlation of an image with its mirror image, over shifts of its middle; 0 without any."""
    width, found = image.shape[1], [0.0]
    for shift in range(0, _SHIFT + 1, _STEP):
        for part in (image[:, shift:], image[:, : width - shift]):
            centred = part - part.mean(dtype=np.float64)
            power = np.vdot(centred, centred)
            if power > 0:
                found.append(float(np.vdot(centred, centred[:, ::-1]) / power))
    return max(found)
