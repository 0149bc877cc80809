"""Counts of a batch of maps at the sizes of their radiographs: on the device that made them, the same on every one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.rule.level_counts import LEVELS, Counts, histogram, pixels_above
from pneumoseg.rule.maps import STEPS, enlarge_map, grey_levels

Shape = tuple[int, int]
Packed = NDArray[np.uint8]

#: Pixels enlarged at once on a GPU: 8 radiographs of 1024 x 1024, about 0.5 GiB for a moment.
_PIXELS = 2**23


class MapCounts(NamedTuple):
    """What is counted of N maps.

    Attributes:
        above: (N, 256) pixels of the map above each grey level.
        inside: (N, 256) those of them in the true mask.
        highest: (N,) float32, the highest probability of the map.
    """

    above: Counts
    inside: Counts
    highest: NDArray[np.float32]


def count_maps(maps: Tensor, shapes: Sequence[Shape], truths: Sequence[Packed | None]) -> MapCounts:
    """Enlarge maps as enlarge_map does, round them to grey levels and count.

    Args:
        maps: (N, h, w) float32 in [0, 1], on any device.
        shapes: (rows, columns) of each radiograph.
        truths: of each the true mask, np.packbits of (rows, columns); None where it is empty.
    """
    count = count_here if maps.device.type == "cpu" else count_there
    histograms, highest = count(maps, shapes, truths)
    above, inside = pixels_above(histograms).swapaxes(0, 1)
    return MapCounts(above, inside, highest.astype(np.float32) / np.float32(STEPS))


def count_here(
    maps: Tensor, shapes: Sequence[Shape], truths: Sequence[Packed | None]
) -> tuple[Counts, NDArray[np.integer[Any]]]:
    """On the CPU, one after the other, by OpenCV.

    Returns:
        (N, 2, 256) pixels of each grey level, of the map and of it inside the true mask; (N,) the highest 65535th.
    """
    histograms = np.zeros((len(shapes), 2, LEVELS), np.int64)
    highest = np.zeros(len(shapes), np.int64)
    for index, (small, (rows, columns), truth) in enumerate(zip(maps.numpy(), shapes, truths, strict=True)):
        whole = enlarge_map(small, rows, columns)
        highest[index] = whole.max()
        levels = grey_levels(whole)
        histograms[index, 0] = histogram(levels)
        if truth is not None:
            mask = np.unpackbits(truth, count=rows * columns).reshape(rows, columns)
            histograms[index, 1] = histogram(levels, mask)
    return histograms, highest


def count_there(
    maps: Tensor, shapes: Sequence[Shape], truths: Sequence[Packed | None]
) -> tuple[Counts, NDArray[np.integer[Any]]]:
    """The same on a GPU: all of one shape at once, as many as its memory should hold."""
    histograms = torch.zeros(len(shapes), 2, LEVELS, dtype=torch.int64, device=maps.device)
    highest = torch.zeros(len(shapes), dtype=torch.int64, device=maps.device)
    for rows, columns in dict.fromkeys(shapes):
        alike = [index for index, shape in enumerate(shapes) if shape == (rows, columns)]
        step = max(1, _PIXELS // (rows * columns))
        for some in (alike[start : start + step] for start in range(0, len(alike), step)):
            whole = _enlarge(maps[some], rows, columns).flatten(1)
            highest[some] = whole.amax(1)
            bins = (whole + 128).div_(257, rounding_mode="floor")  # of its own: 256 levels outside, 256 inside the mask
            for place, index in enumerate(some):
                truth = truths[index]
                if truth is not None:
                    bins[place] += LEVELS * _unpack(truth, rows * columns, maps.device)
            bins += 2 * LEVELS * torch.arange(len(some), device=maps.device)[:, None]
            counted = torch.bincount(bins.flatten(), minlength=2 * LEVELS * len(some))
            histograms[some] = counted.view(len(some), 2, LEVELS)
    histograms[:, 0] += histograms[:, 1]
    return histograms.cpu().numpy(), highest.cpu().numpy()


def _enlarge(maps: Tensor, rows: int, columns: int) -> Tensor:
    """(N, h, w) float32 to (N, rows, columns) int64 in 65535ths; OpenCV's INTER_LINEAR_EXACT of 16 bits."""
    small = (maps * STEPS).round().to(torch.int64)
    left, right, weight = _taps(small.shape[2], columns, maps.device)
    wide = small[:, :, left] * (2**16 - weight) + small[:, :, right] * weight
    upper, lower, weight = _taps(small.shape[1], rows, maps.device)
    tall = wide[:, upper] * (2**16 - weight)[:, None] + wide[:, lower] * weight[:, None]
    return (tall + 2**31) >> 32


def _taps(small: int, whole: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``whole`` places both neighbours among ``small``, and the second's weight in 65536ths."""
    place = 1 / (whole / small) * (np.arange(whole) + 0.5) - 0.5  # OpenCV's order of operations, in float64
    first = np.clip(np.floor(place), 0, small - 1)
    weight = np.rint(np.clip(place - first, 0, 1) * 2**16)
    second = np.minimum(first + 1, small - 1)
    left, right, share = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (first, second, weight))
    return left, right, share


def _unpack(packed: Packed, count: int, device: torch.device) -> Tensor:
    """np.unpackbits: (count,) int64."""
    bits = torch.from_numpy(packed).to(device)[:, None] >> torch.arange(7, -1, -1, device=device)
    return (bits & 1).flatten()[:count]
