"""Samples to tensors: the array's row, its augmentation, a crop. Stateless, so that workers change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pneumoseg.augment import Augmenter
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.sampling import Sample


class TrainingImages(Dataset[tuple[Tensor, Tensor, str]]):
    """Gives (image uint8 (H, W), mask uint8 (H, W), image id) for a Sample."""

    def __init__(self, arrays: ImageArrays, augmenter: Augmenter, crop_px: int | None) -> None:
        """Keep what an item needs; ``crop_px`` cuts a random square out of each image, null takes it whole."""
        self.arrays = arrays
        self.augmenter = augmenter
        self.crop_px = crop_px

    def __getitem__(self, sample: Sample) -> tuple[Tensor, Tensor, str]:
        """Augment one image with its mask, seeded by the sample alone."""
        image, mask = self.augmenter(
            sample.augmentation, self.arrays.image(sample.image_id), self.arrays.mask(sample.image_id), sample.seed
        )
        window = random_window(self.arrays.size_px, self.crop_px, sample.seed)
        image, mask = image[window], mask[window]
        # A copy: rows of the memory map are read-only, and views would share memory with it.
        return torch.from_numpy(image.copy()), torch.from_numpy(mask.copy()), sample.image_id


def random_window(size_px: int, crop_px: int | None, seed: int) -> tuple[slice, slice]:
    """Rows and columns of a square of ``crop_px`` within ``size_px``, fixed by the seed; None: the whole."""
    if crop_px is None:
        return slice(None), slice(None)
    top, left = np.random.default_rng((seed, 1)).integers(0, size_px - crop_px, size=2, endpoint=True)
    return slice(top, top + crop_px), slice(left, left + crop_px)


class _Batches:
    """A batch sampler over a changing list, so that worker processes live through all epochs of a phase."""

    def __init__(self) -> None:
        self.current: list[list[Sample]] = []

    def __iter__(self) -> Iterator[list[Sample]]:
        return iter(self.current)

    def __len__(self) -> int:
        return len(self.current)


class EpochLoader:
    """A DataLoader whose batches are given anew for each epoch."""

    def __init__(self, dataset: Dataset[tuple[Tensor, Tensor, str]], workers: int, pin_memory: bool) -> None:
        """Start ``workers`` processes (0 loads in this one) that stay for the whole phase."""
        self._batches = _Batches()
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._batches,
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread,
            prefetch_factor=4 if workers > 0 else None,
        )

    def epoch(self, batches: Iterable[list[Sample]]) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
        """Yield image (N, H, W) uint8, mask (N, H, W) uint8 (what the data set gives) and the ids of each batch."""
        self._batches.current = list(batches)
        for image, mask, image_ids in self._loader:
            yield image, mask, list(image_ids)


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's threads times workers would oversubscribe the processor
    torch.set_num_threads(1)
