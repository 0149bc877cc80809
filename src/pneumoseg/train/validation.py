"""What the network says of the validation images after an epoch, counted at the original size of each."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from pneumoseg.networks.family import Batch, Family, Objective
from pneumoseg.networks.network import Network
from pneumoseg.networks.preparation import normalise
from pneumoseg.rule.decision import level_of
from pneumoseg.rule.level_counts import LEVELS, LevelCounts
from pneumoseg.rule.map_counts import count_maps
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.figures import THRESHOLD, Validated, pick, summarise
from pneumoseg.train.fold_data import FoldData

Row = NDArray[np.float64]
#: Of an image, behind its 2 x 256 counts: pixels of the true mask and of the image, loss, probability, label, known.
_OTHERS = 6


class Validation:
    """The validation images of a fold, with their true masks at the original size (packed, one bit a pixel)."""

    def __init__(self, data: FoldData, family: Family, batch_size: int) -> None:
        """Read the masks of a fold."""
        self._ids = list(data.validation_ids)
        self._family = family
        self._batch_size = batch_size
        self._unknown = data.unknown_masks
        self._laterals = data.laterals
        self._shapes: dict[str, tuple[int, int]] = {}
        # Of what the network sees of an image: beyond it there is no map to be counted.
        self._seen: dict[str, tuple[int, int]] = {}
        self._truth: dict[str, NDArray[np.uint8]] = {}
        self._truth_px: dict[str, int] = {}
        for image_id in self._ids:
            path = data.layout.masks / f"{image_id}.png"
            if path.is_file():
                mask = read_png(path)
                self._shapes[image_id] = (mask.shape[0], mask.shape[1])
                self._truth[image_id] = np.packbits(data.box(image_id).cut(mask) > 0)
                self._truth_px[image_id] = int(np.count_nonzero(mask))
            else:
                self._shapes[image_id] = _png_shape(data.layout.images / f"{image_id}.png")
            self._seen[image_id] = data.box(image_id).size(*self._shapes[image_id])

    @property
    def all_empty(self) -> float | None:
        """Mean Dice of predicting nothing: the share of negatives among known masks; None where there are no maps."""
        unknown = self._unknown.intersection(self._ids)
        known = len(self._ids) - len(unknown)
        nothing = not known or (unknown and not self._truth)  # as figures of masks
        return None if nothing or not self._family.gives_map else 1.0 - len(self._truth) / known

    def check(self, wanted: Mapping[str, str]) -> None:
        """Refuse parameters that ask for a figure that these images cannot give, before an epoch is spent.

        Args:
            wanted: key of params.yaml → figure.

        Raises:
            TrainingError: names the key and the figures to be had.
        """
        nothing = np.zeros(2 * LEVELS)
        rows = [np.concatenate([nothing, self._others(name, 0.0, 0.0)]) for name in self._ids]
        had = summarise(_validated(np.array(rows), self._family.gives_map))
        for key, name in wanted.items():
            pick(had, name, key)

    def measure(self, fabric: Fabric, model: Network, objective: Objective, arrays: ImageArrays) -> dict[str, float]:
        """Run the model over this process's share of the images and gather all figures."""
        model.eval()
        rows = [
            row
            for batch in self._batches(fabric, arrays)
            for row in self._measure_batch(fabric, model, objective, batch)
        ]
        return summarise(_gather(fabric, rows, len(self._ids), self._family.gives_map))

    def _batches(self, fabric: Fabric, arrays: ImageArrays) -> Iterator[Batch]:
        mine = self._ids[fabric.global_rank :: fabric.world_size]
        for start in range(0, len(mine), self._batch_size):
            ids = mine[start : start + self._batch_size]
            images = torch.from_numpy(np.stack([arrays.views(image_id, self._laterals) for image_id in ids]))
            masks = torch.from_numpy(np.stack([arrays.mask(image_id) for image_id in ids]))
            known = torch.tensor([image_id not in self._unknown for image_id in ids])
            labels = torch.tensor([self._is_positive(image_id) for image_id in ids], dtype=torch.uint8)
            yield Batch(images, masks, labels, known, ids)

    def _is_positive(self, image_id: str) -> bool:
        return image_id in self._truth or image_id in self._unknown

    @torch.inference_mode()
    def _measure_batch(self, fabric: Fabric, model: Network, objective: Objective, batch: Batch) -> list[Row]:
        pixels = normalise(fabric.to_device(batch.images), model)
        terms, output = objective(model, pixels, batch.truth(fabric.device))
        loss = float(terms["loss"]) if "loss" in terms else np.nan
        maps, images = self._family.predict(output)[:2]
        above = inside = np.zeros((len(batch.ids), LEVELS), np.int64)
        probability = None if images is None else images.cpu().numpy()
        if maps is not None:
            shapes, truths = zip(*((self._seen[name], self._truth.get(name)) for name in batch.ids), strict=True)
            above, inside, highest = count_maps(maps, shapes, truths)
            probability = highest if probability is None else probability
        others = [
            self._others(image_id, loss, None if probability is None else probability[index])
            for index, image_id in enumerate(batch.ids)
        ]
        return list(np.concatenate([above, inside, others], axis=1).astype(np.float64))

    def _others(self, image_id: str, loss: float, image: float | np.float32 | None) -> list[Any]:
        rows, columns = self._shapes[image_id]
        truth_px, known = self._truth_px.get(image_id, 0), image_id not in self._unknown
        return [truth_px, rows * columns, loss, image, self._is_positive(image_id), known]


def _gather(fabric: Fabric, rows: list[Row], total: int, gives_map: bool) -> Validated:
    width = 2 * LEVELS + _OTHERS
    table = np.array(rows, np.float64).reshape(-1, width)
    if fabric.world_size > 1:
        # Shares differ by at most one image: the shorter ones are filled up with a row that holds no image.
        padded = np.full((-(-total // fabric.world_size), width), -1.0)
        padded[: len(table)] = table
        gathered = cast(Tensor, fabric.all_gather(torch.from_numpy(padded))).reshape(-1, width).cpu().numpy()
        table = gathered[gathered[:, 2 * LEVELS + 1] > 0]
    return _validated(table, gives_map)


def _validated(table: NDArray[np.float64], gives_map: bool) -> Validated:
    known = table[table[:, -1] > 0] if gives_map else table[:0]
    loss, probability, positive = table[:, 2 * LEVELS + 2 : -1].T
    marked = table[:, level_of(THRESHOLD)] > 0 if gives_map else probability >= THRESHOLD
    return Validated(loss, probability, positive > 0, marked, _level_counts(known) if len(known) else None)


def _level_counts(table: NDArray[np.float64]) -> LevelCounts:
    above, inside, truth_px, image_px = np.split(
        table[:, : 2 * LEVELS + 2].astype(np.int64), (LEVELS, 2 * LEVELS, 2 * LEVELS + 1), axis=1
    )
    return LevelCounts(
        patients=np.arange(len(table)),
        probability=table[:, 2 * LEVELS + 3],
        image_px=image_px[:, 0],
        truth_px=truth_px[:, 0],
        above=above,
        inside=inside,
        thresholds=(),
        clean_px=np.zeros((len(table), 0), np.int64),
        clean_inside=np.zeros((len(table), 0), np.int64),
    )


def _png_shape(path: Path) -> tuple[int, int]:
    """(rows, columns) of a PNG, from its header (PNG specification, IHDR)."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
        columns, rows = struct.unpack(">II", header[16:24])
    except (OSError, struct.error) as error:
        raise DataError(f"{path}: not a readable PNG ({error}); run dvc repro extract") from None
    return rows, columns
