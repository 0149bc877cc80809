"""What must be known beside the weights to use a network: its parameters, its input size, its normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoseg.config.model import ModelParams


@dataclass(frozen=True)
class ModelSpec:
    """The content of model.json.

    Attributes:
        params: section model that built the network.
        size_px: side of the square input.
        mean: subtracted from the image in [0, 1], one value for each input channel.
        std: divided by, likewise.
    """

    params: ModelParams
    size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
