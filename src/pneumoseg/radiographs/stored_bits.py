"""Values as a decoder gives them to values that Bits Stored can hold (PS3.3 C.7.6.3.1.1, PS3.5 8.1.1).

What lies above the stored bits is not part of the value, whatever the transfer syntax: overlays of old files, garbage,
or the missing sign of a negative number. A code stream has a sign and a precision of its own, perhaps not the header's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredValues:
    """The values of an image.

    Attributes:
        values: (Rows, Columns) uint8, int8, uint16 or int16 in native byte order.
        signed: whether values can be negative: as Pixel Representation says, unless a code stream shows otherwise.
        corrected: whether a value is another than the decoder gave.
    """

    values: NDArray[Any]
    signed: bool
    corrected: bool


def fit(values: NDArray[Any], bits_stored: int, signed: bool, lossy: bool = False) -> StoredValues:
    """Mask (unsigned) or sign-extend (signed) what Bits Stored cannot hold.

    Args:
        values: (Rows, Columns) of integers.
        bits_stored: 1 to 16.
        signed: whether they are two's complement.
        lossy: an overshoot of the compression is possible: clipped, since a mask would turn white into black. Only
            where the median is in the range, so that bits set above it throughout are masked here, too.
    """
    low = -(2 ** (bits_stored - 1)) if signed else 0
    high = low + 2**bits_stored - 1
    bytes_needed = max(values.itemsize if values.itemsize <= 2 else 1, 1 if bits_stored <= 8 else 2)
    dtype = np.dtype(f"{'i' if signed else 'u'}{bytes_needed}")
    held = np.iinfo(values.dtype)
    if (low <= held.min and held.max <= high) or (low <= values.min() and values.max() <= high):
        return StoredValues(np.ascontiguousarray(values, dtype), signed, corrected=False)
    wide = values.astype(np.int32)
    if lossy and low <= np.median(wide) <= high:
        fitting = np.clip(wide, low, high)
    else:
        fitting = (wide - low) % 2**bits_stored + low
    return StoredValues(fitting.astype(dtype), signed, corrected=True)


def extend_sign(values: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Read the lowest ``bits`` of unsigned values as two's complement; same shape."""
    half = 2 ** (bits - 1)
    extended: NDArray[np.int32] = (values.astype(np.int32) + half) % (2 * half) - half
    return extended
