"""One or several trained networks as a function from radiographs to probability maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.devices import Device, Precision, autocast
from pneumoseg.errors import DataError
from pneumoseg.models.network import SegmentationModel
from pneumoseg.models.preparation import normalise, resize_image, restore_map
from pneumoseg.models.spec import ModelSpec
from pneumoseg.models.storage import load_model

Prediction = tuple[NDArray[np.float32], float]


class Predictor:
    """The mean of its members: the networks of several folds, each perhaps also shown the mirrored image."""

    def __init__(
        self,
        members: Sequence[tuple[SegmentationModel, ModelSpec]],
        device: Device = "cpu",
        precision: Precision = "fp32",
        *,
        horizontal_flip: bool = False,
    ) -> None:
        """Put the members on the device, ready to predict.

        Raises:
            DataError: there is no member.
        """
        if not members:
            raise DataError("no trained model to predict with; run dvc repro train")
        self._members = [
            (model.eval().to(device).to(memory_format=torch.channels_last), spec) for model, spec in members
        ]
        self._device = device
        self._precision = precision
        self._flip = horizontal_flip

    @classmethod
    def load(
        cls,
        folders: Sequence[Path],
        device: Device = "cpu",
        precision: Precision = "fp32",
        *,
        horizontal_flip: bool = False,
    ) -> Self:
        """Read the members from folders that hold weights.safetensors and model.json."""
        return cls([load_model(Path(folder)) for folder in folders], device, precision, horizontal_flip=horizontal_flip)

    def __call__(
        self, images: Sequence[NDArray[Any]], sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Prediction]:
        """Predict radiographs.

        Args:
            images: each (H, W) uint8 or uint16.
            sizes: (rows, columns) that each map is brought to; the image's own by default.

        Returns:
            for each image its map, (rows, columns) float32 probabilities in [0, 1], and the probability of
            pneumothorax in the image: the image head's where every member has one, else the highest of the map.
        """
        shapes = [(image.shape[0], image.shape[1]) for image in images] if sizes is None else list(sizes)
        maps = [np.zeros(shape, np.float32) for shape in shapes]
        heads: list[NDArray[np.float32]] = []
        for model, spec in self._members:
            small, head = self._run(model, spec, images)
            for total, probability in zip(maps, small, strict=True):
                total += restore_map(probability, *total.shape)
            if head is not None:
                heads.append(head)
        for total in maps:
            total /= len(self._members)
        if len(heads) == len(self._members):
            scores = np.mean(heads, axis=0).tolist()
        else:
            scores = [float(total.max()) for total in maps]
        return list(zip(maps, scores, strict=True))

    @torch.inference_mode()
    def _run(
        self, model: SegmentationModel, spec: ModelSpec, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        batch = torch.from_numpy(np.stack([resize_image(image, spec.size_px) for image in images])).to(self._device)
        maps, head = self._forward(model, batch)
        if self._flip:
            mirrored, mirrored_head = self._forward(model, batch.flip(-1))
            maps = (maps + mirrored.flip(-1)) / 2
            head = None if head is None or mirrored_head is None else (head + mirrored_head) / 2
        return maps.cpu().numpy(), None if head is None else head.cpu().numpy()

    def _forward(self, model: SegmentationModel, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        pixels = normalise(batch, model)
        with autocast(self._device, self._precision):
            output = model(pixels)
        head = None if output.image is None else torch.sigmoid(output.image.float())
        return torch.sigmoid(output.mask.float())[:, 0], head
