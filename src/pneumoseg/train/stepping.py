"""One epoch of optimiser steps: batches forward and backward, gradients, averages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from pneumoseg.config.train import PhaseParams, TrainParams
from pneumoseg.networks.losses import Loss
from pneumoseg.networks.network import SegmentationModel
from pneumoseg.networks.preparation import normalise
from pneumoseg.shared.errors import TrainingError
from pneumoseg.train.averaging import Averaging
from pneumoseg.train.dataset import EpochLoader
from pneumoseg.train.optimisation import Schedule
from pneumoseg.train.progress import EpochProgress
from pneumoseg.train.sampling import Sample
from pneumoseg.train.teacher import MeanTeacher

Batch = tuple[Tensor, Tensor, list[str]]


@dataclass(frozen=True)
class PhaseParts:
    """What a phase trains with."""

    phase: PhaseParams
    loader: EpochLoader
    unlabelled: EpochLoader | None  # for the mean teacher
    loss: Loss
    optimiser: Optimizer
    schedule: Schedule


class Stepper:
    """Takes optimiser steps with a network."""

    def __init__(
        self,
        fabric: Fabric,
        network: SegmentationModel,
        model: nn.Module,
        params: TrainParams,
        averaging: Averaging,
        teacher: MeanTeacher | None,
    ) -> None:
        """Keep the parts; ``model`` is ``network`` as Fabric (and torch.compile) wraps it."""
        self.fabric = fabric
        self.network = network
        self.model = model
        self.params = params
        self.averaging = averaging
        self.teacher = teacher
        self.layout = torch.channels_last if params.channels_last else torch.contiguous_format

    def epoch(
        self, parts: PhaseParts, groups: list[list[list[Sample]]], epoch: int, number: int
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Train one epoch.

        Args:
            parts: of the phase.
            groups: this process's batches of each step.
            epoch: from 0, within the phase.
            number: from 1, through all phases.

        Returns:
            lr and the mean of each loss term; timings.
        """
        optimiser = parts.optimiser
        watch = EpochProgress(number, sum(map(len, groups)), self.fabric.is_global_zero)
        coming = watch.batches(parts.loader.epoch(batch for group in groups for batch in group))
        pairs = self._pairs(parts, epoch, len(groups))
        self.model.train()
        lr = 0.0
        for step, group in enumerate(groups):
            lr = parts.schedule.lr(epoch + step / len(groups))
            for parameters in optimiser.param_groups:
                parameters["lr"] = lr
            for index, batch in zip(range(len(group)), coming, strict=False):
                last = index + 1 == len(group) and self.teacher is None
                terms = self._supervised(parts.loss, batch, len(group), synchronise=last)
                if self.teacher is not None and index + 1 == len(group):
                    terms |= self._consistency(self.teacher, next(pairs), number)
                watch.step(terms, batch[2], lr)
            if self.params.gradient_clip_norm is not None:
                self.fabric.clip_gradients(self.model, optimiser, max_norm=self.params.gradient_clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            self.averaging.after_step(self.network)
            if self.teacher is not None:
                self.teacher.after_step(self.network, number)
        watch.close()
        return {"lr": lr} | self._over_processes(watch.losses()), watch.timing(self.fabric.world_size)

    def prepared(self, images: Tensor) -> Tensor:
        """The network's input of (N, H, W) uint8 images, on its device."""
        moved = images.to(self.fabric.device, non_blocking=True)
        return normalise(moved, self.network).contiguous(memory_format=self.layout)

    def _over_processes(self, losses: dict[str, float]) -> dict[str, float]:
        """The means over all processes, each of which has seen an equal share."""
        if self.fabric.world_size == 1:
            return losses
        means = self.fabric.all_reduce(torch.tensor(list(losses.values()), dtype=torch.float64), reduce_op="mean")
        return dict(zip(losses, cast(Tensor, means).tolist(), strict=True))

    def _pairs(self, parts: PhaseParts, epoch: int, steps: int) -> Iterator[Batch]:
        if self.teacher is None or parts.unlabelled is None:
            return iter(())
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        return parts.unlabelled.epoch(self.teacher.batches(parts.phase.name, epoch, steps, rank, processes))

    def _supervised(self, loss: Loss, batch: Batch, batches: int, *, synchronise: bool) -> dict[str, Tensor]:
        images, masks, _ = batch
        try:
            target = masks.to(self.fabric.device, non_blocking=True).unsqueeze(1).float() / 255
            with self.fabric.no_backward_sync(self.model, enabled=not synchronise):  # type: ignore[arg-type]
                terms = loss(self.model(self.prepared(images)), target)
                self.fabric.backward(terms["loss"] / batches)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self._lower_memory(images.shape[-1], error)) from None
        return {name: value.detach() for name, value in terms.items()}

    def _consistency(self, teacher: MeanTeacher, pair: Batch, number: int) -> dict[str, Tensor]:
        """Gradients of the mean teacher's term, of whose step it is the last backward pass."""
        views, images, _ = pair
        try:
            with self.fabric.autocast():
                answer = teacher.answer(self.prepared(views))
            difference = teacher.difference(self.model(self.prepared(images)), answer)
            self.fabric.backward(teacher.weight(number) * difference)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self._lower_memory(images.shape[-1], error)) from None
        return {"consistency": difference.detach()}

    def _lower_memory(self, side_px: int, error: torch.cuda.OutOfMemoryError) -> str:
        half, parts = max(1, self.params.batch_size // 2), 2 * self.params.accumulate_batches
        keep = "" if self.params.checkpoint_activations else "set train.checkpoint_activations to true, "
        return (
            f"GPU out of memory at train.batch_size={self.params.batch_size} and {side_px} px: for the same step set "
            f"train.batch_size={half} and train.accumulate_batches={parts}, or {keep}or lower size_px or crop_px "
            f"({error})"
        )
