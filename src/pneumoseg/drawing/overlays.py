"""Masks shown on radiographs: where truth and prediction agree, in colours that colour-blind readers tell apart.

The three colours are sky blue, vermilion and yellow of Okabe and Ito's palette (https://jfly.uni-koeln.de/color/):
they differ in lightness as well as in hue. Missed pixels are striped too, so that print in grey still tells them.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.resizing import resize

TRUE_POSITIVE: Final = 1
FALSE_POSITIVE: Final = 2
FALSE_NEGATIVE: Final = 3
#: RGB of each class: truth and prediction agree, prediction only, truth only.
COLOURS: Final[dict[int, tuple[int, int, int]]] = {
    TRUE_POSITIVE: (86, 180, 233),
    FALSE_POSITIVE: (222, 94, 20),
    FALSE_NEGATIVE: (240, 228, 66),
}
TRUTH_COLOUR: Final = COLOURS[FALSE_NEGATIVE]
PREDICTION_COLOUR: Final = COLOURS[FALSE_POSITIVE]
#: RGB, reddish purple of the same palette.
ACTIVATION_COLOUR: Final = (204, 121, 167)
_ACTIVATION_ALPHA = 190  # of 255, where a network is certain
_FILL_ALPHA = 70  # of 255, inside an outline: the lung below stays readable
_GAP_ALPHA = 110  # of 255, between the stripes of missed pixels


def display_size(shape: tuple[int, ...], size_px: int) -> tuple[int, int]:
    """(rows, columns) at which an image of ``shape`` is shown: longer side at most ``size_px``, never enlarged."""
    factor = min(1.0, size_px / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def display_image(image: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An 8-bit radiograph at display size.

    Args:
        image: (H, W) uint8 or uint16, full range.
        size: (h, w) in pixels; it may differ from the masks' size where extraction made smaller images.

    Returns:
        (h, w) uint8.

    Raises:
        DataError: another type or shape.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"a radiograph must be grey, 8 or 16 bit; this one is {image.dtype} of shape {image.shape}")
    scale = 257.0 if image.dtype == np.uint16 else 1.0
    resized = resize(image.astype(np.float32), *size) / scale
    return np.asarray(np.clip(np.rint(resized), 0, 255), np.uint8)


def display_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at display size: pixels at least half covered, or any touched one where otherwise nothing were left.

    Args:
        mask: (H, W) bool.
        size: (h, w) in pixels.

    Returns:
        (h, w) bool.
    """
    covered = resize(mask.astype(np.float32), *size)
    halves = np.asarray(covered >= 0.5, np.bool_)
    return halves if halves.any() else np.asarray(covered > 0, np.bool_)


def agreement(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Class of each pixel: 0 neither, or TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE.

    Args:
        truth: (H, W) bool.
        predicted: (H, W) bool.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise DataError(f"truth {truth.shape} and prediction {predicted.shape} differ in size; run dvc repro")
    classes = np.zeros(truth.shape, np.uint8)
    classes[truth & predicted] = TRUE_POSITIVE
    classes[~truth & predicted] = FALSE_POSITIVE
    classes[truth & ~predicted] = FALSE_NEGATIVE
    return classes


def agreement_layer(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The classes as a transparent picture: filled colours, stripes where pneumothorax was missed.

    Args:
        classes: (H, W) uint8 of ``agreement``.

    Returns:
        (H, W, 4) uint8 RGBA.
    """
    layer = np.zeros((*classes.shape, 4), np.uint8)
    for value, colour in COLOURS.items():
        layer[classes == value] = (*colour, 255)
    rows, columns = np.indices(classes.shape)
    period = max(4, max(classes.shape) // 64)
    gaps = ((rows + columns) // (period // 2)) % 2 == 1
    layer[(classes == FALSE_NEGATIVE) & gaps, 3] = _GAP_ALPHA
    return layer


def outline_layer(mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A mask as a transparent picture: its outline in full colour, its inside lightly tinted.

    Args:
        mask: (H, W) bool.
        colour: RGB, 0 to 255.

    Returns:
        (H, W, 4) uint8 RGBA.
    """
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = (*colour, _FILL_ALPHA)
    layer[_outline(mask)] = (*colour, 255)
    return layer


def activation_layer(looked: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Where a network looked, as a transparent picture in one colour that no mask has, without any outline.

    Args:
        looked: (h, w) uint8, round(255 p) on a coarse grid.
        size: (rows, columns) of the picture.

    Returns:
        (rows, columns, 4) uint8 RGBA, the more opaque the higher.
    """
    layer = np.empty((*size, 4), np.uint8)
    layer[..., :3] = ACTIVATION_COLOUR
    layer[..., 3] = np.rint(resize(looked.astype(np.float32), *size) * (_ACTIVATION_ALPHA / 255))
    return layer


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The inner rim of a mask, (H, W) bool; about 1/200 of the longer side wide."""
    width = max(1, round(max(mask.shape) / 200))
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0), np.bool_)
