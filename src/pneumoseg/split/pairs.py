"""A radiograph and its mask, brought to one size and to 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.resizing import resize


def load_pair(layout: Layout, image_id: str, side_px: int | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read one image and its mask, all zero where it has no file in masks.

    Args:
        layout: holds images, 8 or 16 bit, and masks, 0 and 255, of any size.
        image_id: names both files.
        side_px: both become side_px x side_px; None: both have the size of the image's PNG.

    Returns:
        Image (H, W) uint8 and mask (H, W) uint8; a mask that was made smaller holds shares of a pixel's area · 255.

    Raises:
        DataError: the image is missing, or a file is damaged.
    """
    image = read_png(layout.image(image_id))
    if image.dtype == np.uint16:
        image = np.round(image / 257).astype(np.uint8)
    height, width = (side_px, side_px) if side_px else image.shape
    image = resize(image, height, width)
    path = layout.mask(image_id)
    mask = read_png(path) if path.exists() else np.zeros(image.shape, np.uint8)
    return image, resize(mask, height, width)
