"""Masks as image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.radiographs.raster import raster_kind, read_grey
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import runs_of
from pneumoseg.sources.truth import Size


def read_mask(path: Path, size: Size) -> tuple[NDArray[np.int64], bool]:
    """Read a PNG or JPEG in which pneumothorax is bright.

    What is neither the lowest nor the highest value of the file's type is cut at half of it, but a file of two values
    (such as 0 and 1) at half of its own.

    Args:
        path: 8 or 16 bits, grey or equal channels.
        size: of its radiograph.

    Returns:
        Its runs as of rle.runs_of, and whether it has other values than the lowest and the highest of its type.

    Raises:
        DataError: it cannot be read or has another size; the message names no file.
    """
    try:
        content = path.read_bytes()
        if not raster_kind(content):
            raise DataError("the mask file is neither PNG nor JPEG")
        values = read_grey(content, size.rows * size.columns * 4)
    except OSError as error:
        raise DataError(f"the mask file cannot be read ({error.strerror})") from None
    except Refusal as refusal:
        raise DataError(f"the mask file cannot be used: {refusal.reason}") from None
    if values.shape != tuple(size):
        shape = f"{values.shape[0]} x {values.shape[1]}"
        raise DataError(f"a mask of {shape} pixels for an image of {size.rows} x {size.columns}")
    present = np.unique(values)
    highest = int(np.iinfo(values.dtype).max)
    top = int(present[-1]) if len(present) == 2 and present[0] == 0 else highest
    return runs_of(values > top / 2), bool(np.setdiff1d(present, (0, highest)).size)
