"""One radiograph under every recipe, with the outline of its mask: do image and mask still agree?"""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import NONE, AugmentParams
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.split.materialized import row_seed
from pneumoseg.split.pairs import load_pair

_TILE_PX = 320
_GAP_PX = 8
_CAPTION_PX = 26
_HEAD_PX = 58
_COLUMNS = 5
_OUTLINE_RGB = (255, 176, 0)  # amber: seen on black and on white, and by colour-blind readers
_INK_RGB = (235, 235, 235)
_PAPER_RGB = (24, 24, 24)


def choose_example(images: pd.DataFrame) -> str:
    """The image to show: the positive at the upper quartile of mask area, large enough to see and not extreme.

    Any positive, shown without an outline, where no mask is known.

    Args:
        images: with columns image_id, pneumothorax, area_fraction; at least one positive.
    """
    positives = images[images["pneumothorax"] == 1].sort_values(["area_fraction", "image_id"])
    if positives["area_fraction"].notna().any():
        positives = positives[positives["area_fraction"].notna()]
    return str(positives["image_id"].iloc[(3 * (len(positives) - 1) + 2) // 4])


def write_contact_sheet(layout: Layout, image_id: str, params: AugmentParams, seed: int, phantom: bool) -> None:
    """Write augmentations.png with one tile for ``none`` and for each of augment.recipes.

    Each recipe is shown by itself: under augment.online, which training adds to every one, none could be told apart.

    Args:
        layout: images and masks are read; the sheet lies in splits.
        image_id: a positive image.
        params: section augment.
        seed: split.seed.
        phantom: whether the image is a phantom; the heading then says so.
    """
    image, mask = load_pair(layout, image_id, _TILE_PX)
    augmenter = Augmenter(params)
    names = (NONE, *params.recipes)
    rows = -(-len(names) // _COLUMNS)
    width = _COLUMNS * (_TILE_PX + _GAP_PX) + _GAP_PX
    height = _HEAD_PX + rows * (_TILE_PX + _CAPTION_PX + _GAP_PX)
    sheet = Image.new("RGB", (width, height), _PAPER_RGB)
    draw = ImageDraw.Draw(sheet)
    heading = "Augmentations, with the outline of the mask" + (" (phantom data)" if phantom else "")
    draw.text((_GAP_PX, 6), heading, _INK_RGB, ImageFont.load_default(24))
    online = "" if params.online is None else f"; in training {params.online} (augment.online) follows each of them"
    draw.text((_GAP_PX, 36), f"image {image_id}{online}", _INK_RGB, ImageFont.load_default(16))
    for index, name in enumerate(names):
        left = _GAP_PX + index % _COLUMNS * (_TILE_PX + _GAP_PX)
        top = _HEAD_PX + index // _COLUMNS * (_TILE_PX + _CAPTION_PX + _GAP_PX)
        tile = outlined(*augmenter(name, image, mask, row_seed(seed, image_id, name, 1), online=False))
        draw.text((left, top + 2), name, _INK_RGB, ImageFont.load_default(17))
        sheet.paste(Image.fromarray(tile), (left, top + _CAPTION_PX))
    write_png(layout.splits / "augmentations.png", np.asarray(sheet))


def outlined(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the outline of a mask (cut at half) on an image, both (H, W) uint8; gives (H, W, 3) uint8 RGB."""
    colour = np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2))
    edges, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, edges, -1, _OUTLINE_RGB, 1)
    return colour
