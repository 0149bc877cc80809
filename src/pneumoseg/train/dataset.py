"""Samples to tensors: the array's row, its augmentation, a crop. Stateless, so that workers change nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pneumoseg.augment import Augmenter
from pneumoseg.networks.family import Batch
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.arrays import ImageArrays, build_arrays
from pneumoseg.train.fold_data import FoldData
from pneumoseg.train.sampling import Sample

Item = TypeVar("Item")

#: What torch says where a process writes beyond the end of /dev/shm, or cannot enlarge a file in it.
_NO_SHARED_MEMORY = re.compile(r"bus error|shared memory|torch_shm|No space left on device", re.IGNORECASE)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it


class TrainingImages(Dataset[Batch]):
    """Gives image, mask and label of a Sample."""

    def __init__(
        self,
        arrays: ImageArrays,
        augmenter: Augmenter,
        crop_px: int | None,
        label_only: Mapping[str, bool],
        laterals: Mapping[str, str] | None = None,
        drop_view_share: float = 0.0,
    ) -> None:
        """Keep what an item needs.

        Args:
            arrays: the images.
            augmenter: of section augment.
            crop_px: cuts a random square out of each image; None takes it whole.
            label_only: the label of each image whose mask is not known.
            laterals: the view from the side of each image that has one; None: one image a sample.
            drop_view_share: of samples that have one, how many are shown without it.
        """
        self.arrays = arrays
        self.augmenter = augmenter
        self.crop_px = crop_px
        self.label_only = label_only
        self.laterals = laterals
        self.drop_view_share = drop_view_share

    def __getitem__(self, sample: Sample) -> Batch:
        """Augment one image with its mask, seeded by the sample alone."""
        image, mask = self.augmenter(
            sample.augmentation, self.arrays.image(sample.image_id), self.arrays.mask(sample.image_id), sample.seed
        )
        window = random_window(self.arrays.size_px, self.crop_px, sample.seed)
        # A copy: rows of the memory map are read-only, and views would share memory with it.
        label = self.label_only.get(sample.image_id)
        shown = image[window].copy()
        if self.laterals is not None:
            shown = np.stack([shown, self._lateral(sample, shown)])
        return make_item(sample.image_id, shown, mask[window].copy(), label)

    def _lateral(self, sample: Sample, front: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The view from the side, augmented and cut by itself; zeros where there is none, or it is left out."""
        beside = (self.laterals or {}).get(sample.image_id)
        if beside is None or derive_seed(sample.seed, "left out") < self.drop_view_share * 2**63:
            return np.zeros_like(front)
        image, seed = self.arrays.image(beside), derive_seed(sample.seed, "lateral")
        image, _ = self.augmenter(sample.augmentation, image, np.zeros_like(image), seed)
        return np.ascontiguousarray(image[random_window(self.arrays.size_px, self.crop_px, seed)])


def make_item(image_id: str, image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], label: bool | None) -> Batch:
    """A batch of one, without the first axis; ``label`` is that of an image whose mask is not known, else None."""
    known = label is None
    shown = torch.tensor(bool(mask.any()) if label is None else label, dtype=torch.uint8)
    return Batch(torch.from_numpy(image), torch.from_numpy(mask), shown, torch.tensor(known), image_id)  # type: ignore[arg-type]


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


class EpochLoader(Generic[Item]):
    """A DataLoader whose batches are given anew for each epoch."""

    def __init__(self, dataset: Dataset[Item], workers: int, pin_memory: bool) -> None:
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
            # Of its own: the seed of workers, drawn as often as they start, would move the dropout of the network.
            generator=torch.Generator(),
        )

    def epoch(self, batches: Iterable[list[Sample]]) -> Iterator[Item]:
        """Yield what the data set gives for the samples of each batch, stacked field by field.

        Raises:
            TrainingError: the shared memory of this machine, or of its container, is too small for the processes.
        """
        self._batches.current = list(batches)
        try:
            yield from self._loader
        except RuntimeError as error:
            if not _NO_SHARED_MEMORY.search(str(error)):
                raise
            raise TrainingError(
                f"the {self._loader.num_workers} processes that load images hand them over in shared memory, and that "
                f"ran full{_shared_memory()}: set runtime.workers to 0 or to fewer, or give the container more of it, "
                "as with docker run --shm-size=2g"
            ) from None


@dataclass(frozen=True)
class TrainingSet:
    """The images of a fold, and how they reach a network.

    Attributes:
        data: which images, with which masks.
        augmenter: of section augment.
        scratch: folder for the memory-mapped arrays; may be deleted at any time.
        workers: processes that load; 0: none beside this one.
        pin_memory: whether batches go to a GPU.
        drop_view_share: as in TrainingImages.
    """

    data: FoldData
    augmenter: Augmenter
    scratch: Path
    workers: int
    pin_memory: bool
    drop_view_share: float = 0.0

    def arrays(self, size_px: int) -> ImageArrays:
        """Every image of the fold at a size."""
        return build_arrays(self.data, size_px, self.scratch)

    def labelled(self, arrays: ImageArrays, crop_px: int | None) -> EpochLoader[Batch]:
        """A loader of augmented images with what is known of them."""
        data = self.data
        images = TrainingImages(arrays, self.augmenter, crop_px, data.label_only, data.laterals, self.drop_view_share)
        return self.loader(images)

    def loader(self, dataset: Dataset[Item]) -> EpochLoader[Item]:
        """A loader of a data set of Samples."""
        if self.workers:
            self.augmenter.load()
        return EpochLoader(dataset, self.workers, self.pin_memory)


def _shared_memory() -> str:
    if not _SHARED_MEMORY.is_dir():
        return ""
    return f" ({_SHARED_MEMORY} has {shutil.disk_usage(_SHARED_MEMORY).total / 2**20:,.3g} MiB)"


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)  # OpenCV's threads times workers would oversubscribe the processor
    torch.set_num_threads(1)
