"""Mean teacher: images without annotation teach that two views of one image deserve one answer.

Tarvainen and Valpola (NeurIPS 2017, arXiv:1703.01780), in the form of the competition's fifth place: a step adds the
squared difference between the network's masks of a few such images and the masks that its moving average gives of
another view of the same places.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import NONE
from pneumoseg.config.semisupervised import MeanTeacherParams
from pneumoseg.networks.family import Family, Prediction
from pneumoseg.networks.network import Network, tensors
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.averaging import Weights, copy_weights, move_towards
from pneumoseg.train.dataset import EpochLoader, TrainingSet, random_window
from pneumoseg.train.sampling import Sample


class Views(NamedTuple):
    """Of the same places of images without annotation, each (N, H, W) uint8."""

    teacher: Tensor
    student: Tensor


class TwoViews(Dataset[Views]):
    """Gives both views of a Sample."""

    def __init__(
        self, arrays: ImageArrays, augmenter: Augmenter, crop_px: int | None, params: MeanTeacherParams
    ) -> None:
        """Keep what an item needs."""
        self.arrays = arrays
        self.augmenter = augmenter
        self.crop_px = crop_px
        self.params = params

    def __getitem__(self, sample: Sample) -> Views:
        """Both views of one image, seeded by the sample alone."""
        image = self.arrays.image(sample.image_id)
        shared = self._view(self.params.shared_augmentation, image, derive_seed(sample.seed, "shared"))
        window = random_window(shared.shape[0], self.crop_px, sample.seed)
        shared = np.ascontiguousarray(shared[window])
        teacher = self._view(self.params.teacher_augmentation, shared, derive_seed(sample.seed, "teacher"))
        student = self._view(self.params.student_augmentation, shared, derive_seed(sample.seed, "student"))
        return Views(torch.from_numpy(teacher.copy()), torch.from_numpy(student.copy()))

    def _view(self, recipe: str | None, image: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
        mask = np.zeros(image.shape, np.uint8)
        return self.augmenter(recipe or NONE, image, mask, seed, online=False)[0]


class MeanTeacher:
    """The moving average of the network in training, and what it asks of it."""

    def __init__(self, params: MeanTeacherParams, family: Family, image_ids: Sequence[str], seed: int) -> None:
        """Take section train.mean_teacher and the images without annotation, of which there is at least one."""
        self.params = params
        self._family = family
        self._image_ids = list(image_ids)
        self._seed = seed
        self._teacher: Network | None = None

    def start_phase(self, model: Network) -> None:
        """The teacher begins with the network's weights."""
        self._teacher = copy.deepcopy(model).requires_grad_(False).eval()

    def loader(self, images: TrainingSet, arrays: ImageArrays, crop_px: int | None) -> EpochLoader[Views]:
        """A loader of both views."""
        return images.loader(TwoViews(arrays, images.augmenter, crop_px, self.params))

    def batches(self, phase: str, epoch: int, steps: int, rank: int, world_size: int) -> Iterator[list[Sample]]:
        """This process's samples of each step: passes over all images, shuffled, one after the other."""
        chooser = np.random.default_rng(derive_seed(self._seed, phase, epoch, "unlabelled"))
        needed = steps * self.params.images_per_step
        passes = math.ceil(needed / len(self._image_ids))
        order = np.concatenate([chooser.permutation(len(self._image_ids)) for _ in range(passes)])[:needed]
        samples = [
            Sample(self._image_ids[row], NONE, derive_seed(self._seed, phase, epoch, "unlabelled", position))
            for position, row in enumerate(order)
        ]
        for start in range(0, needed, self.params.images_per_step):
            yield samples[start + rank : start + self.params.images_per_step : world_size]

    def weight(self, epoch: int) -> float:
        """Weight of the consistency in an epoch, counted from 1 through all phases (Laine and Aila 2017)."""
        params = self.params
        if epoch < params.start_epoch:
            return params.initial_weight
        progress = min(1.0, (epoch - 1) / params.ramp_up_epochs)
        return params.weight * math.exp(-5.0 * (1.0 - progress) ** 2)

    def answer(self, batch: Tensor) -> Prediction:
        """What the teacher says of its view, (N, C, H, W) normalised."""
        if self._teacher is None:
            raise RuntimeError("start_phase has not been called")
        with torch.no_grad():
            return self._family.predict(self._teacher(batch))

    def difference(self, output: Any, teacher: Prediction) -> Tensor:
        """Mean squared difference of the maps, plus image_weight times that of the image probabilities.

        Args:
            output: of the network in training.
            teacher: what the teacher answers.

        Returns:
            float32 scalar, with gradient.
        """
        student = self._family.predict(output)
        parts = [(1.0, student.map, teacher.map), (self.params.image_weight, student.image, teacher.image)]
        total = torch.stack(
            [
                weight * (one - other).square().mean()
                for weight, one, other in parts
                if one is not None and other is not None
            ]
        ).sum()
        # Every output takes part, be it with nothing: DistributedDataParallel waits for all of them.
        return total + sum((part.float().sum() * 0.0 for part in tensors(output)), total.new_zeros(()))

    def after_step(self, model: nn.Module, epoch: int) -> None:
        """Follow a step of the optimiser; the decay depends on the epoch, counted from 1 through all phases."""
        if self._teacher is not None:
            move_towards(self._teacher, model, self.params.decay_at(epoch))

    def state(self) -> Weights | None:
        """What a resumed run needs."""
        return None if self._teacher is None else copy_weights(self._teacher)

    def load_state(self, state: Weights | None) -> None:
        """Go on from a saved state; start_phase has been called."""
        if self._teacher is not None and state is not None:
            self._teacher.load_state_dict(state)
