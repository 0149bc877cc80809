"""Mean teacher: images without annotation teach that two views of one image deserve one answer.

Tarvainen and Valpola (NeurIPS 2017, arXiv:1703.01780), in the form of the competition's fifth place: a step adds the
squared difference between the network's masks of a few such images and the masks that its moving average gives of
another view of the same places.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import NONE
from pneumoseg.config.semisupervised import MeanTeacherParams
from pneumoseg.networks.network import Output, SegmentationModel
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.averaging import copy_weights, move_towards
from pneumoseg.train.dataset import EpochLoader, random_window
from pneumoseg.train.sampling import Sample


class TwoViews(Dataset[tuple[Tensor, Tensor, str]]):
    """Gives (the teacher's view, the student's view, image id) for a Sample; both (H, W) uint8 of the same places."""

    def __init__(
        self, arrays: ImageArrays, augmenter: Augmenter, crop_px: int | None, params: MeanTeacherParams
    ) -> None:
        """Keep what an item needs."""
        self.arrays = arrays
        self.augmenter = augmenter
        self.crop_px = crop_px
        self.params = params

    def __getitem__(self, sample: Sample) -> tuple[Tensor, Tensor, str]:
        """Both views of one image, seeded by the sample alone."""
        image = self.arrays.image(sample.image_id)
        shared = self._view(self.params.shared_augmentation, image, derive_seed(sample.seed, "shared"))
        window = random_window(shared.shape[0], self.crop_px, sample.seed)
        shared = np.ascontiguousarray(shared[window])
        teacher = self._view(self.params.teacher_augmentation, shared, derive_seed(sample.seed, "teacher"))
        student = self._view(self.params.student_augmentation, shared, derive_seed(sample.seed, "student"))
        return torch.from_numpy(teacher.copy()), torch.from_numpy(student.copy()), sample.image_id

    def _view(self, recipe: str | None, image: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        mask = np.zeros(image.shape, np.uint8)
        return self.augmenter(recipe or NONE, image, mask, seed, online=False)[0]


class MeanTeacher:
    """The moving average of the network in training, and what it asks of it."""

    def __init__(self, params: MeanTeacherParams, image_ids: Sequence[str], seed: int) -> None:
        """Take section train.mean_teacher and the images without annotation, of which there is at least one."""
        self._params = params
        self._image_ids = list(image_ids)
        self._seed = seed
        self._teacher: SegmentationModel | None = None

    def start_phase(self, model: SegmentationModel) -> None:
        """The teacher begins with the network's weights."""
        self._teacher = copy.deepcopy(model).requires_grad_(False).eval()

    def loader(
        self, arrays: ImageArrays, augmenter: Augmenter, crop_px: int | None, workers: int, pin_memory: bool
    ) -> EpochLoader:
        """A loader of both views."""
        return EpochLoader(TwoViews(arrays, augmenter, crop_px, self._params), workers, pin_memory)

    def batches(self, phase: str, epoch: int, steps: int, rank: int, world_size: int) -> Iterator[list[Sample]]:
        """This process's samples of each step: passes over all images, shuffled, one after the other."""
        chooser = np.random.default_rng(derive_seed(self._seed, phase, epoch, "unlabelled"))
        needed = steps * self._params.images_per_step
        passes = math.ceil(needed / len(self._image_ids))
        order = np.concatenate([chooser.permutation(len(self._image_ids)) for _ in range(passes)])[:needed]
        samples = [
            Sample(self._image_ids[row], NONE, derive_seed(self._seed, phase, epoch, "unlabelled", position))
            for position, row in enumerate(order)
        ]
        for start in range(0, needed, self._params.images_per_step):
            yield samples[start + rank : start + self._params.images_per_step : world_size]

    def weight(self, epoch: int) -> float:
        """Weight of the consistency in an epoch, counted from 1 through all phases (Laine and Aila 2017)."""
        params = self._params
        if epoch < params.start_epoch:
            return params.initial_weight
        progress = min(1.0, (epoch - 1) / params.ramp_up_epochs)
        return params.weight * math.exp(-5.0 * (1.0 - progress) ** 2)

    def answer(self, batch: Tensor) -> Output:
        """What the teacher says of its view, (N, C, H, W) normalised."""
        if self._teacher is None:
            raise RuntimeError("start_phase has not been called")
        with torch.no_grad():
            output: Output = self._teacher(batch)
        return output

    def difference(self, student: Output, teacher: Output) -> Tensor:
        """Mean squared difference of the masks, plus image_weight times that of the image heads; float32 scalar."""
        mask = torch.sigmoid(teacher.mask.float())
        total = (torch.sigmoid(student.mask.float()) - mask).square().mean()
        if student.image is not None and teacher.image is not None:
            image = torch.sigmoid(teacher.image.float())
            total = total + self._params.image_weight * (torch.sigmoid(student.image.float()) - image).square().mean()
        # Every output takes part, be it with nothing: DistributedDataParallel waits for all of them.
        return total + sum((level.float().sum() * 0.0 for level in student.auxiliary), total.new_zeros(()))

    def after_step(self, model: nn.Module, epoch: int) -> None:
        """Follow a step of the optimiser; the decay depends on the epoch, counted from 1 through all phases."""
        if self._teacher is not None:
            move_towards(self._teacher, model, self._params.decay_at(epoch))

    def state(self) -> dict[str, Tensor] | None:
        """What a resumed run needs."""
        return None if self._teacher is None else copy_weights(self._teacher)

    def load_state(self, state: dict[str, Tensor] | None) -> None:
        """Go on from a saved state; start_phase has been called."""
        if self._teacher is not None and state is not None:
            self._teacher.load_state_dict(state)
