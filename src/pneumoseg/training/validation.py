"""What an epoch's validation measures: per-image figures at threshold 0.5 and the original size of each image."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.dice import dice
from pneumoseg.errors import DataError
from pneumoseg.files import read_png
from pneumoseg.models.losses import Loss
from pneumoseg.models.network import SegmentationModel
from pneumoseg.models.preparation import normalise, restore_map
from pneumoseg.training.arrays import ImageArrays

THRESHOLD = 0.5


class Validation:
    """The validation images of a fold, with their true masks at the original size (packed, one bit a pixel)."""

    def __init__(self, image_ids: Sequence[str], images: Path, masks: Path, batch_size: int) -> None:
        """Read the masks of ``image_ids`` from the folders of PNG files."""
        self._ids = list(image_ids)
        self._batch_size = batch_size
        self._shapes: dict[str, tuple[int, int]] = {}
        self._truth: dict[str, NDArray[np.uint8]] = {}
        for image_id in self._ids:
            path = masks / f"{image_id}.png"
            if path.is_file():
                mask = read_png(path)
                self._shapes[image_id] = (mask.shape[0], mask.shape[1])
                self._truth[image_id] = np.packbits(mask > 0)
            else:
                self._shapes[image_id] = _png_shape(images / f"{image_id}.png")

    @property
    def all_empty(self) -> float:
        """Mean Dice of predicting nothing: the share of negatives."""
        return 1.0 - len(self._truth) / len(self._ids)

    def measure(self, fabric: Fabric, model: SegmentationModel, loss: Loss, arrays: ImageArrays) -> dict[str, float]:
        """Run the model over this process's share of the images and gather all figures."""
        model.eval()
        rows = [
            row for batch in self._batches(fabric) for row in self._measure_batch(fabric, model, loss, arrays, batch)
        ]
        return _summary(_gather(fabric, rows, len(self._ids)))

    def _batches(self, fabric: Fabric) -> Iterator[list[str]]:
        mine = self._ids[fabric.global_rank :: fabric.world_size]
        for start in range(0, len(mine), self._batch_size):
            yield mine[start : start + self._batch_size]

    @torch.inference_mode()
    def _measure_batch(
        self, fabric: Fabric, model: SegmentationModel, loss: Loss, arrays: ImageArrays, batch: list[str]
    ) -> list[tuple[float, float, float, float]]:
        images = fabric.to_device(torch.from_numpy(np.stack([arrays.image(image_id) for image_id in batch])))
        targets = fabric.to_device(torch.from_numpy(np.stack([arrays.mask(image_id) for image_id in batch])))
        output = model(normalise(images, model))
        value = float(loss(output, targets.unsqueeze(1).float() / 255)["loss"])
        maps = torch.sigmoid(output.mask.float())[:, 0].cpu().numpy()
        return [
            (*self._counts(image_id, probability), value) for image_id, probability in zip(batch, maps, strict=True)
        ]

    def _counts(self, image_id: str, probability: NDArray[np.float32]) -> tuple[float, float, float]:
        rows, columns = self._shapes[image_id]
        predicted = restore_map(probability, rows, columns) > THRESHOLD
        if image_id not in self._truth:
            return 0.0, float(predicted.sum()), 0.0
        truth = np.unpackbits(self._truth[image_id], count=rows * columns).reshape(rows, columns).astype(bool)
        return float((predicted & truth).sum()), float(predicted.sum()), float(truth.sum())


def _summary(counts: NDArray[np.float64]) -> dict[str, float]:
    """Figures of all images from columns intersection, predicted, truth (pixels) and loss."""
    intersection, predicted, truth, losses = counts.T
    scores, positive = dice(intersection, predicted, truth), truth > 0
    union = predicted + truth - intersection
    dice_pos = _mean(scores[positive])
    specificity = _mean(predicted[~positive] == 0)
    marked = float((predicted > 0).mean())
    return {
        "loss": float(losses.mean()),
        "dice_all": float(scores.mean()),
        "dice_pos": dice_pos,
        "dice_balanced": (dice_pos + specificity) / 2,
        "iou": _mean(intersection[positive] / union[positive]),
        "sensitivity": _mean(predicted[positive] > 0),
        "specificity": specificity,
        # Every map empty, or none: the mean Dice of the first is the share of negatives, which hides it.
        "collapsed": float(marked in (0.0, 1.0)),
        "marked_share": marked,
    }


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _gather(fabric: Fabric, rows: list[tuple[float, float, float, float]], total: int) -> NDArray[np.float64]:
    if fabric.world_size == 1:
        return np.array(rows, np.float64)
    # Shards differ by at most one image: pad with a row that is marked by a negative loss count.
    longest = -(-total // fabric.world_size)
    padded = torch.full((longest, 5), -1.0, dtype=torch.float64)
    if rows:
        padded[: len(rows), :4] = torch.tensor(rows, dtype=torch.float64)
        padded[: len(rows), 4] = 1.0
    gathered: Tensor = fabric.all_gather(padded).reshape(-1, 5).cpu()  # type: ignore[union-attr]
    return gathered[gathered[:, 4] > 0, :4].numpy()


def _png_shape(path: Path) -> tuple[int, int]:
    """(rows, columns) of a PNG, from its header (PNG specification, IHDR)."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
        columns, rows = struct.unpack(">II", header[16:24])
    except (OSError, struct.error) as error:
        raise DataError(f"{path}: not a readable PNG ({error}); run dvc repro extract") from None
    return rows, columns
