"""Findings that are told apart, each with a score, a box and a mask: from the network to what evaluate judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.crop import Box
from pneumoseg.rule.decision import Mask
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json, write_json
from pneumoseg.shared.rle import decode, encode

Window = tuple[slice, slice]

#: Findings of two networks whose masks overlap so far (IoU) are one.
SAME = 0.5


class Detection(NamedTuple):
    """One finding as a network gives it.

    Attributes:
        score: from 0 to 1.
        box: (4,) float32, x1, y1, x2, y2 as shares of the image's sides.
        mask: (h, w) float32, the probability of lesion in each part of the box.
    """

    score: float
    box: NDArray[np.float32]
    mask: NDArray[np.float32]

    def mirrored(self) -> Detection:
        """The same with left and right exchanged."""
        left, top, right, bottom = self.box
        box = np.array([1 - right, top, 1 - left, bottom], np.float32)
        return Detection(self.score, box, np.ascontiguousarray(self.mask[:, ::-1]))

    def within(self, crop: Box) -> Detection:
        """The same in the image of which it was given a part."""
        height, width = crop.bottom - crop.top, crop.right - crop.left
        scale, start = np.array([width, height] * 2), np.array([crop.left, crop.top] * 2)
        return self._replace(box=(self.box * scale + start).astype(np.float32))

    def box_px(self, rows: int, columns: int) -> NDArray[np.float64]:
        """The box in pixels of an image, (4,) float64."""
        return np.multiply(self.box, (columns, rows, columns, rows), dtype=np.float64)

    def paste(self, rows: int, columns: int) -> tuple[Window, NDArray[np.float32]]:
        """The mask in an image: where its box lies and the probabilities there, (h, w) float32; both may be empty.

        Pixel centres are at index + 0.5, as of maps. A lesion may fill its box: the mask's outer values go on to the
        edge.
        """
        left, top, right, bottom = self.box_px(rows, columns)
        ys, xs = _centres(top, bottom, rows), _centres(left, right, columns)
        window = slice(ys.start, ys.stop), slice(xs.start, xs.stop)
        if not ys or not xs:
            return window, np.zeros((len(ys), len(xs)), np.float32)
        height, width = self.mask.shape
        down = (np.arange(ys.start, ys.stop) + 0.5 - top) / (bottom - top) * height - 0.5
        across = (np.arange(xs.start, xs.stop) + 0.5 - left) / (right - left) * width - 0.5
        grid_x, grid_y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
        inside = cv2.remap(self.mask, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return window, np.asarray(inside, np.float32)


def _centres(start: float, end: float, limit: int) -> range:
    """The pixels whose centre lies between two places and in the image."""
    first = max(0, math.ceil(start - 0.5))
    return range(first, max(first, min(limit, math.ceil(end - 0.5))))


@dataclass(frozen=True)
class Finding:
    """One finding in a radiograph.

    Attributes:
        score: from 0 to 1.
        box: (4,) float64, x1, y1, x2, y2 in pixels; the ends lie behind the last pixel.
        mask: (rows, columns) bool.
    """

    score: float
    box: NDArray[np.float64]
    mask: Mask

    @classmethod
    def of(cls, detection: Detection, rows: int, columns: int) -> Finding:
        """A network's detection at the size of its radiograph; its mask is what lies above one half."""
        mask = np.zeros((rows, columns), np.bool_)
        window, inside = detection.paste(rows, columns)
        mask[window] = inside > 0.5
        return cls(detection.score, detection.box_px(rows, columns), mask)


def map_of(detections: Sequence[Detection], rows: int, columns: int) -> NDArray[np.float32]:
    """The highest of score x mask of all detections at each pixel, (rows, columns) float32 in [0, 1]."""
    total = np.zeros((rows, columns), np.float32)
    for one in detections:  # one after the other: a mask each for all of them would be 40 MiB at 1024 x 1024
        window, inside = one.paste(rows, columns)
        np.maximum(total[window], np.float32(one.score) * inside, out=total[window])
    return total


def united(parts: Sequence[tuple[float, Sequence[Finding]]]) -> list[Finding]:
    """What several networks find in one image, by score.

    Findings whose masks overlap by half are one, at most one of each network: the best-scored gives box and mask, and
    the score is the weighted mean over all networks, 0 of those that lack it. Those of one network stay as they are.

    Args:
        parts: weight and findings of each network (of each view of one); weights add up to 1.
    """
    if len(parts) == 1:
        return list(parts[0][1])
    waiting = [(finding, number) for number, (_, findings) in enumerate(parts) for finding in findings]
    waiting.sort(key=lambda one: -one[0].score)
    found: list[Finding] = []
    while waiting:
        (best, owner), *waiting = waiting
        scores, left = {owner: best.score}, []
        for other, number in waiting:
            if number not in scores and overlap(best.mask, other.mask) >= SAME:
                scores[number] = other.score
            else:
                left.append((other, number))
        waiting = left
        found.append(Finding(sum(parts[number][0] * score for number, score in scores.items()), best.box, best.mask))
    return sorted(found, key=lambda one: -one.score)


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union; 0 of two empty masks."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def findings_path(folder: Path, image_id: str) -> Path:
    """Where the findings of an image lie in a folder of maps; there is no such file where none are told apart."""
    return folder / f"{image_id}.json"


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """Write the findings of an image as JSON; masks in the run-length code of shared/rle."""
    rows = [{"score": one.score, "box": one.box.round(2).tolist(), "mask": encode(one.mask)} for one in findings]
    write_json(path, rows)


def read_findings(path: Path, shape: tuple[int, int]) -> list[Finding]:
    """Read the findings of an image of ``shape``.

    Raises:
        DataError: the file is missing or damaged, or a mask does not fit.
    """
    content = read_json(path)
    try:
        return [Finding(float(one["score"]), np.array(one["box"]), decode(one["mask"], *shape)) for one in content]
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise DataError(f"{path}: not the findings of an image of {shape} ({error}); run dvc repro predict") from None
