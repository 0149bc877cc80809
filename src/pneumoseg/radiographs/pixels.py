"""Stored values to grey levels: modality transform, VOI transform, photometric interpretation, size.

All of these act on single values, so they are computed once for each value that a pixel can take (256 or 65,536) and
then looked up: exact, and fast for any of them. Sources: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT),
C.11.2 (VOI LUT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.extract import ExtractParams

Values = NDArray[np.float64]

WINDOW_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class LookupTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1).

    Attributes:
        first: the input value that the first entry belongs to; lower ones take it too, values past the end the last.
        entries: (N,) float64.
        maximum: the largest value that an entry may take, 2^bits - 1.
        rescaled: whether it is another than the descriptor says, because the entries stay below half of that.
    """

    first: int
    entries: Values
    maximum: float
    rescaled: bool = False

    def apply(self, values: Values) -> Values:
        """Map values of any shape to entries, same shape."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        entries: Values = self.entries[index.astype(np.intp)]
        return entries


@dataclass(frozen=True)
class Window:
    """A window of the VOI LUT module, width above 0 (LINEAR: at least 1)."""

    center: float
    width: float
    function: str  # of WINDOW_FUNCTIONS

    def apply(self, values: Values) -> Values:
        """Map values to [0, 1] (PS3.3 C.11.2.1.2.1 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        center, width = self.center - 0.5, self.width - 1
        if width == 0:
            return (values > center).astype(np.float64)
        return np.clip((values - center) / width + 0.5, 0, 1)


@dataclass(frozen=True)
class GreyScale:
    """How a file says that its stored values become grey.

    Attributes:
        bits_stored: significant bits of a stored value.
        signed: whether stored values are two's complement.
        inverted: MONOCHROME1, where the lowest value is white.
        slope: of the rescale; 1 where there is none.
        intercept: of the rescale; 0 where there is none.
        modality_lut: takes the place of the rescale.
        voi_lut: takes precedence over the window.
        window: the first of the file.
        padding: lowest and highest stored value that mark pixels outside the image.
    """

    bits_stored: int
    signed: bool
    inverted: bool
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    voi_lut: LookupTable | None = None
    window: Window | None = None
    padding: tuple[int, int] | None = None

    def modality_values(self, stored: Values) -> Values:
        """Stored values after rescale or modality LUT."""
        return self.modality_lut.apply(stored) if self.modality_lut else stored * self.slope + self.intercept

    def full_range(self) -> tuple[float, float]:
        """Lowest and highest modality value that the stored bits can hold."""
        if self.modality_lut:
            return 0.0, self.modality_lut.maximum
        low = -(2.0 ** (self.bits_stored - 1)) if self.signed else 0.0
        ends = [end * self.slope + self.intercept for end in (low, low + 2.0**self.bits_stored - 1)]
        return min(ends), max(ends)


def to_grey(stored: NDArray[Any], scale: GreyScale, params: ExtractParams) -> NDArray[Any]:
    """Grey levels as they go into the PNG, dark to bright.

    ``window: dicom`` takes the VOI LUT, else the window; where the file has neither, the full range of the stored bits
    up to 8 bits (so an 8-bit radiograph comes out as it was decoded) and the range of the values present above 8 bits
    (12-bit values in 16 stored bits would be black otherwise). ``percentile`` stretches between two percentiles of the
    image, ``full`` between the lowest and highest value the stored bits can hold. Pixels marked as padding count
    in no range and come out black. MONOCHROME1 is inverted after all that.

    Args:
        stored: (H, W) uint8, int8, uint16 or int16 in native byte order.
        scale: how the file says that they become grey.
        params: section extract.

    Returns:
        (H, W) uint8 or uint16 by ``extract.bit_depth``, resized by ``extract.size_px``.
    """
    return apply_table(stored, grey_table(stored, scale, params), params.size_px)


def grey_table(stored: NDArray[Any], scale: GreyScale, params: ExtractParams) -> NDArray[Any]:
    """The grey level of every value a pixel can take, by its unsigned code: (256,) or (65536,); else as to_grey."""
    codes = stored.view(f"u{stored.itemsize}")
    domain = np.arange(2 ** (8 * stored.itemsize), dtype=codes.dtype).view(stored.dtype).astype(np.float64)
    values = scale.modality_values(domain)
    padded = np.zeros(domain.shape, bool)
    if scale.padding:
        padded = (domain >= scale.padding[0]) & (domain <= scale.padding[1])
    level = _levels(codes, values, padded, scale, params)
    level = np.where(padded, 0.0, 1 - level if scale.inverted else level)
    table: NDArray[Any] = np.rint(level * (2**params.bit_depth - 1)).astype(f"u{params.bit_depth // 8}")
    return table


def apply_table(stored: NDArray[Any], table: NDArray[Any], size_px: int | None) -> NDArray[Any]:
    """Look every pixel up in a grey_table, then resize."""
    codes = stored.view(f"u{stored.itemsize}")
    same = table.dtype == codes.dtype and np.array_equal(table, np.arange(len(table)))
    return shrink(codes if same else table[codes], size_px)


def _levels(
    codes: NDArray[Any], values: Values, padded: NDArray[np.bool_], scale: GreyScale, params: ExtractParams
) -> Values:
    """The level in [0, 1] of every value a pixel can take, same shape as ``values``."""
    if params.window == "dicom" and scale.voi_lut:
        return scale.voi_lut.apply(values) / scale.voi_lut.maximum
    if params.window == "dicom" and scale.window:
        return scale.window.apply(values)
    if params.window == "full" or (params.window == "dicom" and scale.bits_stored <= 8):
        return _stretch(values, *scale.full_range())
    counts = np.where(padded, 0, np.bincount(codes.ravel(), minlength=len(values)))
    shares = params.window_percentiles if params.window == "percentile" else (0.0, 100.0)
    return _stretch(values, *percentiles(values, counts, shares))


def percentiles(values: Values, counts: NDArray[Any], shares: tuple[float, float]) -> tuple[float, float]:
    """Percentiles of a sample given as values and how often each occurs: numpy's default, linear between ranks.

    Args:
        values: (N,) in any order.
        counts: (N,) integers; where all are 0, the range of ``values`` is returned.
        shares: in percent.
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    if reached[-1] == 0:
        return float(values.min()), float(values.max())
    ranks = np.asarray(shares) / 100 * (reached[-1] - 1)
    below = values[order][np.searchsorted(reached, np.floor(ranks), side="right")]
    above = values[order][np.searchsorted(reached, np.ceil(ranks), side="right")]
    low, high = below + (above - below) * (ranks - np.floor(ranks))
    return float(low), float(high)


def _stretch(values: Values, low: float, high: float) -> Values:
    """Map low to 0 and high to 1, clipped; all 0 where they are equal."""
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def shrink(image: NDArray[Any], size_px: int | None) -> NDArray[Any]:
    """(H, W) made smaller until its longer side is ``size_px``, by area, keeping its proportions; never enlarge."""
    longest = max(image.shape)
    if size_px is None or longest <= size_px:
        return image
    rows, columns = (max(1, round(side * size_px / longest)) for side in image.shape)
    return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
