"""One epoch of optimiser steps: batches forward and backward, gradients, what follows the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from pneumoseg.config.train import PhaseParams, TrainParams
from pneumoseg.networks.family import Batch, Objective
from pneumoseg.networks.memory import largest_batch
from pneumoseg.networks.network import Network
from pneumoseg.networks.preparation import normalise
from pneumoseg.shared.errors import TrainingError
from pneumoseg.train.dataset import EpochLoader
from pneumoseg.train.optimisation import Schedule, set_lr
from pneumoseg.train.progress import EpochProgress
from pneumoseg.train.sampling import Sample
from pneumoseg.train.teacher import MeanTeacher, Views


@dataclass(frozen=True)
class PhaseParts:
    """What a phase trains with; ``unlabelled`` and ``teacher`` come together."""

    phase: PhaseParams
    loader: EpochLoader[Batch]
    objective: Objective
    optimiser: Optimizer
    schedule: Schedule
    teacher: MeanTeacher | None
    unlabelled: EpochLoader[Views] | None


class Follower(Protocol):
    """What follows the weights through training: an average of them, a teacher."""

    def start_phase(self, model: Network) -> None:
        """Begin with these weights."""

    def after_step(self, model: nn.Module, epoch: int) -> None:
        """Follow a step of the optimiser; the epoch is counted from 1 through all phases."""

    def state(self) -> Any:
        """What a resumed run needs."""

    def load_state(self, state: Any) -> None:
        """Go on from a saved state; start_phase has been called."""


class Stepper:
    """Takes optimiser steps with a network."""

    def __init__(
        self, fabric: Fabric, network: Network, model: nn.Module, params: TrainParams, followers: Sequence[Follower]
    ) -> None:
        """Keep the parts; ``model`` is ``network`` as Fabric (and torch.compile) wraps it."""
        self.fabric = fabric
        self.network = network
        self.model = model
        self.params = params
        self.followers = followers
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
            set_lr(optimiser, lr)
            for index, batch in zip(range(len(group)), coming, strict=False):
                last = index + 1 == len(group)
                terms = self._supervised(parts.objective, batch, len(group), synchronise=last and parts.teacher is None)
                if last and parts.teacher is not None:
                    terms |= self._consistency(parts.teacher, next(pairs), number)
                watch.step(terms, batch.ids, lr)
            if self.params.gradient_clip_norm is not None:
                self.fabric.clip_gradients(self.model, optimiser, max_norm=self.params.gradient_clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            for follower in self.followers:
                follower.after_step(self.network, number)
        watch.close()
        return {"lr": lr} | self._means(watch.losses()), watch.timing(self.fabric.world_size)

    def prepared(self, images: Tensor) -> Tensor:
        """The network's input of uint8 images, on its device."""
        pixels = normalise(images.to(self.fabric.device, non_blocking=True), self.network)
        # Where a sample has several images, each has its channels last already.
        return pixels.contiguous(memory_format=self.layout) if pixels.ndim == 4 else pixels

    def _means(self, losses: dict[str, tuple[float, float]]) -> dict[str, float]:
        """The mean of each term over the batches of all processes that gave it; left out where none did."""
        sums = torch.tensor(list(losses.values()), dtype=torch.float64)
        if self.fabric.world_size > 1:
            sums = cast(Tensor, self.fabric.all_reduce(sums, reduce_op="sum"))
        return {name: total / count for name, (total, count) in zip(losses, sums.tolist(), strict=True) if count}

    def _pairs(self, parts: PhaseParts, epoch: int, steps: int) -> Iterator[Views]:
        if parts.teacher is None or parts.unlabelled is None:
            return iter(())
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        return parts.unlabelled.epoch(parts.teacher.batches(parts.phase.name, epoch, steps, rank, processes))

    def _supervised(self, objective: Objective, batch: Batch, batches: int, *, synchronise: bool) -> dict[str, Tensor]:
        with self._memory_told(batch.images):
            truth = batch.truth(self.fabric.device)
            with self.fabric.no_backward_sync(self.model, enabled=not synchronise):  # type: ignore[arg-type]
                terms, _ = objective(self.model, self.prepared(batch.images), truth)
                self.fabric.backward(terms["loss"] / batches)
        return {name: value.detach() for name, value in terms.items()}

    def _consistency(self, teacher: MeanTeacher, views: Views, number: int) -> dict[str, Tensor]:
        """Gradients of the mean teacher's term, of whose step it is the last backward pass."""
        with self._memory_told(views.student):
            with self.fabric.autocast():
                answer = teacher.answer(self.prepared(views.teacher))
            difference = teacher.difference(self.model(self.prepared(views.student)), answer)
            self.fabric.backward(teacher.weight(number) * difference)
        return {"consistency": difference.detach()}

    @contextmanager
    def _memory_told(self, images: Tensor) -> Iterator[None]:
        """Say what to lower where the GPU's memory ends."""
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(f"{self._advice(images.shape[-1])} ({error})") from None

    def _advice(self, size_px: int) -> str:
        batch, together = self.params.batch_size, self.params.batch_size * self.params.accumulate_batches
        wide = 2 if "16" in str(self.fabric.strategy.precision.precision) else 4
        processes = self.fabric.world_size
        fits = processes * largest_batch(self.network, size_px, wide, torch.cuda.mem_get_info()[1])
        smaller = smaller_batch(batch, together, processes, fits)
        ways = ["lower size_px or crop_px"]
        if not self.params.checkpoint_activations:
            ways.insert(0, "set train.checkpoint_activations to true")
        if smaller < batch:
            parts = together // smaller
            ways.insert(0, f"for the same step set train.batch_size={smaller} and train.accumulate_batches={parts}")
        return f"GPU out of memory at train.batch_size={batch} and {size_px} px: {', or '.join(ways)}"


def smaller_batch(batch: int, together: int, processes: int, fits: int) -> int:
    """The largest smaller batch that should fit and makes the same step; the batch itself where there is none.

    Args:
        batch: that did not fit, of all processes.
        together: images of a step.
        processes: that share a batch evenly.
        fits: the largest batch by the network's own needs; not below ``batch`` where something else takes the memory.
    """
    parts = [one for one in range(processes, batch, processes) if together % one == 0]
    limit = fits if fits < batch else batch // 2
    return max((one for one in parts if one <= limit), default=min(parts, default=batch))
