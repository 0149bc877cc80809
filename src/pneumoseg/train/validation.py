"""What an epoch's validation measures: per-image figures at threshold 0.5 and the original size of each image."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.networks.losses import Loss
from pneumoseg.networks.network import SegmentationModel
from pneumoseg.networks.preparation import normalise
from pneumoseg.rule.dice import dice
from pneumoseg.rule.maps import restore_map
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.train.arrays import ImageArrays

THRESHOLD = 0.5
LEVELS = 256
#: The rules among which dice_tuned takes the best, as the first place's training did every epoch: an image is positive
#: where enough pixels lie above the top threshold, its mask is what lies above the bottom one.
TOP_THRESHOLDS = (0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
BOTTOM_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
MIN_AREAS_PX_AT_1024 = (1, 300, 1000, 2000)


class Counts(NamedTuple):
    """Pixel counts of N images, at their original size.

    Attributes:
        predicted: (N, 256), pixels of the map (0 to 255) at or above each level.
        intersection: (N, 256), those of them that lie in the true mask.
        truth: (N,), pixels of the true mask.
        size: (N,), pixels of the image.
        loss: (N,), of the batch in which the image was.
    """

    predicted: NDArray[np.float64]
    intersection: NDArray[np.float64]
    truth: NDArray[np.float64]
    size: NDArray[np.float64]
    loss: NDArray[np.float64]


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
        return summarise(_gather(fabric, rows, len(self._ids)))

    def _batches(self, fabric: Fabric) -> Iterator[list[str]]:
        mine = self._ids[fabric.global_rank :: fabric.world_size]
        for start in range(0, len(mine), self._batch_size):
            yield mine[start : start + self._batch_size]

    @torch.inference_mode()
    def _measure_batch(
        self, fabric: Fabric, model: SegmentationModel, loss: Loss, arrays: ImageArrays, batch: list[str]
    ) -> list[NDArray[np.float64]]:
        images = fabric.to_device(torch.from_numpy(np.stack([arrays.image(image_id) for image_id in batch])))
        targets = fabric.to_device(torch.from_numpy(np.stack([arrays.mask(image_id) for image_id in batch])))
        output = model(normalise(images, model))
        value = float(loss(output, targets.unsqueeze(1).float() / 255)["loss"])
        maps = torch.sigmoid(output.mask.float())[:, 0].cpu().numpy()
        return [self._count(image_id, probability, value) for image_id, probability in zip(batch, maps, strict=True)]

    def _count(self, image_id: str, probability: NDArray[np.float32], loss: float) -> NDArray[np.float64]:
        """A row of 2 x 256 + 3 figures: the fields of Counts for one image."""
        rows, columns = self._shapes[image_id]
        levels = np.rint(restore_map(probability, rows, columns) * 255).astype(np.uint8)
        predicted = np.bincount(levels.ravel(), minlength=LEVELS)
        intersection = np.zeros(LEVELS, np.int64)
        if image_id in self._truth:
            truth = np.unpackbits(self._truth[image_id], count=rows * columns).reshape(rows, columns).astype(bool)
            intersection = np.bincount(levels[truth], minlength=LEVELS)
        above = [counts[::-1].cumsum()[::-1] for counts in (predicted, intersection)]
        return np.concatenate([*above, [intersection.sum(), rows * columns, loss]]).astype(np.float64)


def summarise(counts: Counts) -> dict[str, float]:
    """The figures of an epoch: at threshold 0.5, and dice_tuned, the mean Dice under the best of a few rules."""
    level = _first_level(THRESHOLD)
    predicted, intersection, truth = counts.predicted[:, level], counts.intersection[:, level], counts.truth
    scores, positive = dice(intersection, predicted, truth), truth > 0
    union = predicted + truth - intersection
    dice_pos = _mean(scores[positive])
    specificity = _mean(predicted[~positive] == 0)
    marked = float((predicted > 0).mean())
    return {
        "loss": float(counts.loss.mean()),
        "dice_all": float(scores.mean()),
        "dice_pos": dice_pos,
        "dice_balanced": (dice_pos + specificity) / 2,
        "dice_tuned": _best_rule(counts),
        "iou": _mean(intersection[positive] / union[positive]),
        "sensitivity": _mean(predicted[positive] > 0),
        "specificity": specificity,
        # Every map empty, or none: the mean Dice of the first is the share of negatives, which hides it.
        "collapsed": float(marked in (0.0, 1.0)),
        "marked_share": marked,
    }


def _best_rule(counts: Counts) -> float:
    scores = []
    empty = (counts.truth == 0).astype(np.float64)
    for bottom in BOTTOM_THRESHOLDS:
        level = _first_level(bottom)
        marked = dice(counts.intersection[:, level], counts.predicted[:, level], counts.truth)
        for top in (top for top in TOP_THRESHOLDS if top >= bottom):
            above = counts.predicted[:, _first_level(top)]
            for area in MIN_AREAS_PX_AT_1024:
                found = above >= np.maximum(1.0, area * counts.size / 1024**2)
                scores.append(float(np.where(found, marked, empty).mean()))
    return max(scores)


def _first_level(threshold: float) -> int:
    """The lowest level of a map (0 to 255) that counts as positive: level > 255 x threshold."""
    return int(np.floor(255 * threshold)) + 1


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _gather(fabric: Fabric, rows: list[NDArray[np.float64]], total: int) -> Counts:
    width = 2 * LEVELS + 3
    table = np.array(rows, np.float64).reshape(-1, width)
    if fabric.world_size > 1:
        # Shares differ by at most one image: the shorter ones are filled up with a row that holds no image.
        padded = np.full((-(-total // fabric.world_size), width), -1.0)
        padded[: len(table)] = table
        gathered = cast(Tensor, fabric.all_gather(torch.from_numpy(padded))).reshape(-1, width).cpu().numpy()
        table = gathered[gathered[:, -2] > 0]
    predicted, intersection = table[:, :LEVELS], table[:, LEVELS : 2 * LEVELS]
    return Counts(predicted, intersection, *table[:, 2 * LEVELS :].T)


def _png_shape(path: Path) -> tuple[int, int]:
    """(rows, columns) of a PNG, from its header (PNG specification, IHDR)."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
        columns, rows = struct.unpack(">II", header[16:24])
    except (OSError, struct.error) as error:
        raise DataError(f"{path}: not a readable PNG ({error}); run dvc repro extract") from None
    return rows, columns
