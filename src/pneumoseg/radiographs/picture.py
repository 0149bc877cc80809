"""The picture that leaves: stored values to grey levels, looked at before anybody else has to.

A window, a LUT or a padding range may be legal and yet leave nothing to see. Then the stored range is shown instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.pixels import GreyScale, apply_table, grey_table

_BLANK_SHARE = 0.99  # of pixels at one end
_FEW_LEVELS, _MANY_LEVELS = 32, 1000
_EVERY = 8  # rows, of which one is looked at first


def make_picture(stored: NDArray[Any], scale: GreyScale, params: ExtractParams) -> tuple[NDArray[Any], set[str]]:
    """Grey levels as of pixels.to_grey, and what is remarkable about them.

    Args:
        stored: (H, W) uint8, int8, uint16 or int16 in native byte order.
        scale: how the file says that they become grey; what blots the picture out is left out of it.
        params: section extract.

    Returns:
        (H, W) uint8 or uint16, resized, and keys of rules.FLAGS.
    """
    codes = stored.view(f"u{stored.itemsize}")
    table = grey_table(stored, scale, params)
    if _unremarkable(table, _level_counts(codes[::_EVERY]), codes.size):
        return apply_table(stored, table, params.size_px), set()
    counts = _level_counts(codes)
    flags: set[str] = set()
    if np.count_nonzero(counts) > 1 and _blank(table, counts):
        for milder in _milder(scale):
            other = grey_table(stored, milder, params)
            if not _blank(other, counts):
                table = other
                flags.add("blotted_out")
                break
    return apply_table(stored, table, params.size_px), flags | _remarks(table, counts)


def _unremarkable(table: NDArray[Any], counts: NDArray[np.int64], pixels: int) -> bool:
    """Whether some of the pixels already rule out every remark on the picture: it has levels enough, and grey enough.

    Args:
        table: the grey level of every value.
        counts: of the pixels looked at, how many have each value.
        pixels: how many there are in all.
    """
    if _levels(table, counts) < _FEW_LEVELS:
        return False
    off_ends = (counts[table != end].sum() for end in (0, np.iinfo(table.dtype).max))
    return bool(min(off_ends) >= (1 - _BLANK_SHARE) * pixels)


def _level_counts(stored: NDArray[Any]) -> NDArray[np.int64]:
    """How many pixels have each value; np.bincount would widen every one to 64 bits first."""
    levels = 2 ** (8 * stored.itemsize)
    # OpenCV counts in float32, which is exact in parts of so many pixels.
    parts = np.array_split(stored, -(-stored.size // 2**24))
    counts = [cv2.calcHist([part], [0], None, [levels], [0, levels]).ravel() for part in parts]
    return np.asarray(np.sum(counts, axis=0, dtype=np.float64), np.int64)


def _milder(scale: GreyScale) -> list[GreyScale]:
    """The scale without its VOI transform, without its padding, without both, and without the modality LUT, too."""
    bare = replace(scale, voi_lut=None, window=None)
    shown = replace(bare, padding=None)
    return [bare, replace(scale, padding=None), shown, replace(shown, modality_lut=None)]


def _blank(table: NDArray[Any], counts: NDArray[Any]) -> bool:
    """Whether the picture has one level, or nearly all of it is black or white."""
    present = table[counts > 0]
    if present.min() == present.max():
        return True
    ends = (counts[table == end].sum() for end in (0, np.iinfo(table.dtype).max))
    return bool(max(ends) > _BLANK_SHARE * counts.sum())


def _levels(table: NDArray[Any], counts: NDArray[np.int64]) -> int:
    """How many grey levels the picture has."""
    return int(np.count_nonzero(np.bincount(table[counts > 0])))


def _remarks(table: NDArray[Any], counts: NDArray[Any]) -> set[str]:
    levels = _levels(table, counts)
    if levels == 1:
        return {"uniform"}
    remarks = {"nearly_blank"} if _blank(table, counts) else set()
    if levels < _FEW_LEVELS and np.count_nonzero(counts) > _MANY_LEVELS:
        remarks.add("few_levels")
    return remarks
