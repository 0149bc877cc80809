"""From the radiograph to the network's input: the same for training and prediction.

The image is squashed to a square, whatever its sides: the networks see relative places, and rule.maps.restore_map
brings a map back to rows x columns by the inverse. A pixel's centre is at index + 0.5 on both sides, so that nothing
shifts.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.shared.resizing import resize


class Normalisation(Protocol):
    """Anything with mean and std for each input channel: a ModelSpec or a Network."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of images in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Of images in [0, 1]."""


def resize_image(image: NDArray[Any], size_px: int) -> NDArray[np.uint8]:
    """Squash a radiograph to a square.

    Args:
        image: (H, W) uint8 or uint16; 16 bits are scaled to 8 after resizing.
        size_px: side of the square.

    Returns:
        (size_px, size_px) uint8.
    """
    square = np.array(resize(image, size_px, size_px))  # never the caller's own
    if square.dtype == np.uint16:
        return np.rint(square / 257.0).astype(np.uint8)
    return square


def resize_mask(mask: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Squash a mask to a square of soft targets: 255 x the share of the pixel that is lesion.

    Args:
        mask: (H, W) uint8, 0 or 255.
        size_px: side of the square.

    Returns:
        (size_px, size_px) uint8.
    """
    return np.array(resize(mask, size_px, size_px))


def normalise(batch: Tensor, normalisation: Normalisation) -> Tensor:
    """Make the network's input, on the device of the batch.

    Args:
        batch: (N, H, W) uint8, or (N, V, H, W) of several images a sample.
        normalisation: mean and std of C channels.

    Returns:
        (N, C, H, W) or (N, V, C, H, W) float32, each channel (image / 255 - mean) / std; channels last in memory.
    """
    mean = torch.tensor(normalisation.mean, dtype=torch.float32, device=batch.device)
    std = torch.tensor(normalisation.std, dtype=torch.float32, device=batch.device)
    return ((batch.unsqueeze(-1).to(torch.float32) / 255.0 - mean) / std).movedim(-1, -3)
