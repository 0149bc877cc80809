"""The part of a radiograph that a network sees, where it sees the lungs alone: a box around them, never a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError

#: Edges of boxes lie on this many steps of a side, so that a box is the same in an image and in a smaller one.
STEPS = 128
#: Smaller components of a lung mask, as shares of the image, are no lung.
CRUMB = 0.01


@dataclass(frozen=True)
class Box:
    """Edges as shares of the image's sides, from 0 to 1.

    Attributes:
        whole: why it is the whole image; empty: it is the lungs.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0
    whole: str = ""

    def window(self, rows: int, columns: int) -> tuple[slice, slice]:
        """Its rows and columns in an image of that size; at least one of each."""
        spans = []
        for start, end, side in ((self.top, self.bottom, rows), (self.left, self.right, columns)):
            first = min(round(start * side), side - 1)
            spans.append(slice(first, max(first + 1, round(end * side))))
        return spans[0], spans[1]

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """The part of an image, (H, W), as a view of it."""
        return image[self.window(image.shape[0], image.shape[1])]

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of its window."""
        down, across = self.window(rows, columns)
        return down.stop - down.start, across.stop - across.start

    def paste(self, part: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
        """A map of its window in the whole image, 0 around it, (rows, columns) float32."""
        image = np.zeros((rows, columns), np.float32)
        image[self.window(rows, columns)] = part
        return image

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
            self.whole or other.whole,
        )


def box_of(lungs: NDArray[np.uint8] | NDArray[np.bool_] | None, margin: float, least_area_share: float) -> Box:
    """The box around both lungs, widened; the whole image where there are no two, or they are too small.

    Args:
        lungs: (H, W), not 0 in the lungs, of any size; None: there is no mask.
        margin: added on every side, as a share of that side of the image.
        least_area_share: the least area of the box before it is widened, as a share of the image.
    """
    if lungs is None:
        return Box(whole="no lung mask")
    rows, columns = lungs.shape
    table = cv2.connectedComponentsWithStats((lungs > 0).astype(np.uint8), connectivity=8)[2][1:]
    parts = table[table[:, cv2.CC_STAT_AREA] >= CRUMB * rows * columns]
    if len(parts) < 2:
        return Box(whole=f"{len(parts)} lung{'s' * (len(parts) != 1)} in the mask")
    left, top = (int(parts[:, column].min()) for column in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP))
    right = int((parts[:, cv2.CC_STAT_LEFT] + parts[:, cv2.CC_STAT_WIDTH]).max())
    bottom = int((parts[:, cv2.CC_STAT_TOP] + parts[:, cv2.CC_STAT_HEIGHT]).max())
    if (right - left) * (bottom - top) < least_area_share * rows * columns:
        return Box(whole="lungs too small")
    edges = [
        math.floor(STEPS * max(0.0, top / rows - margin)),
        math.floor(STEPS * max(0.0, left / columns - margin)),
        math.ceil(STEPS * min(1.0, bottom / rows + margin)),
        math.ceil(STEPS * min(1.0, right / columns + margin)),
    ]
    return Box(*(edge / STEPS for edge in edges))


def box_path(folder: Path, image_id: str) -> Path:
    """Where the box that an image was predicted in lies in a folder of maps; no such file: nothing was cut off."""
    return folder / f"{image_id}.box"


def write_box(path: Path, box: Box) -> None:
    """Write a box as a line of text."""
    path.write_text(f"{box.top} {box.left} {box.bottom} {box.right} {box.whole}".rstrip() + "\n", "utf-8")


def read_box(path: Path) -> Box:
    """Read a box.

    Raises:
        DataError: the file is damaged.
    """
    try:
        top, left, bottom, right, *whole = path.read_text("utf-8").rstrip("\n").split(" ", 4)
        return Box(float(top), float(left), float(bottom), float(right), whole[0] if whole else "")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no box of a crop ({error}); run dvc repro predict") from None
