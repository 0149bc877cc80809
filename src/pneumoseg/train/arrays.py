"""8-bit resized radiographs and masks in memory-mapped arrays: decoded and resized once for each size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pneumoseg.networks.preparation import resize_image, resize_mask
from pneumoseg.shared.files import read_png
from pneumoseg.shared.parallel import map_threads
from pneumoseg.train.fold_data import FoldData


@dataclass(frozen=True)
class ImageArrays:
    """Radiographs and soft masks at one size; picklable, and opened anew in each worker process.

    ``masks`` holds those that there are; every other image has an empty mask.
    """

    folder: Path
    size_px: int
    image_rows: dict[str, int]
    mask_rows: dict[str, int]

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return _open(self.folder / "images.npy")

    @cached_property
    def _masks(self) -> NDArray[np.uint8]:
        return _open(self.folder / "masks.npy")

    def __getstate__(self) -> dict[str, Any]:
        fields = ("folder", "size_px", "image_rows", "mask_rows")
        return {name: self.__dict__[name] for name in fields}

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """The radiograph, (size_px, size_px) uint8."""
        return cast(NDArray[np.uint8], self._images[self.image_rows[image_id]])

    def views(self, image_id: str, laterals: Mapping[str, str] | None) -> NDArray[np.uint8]:
        """The radiograph; where ``laterals`` are given (2, size_px, size_px), with its view from the side, or zeros."""
        if laterals is None:
            return self.image(image_id)
        beside = laterals.get(image_id)
        front = self.image(image_id)
        return np.stack([front, np.zeros_like(front) if beside is None else self.image(beside)])

    def mask(self, image_id: str) -> NDArray[np.uint8]:
        """The share of each pixel that the mask covers, (size_px, size_px) uint8, 255 is all of it."""
        row = self.mask_rows.get(image_id)
        if row is None:
            return np.zeros((self.size_px, self.size_px), np.uint8)
        return cast(NDArray[np.uint8], self._masks[row])


def build_arrays(data: FoldData, size_px: int, cache: Path) -> ImageArrays:
    """Decode and resize the images of a fold once; a later call with the same data and size opens what is there.

    Args:
        data: images and masks, and pseudo-labels as masks of images that have none.
        size_px: rows and columns of the arrays.
        cache: folder for the arrays; all of it may be deleted at any time.
    """
    image_ids, pseudo, layout = data.image_ids, data.pseudo, data.layout
    masks = [image_id for image_id in image_ids if image_id in pseudo.maps or layout.mask(image_id).is_file()]

    def read_image(image_id: str) -> NDArray[np.uint8]:
        return resize_image(data.box(image_id).cut(read_png(layout.image(image_id))), size_px)

    def read_mask(image_id: str) -> NDArray[np.uint8]:
        mask = pseudo.mask(image_id) if image_id in pseudo.maps else read_png(layout.mask(image_id))
        return resize_mask(data.box(image_id).cut(mask), size_px)

    folder = cache / f"{data.digest}-{size_px}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as name:
            building = Path(name) / "arrays"
            building.mkdir()
            _fill(building / "images.npy", image_ids, size_px, read_image, f"images at {size_px} px")
            _fill(building / "masks.npy", masks, size_px, read_mask, f"masks at {size_px} px")
            try:
                building.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process has just built the same
                    raise
    return ImageArrays(
        folder,
        size_px,
        {image_id: row for row, image_id in enumerate(image_ids)},
        {image_id: row for row, image_id in enumerate(masks)},
    )


def _fill(
    path: Path, image_ids: Sequence[str], size_px: int, read: Callable[[str], NDArray[np.uint8]], title: str
) -> None:
    shape = (len(image_ids), size_px, size_px)
    if not image_ids:
        np.save(path, np.zeros(shape, np.uint8))
        return
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def fill(row: int) -> None:
        array[row] = read(image_ids[row])

    map_threads(fill, range(len(image_ids)), None, title)
    array.flush()


def _open(path: Path) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return array
