"""The training loop: phases of epochs, each a pass over samples and a validation."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from pneumoseg.augment import Augmenter
from pneumoseg.errors import TrainingError
from pneumoseg.models.losses import Loss, build_loss
from pneumoseg.models.network import SegmentationModel, set_encoder_frozen
from pneumoseg.models.preparation import normalise
from pneumoseg.params.train import PhaseParams, TrainParams
from pneumoseg.training.arrays import ImageArrays
from pneumoseg.training.checkpoint import Checkpoint
from pneumoseg.training.dataset import EpochLoader, TrainingImages
from pneumoseg.training.optimisation import LOWER_IS_BETTER, Schedule, build_optimiser
from pneumoseg.training.progress import EpochProgress, log_epoch
from pneumoseg.training.sampling import Sample, derive_seed, epoch_samples, share_at, steps
from pneumoseg.training.validation import Validation

logger = logging.getLogger(__name__)

Weights = dict[str, Tensor]
Row = dict[str, Any]
#: Called after each epoch with its number (from 1), its row of figures and its timings.
OnEpoch = Callable[[int, Mapping[str, Any], Mapping[str, float]], None]


@dataclass
class Progress:
    """How far training is; everything a resumed run needs beside weights and optimiser."""

    phase: int = 0
    epoch: int = 0  # epochs done in the phase
    history: list[Row] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    best_weights: Weights = field(default_factory=dict)
    waited: int = 0  # epochs since the best one


class Trainer:
    """One network, trained through its phases; the same seeds give the same weights, resumed or not."""

    def __init__(
        self,
        fabric: Fabric,
        model: SegmentationModel,
        params: TrainParams,
        manifest: pd.DataFrame,
        arrays: Callable[[int], ImageArrays],
        augmenter: Augmenter,
        validation: Validation,
        checkpoint: Checkpoint,
        workers: int,
        on_epoch: OnEpoch,
    ) -> None:
        """Keep the parts; ``arrays`` gives the images at a size, ``manifest`` is the training pool."""
        self.fabric = fabric
        self.params = params
        self.manifest = manifest
        self.arrays = arrays
        self.augmenter = augmenter
        self.validation = validation
        self.checkpoint = checkpoint
        self.workers = workers
        self.on_epoch = on_epoch
        self.progress = Progress()
        self.layout = torch.channels_last if params.channels_last else torch.contiguous_format
        self.network = model.to(memory_format=self.layout)
        self.model = fabric.setup_module(self.network)

    def run(self) -> Progress:
        """Train through all phases, going on from the checkpoint where there is one; the best weights are in place."""
        state = self.checkpoint.load()
        if state is not None:
            self._restore(state)
        while self.progress.phase < len(self.params.phases):
            self._run_phase(self.params.phases[self.progress.phase], state)
            state = None
        return self.progress

    def _run_phase(self, phase: PhaseParams, state: dict[str, Any] | None) -> None:
        progress = self.progress
        arrays = self.arrays(phase.size_px)
        loss = build_loss(phase.loss or self.params.loss)
        loader = EpochLoader(
            TrainingImages(arrays, self.augmenter, phase.crop_px), self.workers, self.fabric.device.type == "cuda"
        )
        lr = phase.lr if phase.lr is not None else self.params.lr
        built = build_optimiser(self.network, self.params.optimiser, lr)
        optimiser = cast(Optimizer, self.fabric.setup_optimizers(built))
        schedule = Schedule(phase.scheduler or self.params.scheduler, lr, phase.epochs)
        if state is not None:
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state(state["schedule"])
        while progress.epoch < phase.epochs:
            self._run_epoch(phase, loader, arrays, loss, optimiser, schedule)
            patience = self.params.early_stopping.patience_epochs
            if patience is not None and progress.waited >= patience:
                logger.info("phase %s stops early: %d epochs without a better %s", phase.name, progress.waited,
                            self.params.selection_metric)  # fmt: skip
                break
            if progress.epoch < phase.epochs:
                self._save(optimiser, schedule)
        self._end_phase()

    def _run_epoch(
        self,
        phase: PhaseParams,
        loader: EpochLoader,
        arrays: ImageArrays,
        loss: Loss,
        optimiser: Optimizer,
        schedule: Schedule,
    ) -> None:
        progress = self.progress
        number = len(progress.history) + 1
        torch.manual_seed(derive_seed(self.params.seed, phase.name, progress.epoch, "torch"))
        set_encoder_frozen(self.network, progress.epoch < phase.freeze_encoder_epochs)
        row: Row = {"epoch": number, "phase": phase.name, "size_px": phase.size_px}
        trained, timing = self._train_epoch(phase, loader, loss, optimiser, schedule)
        started = time.perf_counter()
        measured = self.validation.measure(self.fabric, cast(SegmentationModel, self.model), loss, arrays)
        timing["validation_seconds"] = time.perf_counter() - started
        schedule.validated(measured)
        row |= trained | {f"val_{name}": value for name, value in measured.items()}
        progress.history.append(row)
        progress.epoch += 1
        self._keep_best(measured, number)
        log_epoch(row, timing, progress.best_epoch == number)
        self.on_epoch(number, row, timing)

    def _train_epoch(
        self, phase: PhaseParams, loader: EpochLoader, loss: Loss, optimiser: Optimizer, schedule: Schedule
    ) -> tuple[Row, dict[str, float]]:
        epoch, fabric = self.progress.epoch, self.fabric
        groups = self._plan(phase)
        watch = EpochProgress(len(self.progress.history) + 1, sum(map(len, groups)), fabric.is_global_zero)
        coming = watch.batches(loader.epoch(batch for group in groups for batch in group))
        self.model.train()
        for number, group in enumerate(groups):
            lr = schedule.lr(epoch + number / len(groups))
            for parameters in optimiser.param_groups:
                parameters["lr"] = lr
            for index, (images, masks, image_ids) in zip(range(len(group)), coming, strict=False):
                terms = self._forward_backward(loss, images, masks, image_ids, len(group), last=index + 1 == len(group))
                watch.step(terms, image_ids, lr)
            if self.params.gradient_clip_norm is not None:
                fabric.clip_gradients(self.model, optimiser, max_norm=self.params.gradient_clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        watch.close()
        share = None if phase.positive_share is None else share_at(phase.positive_share, epoch, phase.epochs)
        row: Row = {"lr": lr, "positive_share": share if share is not None else float(self._manifest_share())}
        return row | watch.losses(), watch.timing(fabric.world_size)

    def _forward_backward(
        self, loss: Loss, images: Tensor, masks: Tensor, image_ids: list[str], batches: int, *, last: bool
    ) -> dict[str, Tensor]:
        device = self.fabric.device
        try:
            batch = normalise(images.to(device, non_blocking=True), self.network).contiguous(memory_format=self.layout)
            target = masks.to(device, non_blocking=True).unsqueeze(1).float() / 255
            with self.fabric.no_backward_sync(self.model, enabled=not last):
                terms = loss(self.model(batch), target)
                self.fabric.backward(terms["loss"] / batches)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self._lower_memory(images.shape[-1], error)) from None
        return {name: value.detach() for name, value in terms.items()}

    def _plan(self, phase: PhaseParams) -> list[list[list[Sample]]]:
        """This process's batches of each optimiser step of the coming epoch."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        samples = epoch_samples(self.manifest, phase, self.progress.epoch, self.params.seed)
        groups = list(steps(samples, self.params.batch_size, self.params.accumulate_batches, rank, processes))
        if not groups:
            raise TrainingError(f"{len(samples)} images give {processes} processes no batch: lower runtime.devices")
        return groups

    def _lower_memory(self, side_px: int, error: torch.cuda.OutOfMemoryError) -> str:
        half, parts = max(1, self.params.batch_size // 2), 2 * self.params.accumulate_batches
        return (
            f"GPU out of memory at train.batch_size={self.params.batch_size} and {side_px} px: for the same step set "
            f"train.batch_size={half} and train.accumulate_batches={parts}, or lower size_px or crop_px ({error})"
        )

    def _manifest_share(self) -> float:
        return float((self.manifest["pneumothorax"] == 1).mean())

    def _keep_best(self, measured: Mapping[str, float], number: int) -> None:
        metric = self.params.selection_metric
        score = -measured[metric] if metric in LOWER_IS_BETTER else measured[metric]
        if score > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch, self.progress.waited = score, number, 0
            self.progress.best_weights = _copy_weights(self.network)
        else:
            self.progress.waited += 1

    def _end_phase(self) -> None:
        """Put the wanted weights in place: the next phase's start, or the best ones after the last."""
        progress = self.progress
        progress.phase += 1
        following = self.params.phases[progress.phase : progress.phase + 1]
        if not following or following[0].start == "best":
            self.network.load_state_dict(progress.best_weights)
        if following:
            progress.epoch, progress.best_score, progress.waited = 0, -math.inf, 0

    def _save(self, optimiser: Optimizer, schedule: Schedule) -> None:
        if self.fabric.is_global_zero:
            progress = {name: value for name, value in vars(self.progress).items() if name != "history"}
            self.checkpoint.save(
                {
                    "weights": self.network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state(),
                    "progress": progress,
                    "history": self.progress.history,
                }
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self.progress = Progress(history=state["history"], **state["progress"])


def _copy_weights(model: nn.Module) -> Weights:
    return {name: copy.deepcopy(value.detach()).cpu() for name, value in model.state_dict().items()}
