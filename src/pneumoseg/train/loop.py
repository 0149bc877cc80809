"""The training loop: phases of epochs, each a pass over samples and a validation."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from pneumoseg.augment import Augmenter
from pneumoseg.config.train import PhaseParams, Start, TrainParams
from pneumoseg.networks.losses import Loss, build_loss
from pneumoseg.networks.memory import checkpoint_activations
from pneumoseg.networks.network import SegmentationModel, set_encoder_frozen
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.averaging import Averaging, Weights, copy_weights, measure_statistics
from pneumoseg.train.dataset import EpochLoader, TrainingImages
from pneumoseg.train.optimisation import LOWER_IS_BETTER, Schedule, build_optimiser
from pneumoseg.train.progress import log_epoch, seconds_left
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.sampling import Sample, epoch_samples, share_at, steps
from pneumoseg.train.stepping import PhaseParts, Stepper
from pneumoseg.train.teacher import MeanTeacher
from pneumoseg.train.validation import Validation

logger = logging.getLogger(__name__)

Row = dict[str, Any]
#: Called after each epoch with its number (from 1), its row of figures and its timings.
OnEpoch = Callable[[int, Mapping[str, Any], Mapping[str, float]], None]
#: A good epoch of a phase: its score (higher is better), its number from 1 through all phases, its weights.
Kept = tuple[float, int, Weights]


@dataclass
class Progress:
    """How far training is; everything a resumed run needs beside weights and optimiser."""

    phase: int = 0
    epoch: int = 0  # epochs done in the phase
    history: list[Row] = field(default_factory=list)
    best: list[Kept] = field(default_factory=list)  # of the phase, the best first
    waited: int = 0  # epochs since the best one

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch of the phase, from 1 through all phases; 0 before the first."""
        return self.best[0][1] if self.best else 0


@dataclass(frozen=True)
class Result:
    """What training came to: ``kept`` are the figures of the weights that are in place now."""

    history: list[Row]
    best_epoch: int
    kept: Row
    others: list[Weights]  # further checkpoints, the next best first


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
        teacher: MeanTeacher | None,
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
        self.teacher = teacher
        self.progress = Progress()
        self.averaging = Averaging(params.averaging)
        layout = torch.channels_last if params.channels_last else torch.contiguous_format
        self.network = model.to(memory_format=layout)
        if params.checkpoint_activations:
            checkpoint_activations(self.network)
        wrapped = torch.compile(self.network, dynamic=False) if params.compile else self.network
        self.model = fabric.setup_module(cast(SegmentationModel, wrapped))
        self.stepper = Stepper(fabric, self.network, self.model, params, self.averaging, teacher)

    def run(self) -> Result:
        """Train through all phases, going on from the checkpoint where there is one; the kept weights are in place."""
        state = self.checkpoint.load()
        if state is not None:
            self._restore(state)
        kept: Row = {}
        while self.progress.phase < len(self.params.phases):
            kept = self._run_phase(self.params.phases[self.progress.phase], state)
            state = None
        progress = self.progress
        others = [weights for _, _, weights in progress.best[1 : self.params.checkpoints]]
        return Result(progress.history, progress.best_epoch, kept, others)

    def _run_phase(self, phase: PhaseParams, state: dict[str, Any] | None) -> Row:
        """Train a phase and put its wanted weights in place; returns their figures."""
        progress = self.progress
        arrays = self.arrays(phase.size_px)
        self.averaging.start_phase(self.network)
        if self.teacher is not None:
            self.teacher.start_phase(self.network)
        parts = self._parts(phase, arrays)
        if state is not None:
            parts.optimiser.load_state_dict(state["optimiser"])
            parts.schedule.load_state(state["schedule"])
            self.averaging.load_state(state["averaging"])
            if self.teacher is not None:
                self.teacher.load_state(state["teacher"])
        while progress.epoch < phase.epochs:
            self._run_epoch(parts, arrays)
            patience = self.params.early_stopping.patience_epochs
            if patience is not None and progress.waited >= patience:
                logger.info("phase %s stops early: %d epochs without a better %s", phase.name, progress.waited,
                            self.params.selection_metric)  # fmt: skip
                break
            if progress.epoch < phase.epochs:
                self._save(parts)
        return self._end_phase(parts, arrays)

    def _parts(self, phase: PhaseParams, arrays: ImageArrays) -> PhaseParts:
        pin_memory = self.fabric.device.type == "cuda"
        lr = phase.lr if phase.lr is not None else self.params.lr
        optimiser = self.fabric.setup_optimizers(build_optimiser(self.network, self.params.optimiser, lr))
        unlabelled = None
        if self.teacher is not None:
            unlabelled = self.teacher.loader(arrays, self.augmenter, phase.crop_px, self.workers, pin_memory)
        return PhaseParts(
            phase,
            EpochLoader(TrainingImages(arrays, self.augmenter, phase.crop_px), self.workers, pin_memory),
            unlabelled,
            build_loss(phase.loss or self.params.loss),
            cast(Optimizer, optimiser),
            Schedule(phase.scheduler or self.params.scheduler, lr, phase.epochs),
        )

    def _run_epoch(self, parts: PhaseParts, arrays: ImageArrays) -> None:
        progress, phase = self.progress, parts.phase
        number = len(progress.history) + 1
        torch.manual_seed(derive_seed(self.params.seed, phase.name, progress.epoch, "torch"))
        set_encoder_frozen(self.network, progress.epoch < phase.freeze_encoder_epochs)
        trained, timing = self.stepper.epoch(parts, self._plan(phase, progress.epoch), progress.epoch, number)
        started = time.perf_counter()
        measured = self._measure(parts.loss, arrays)
        timing["validation_seconds"] = time.perf_counter() - started
        parts.schedule.validated(measured)
        row: Row = {"epoch": number, "phase": phase.name, "size_px": phase.size_px, "lr": trained.pop("lr")}
        row["positive_share"] = self._share(phase, progress.epoch)
        row |= trained | {f"val_{name}": value for name, value in measured.items()}
        progress.history.append(row)
        progress.epoch += 1
        self._keep_best(measured, number)
        self.averaging.after_epoch(self.network, number)
        left = seconds_left(self.params.phases, progress.phase, progress.epoch, timing)
        if self.fabric.is_global_zero:
            log_epoch(row, timing, progress.best_epoch == number, left)
        self.on_epoch(number, row, timing)

    def _measure(self, loss: Loss, arrays: ImageArrays) -> dict[str, float]:
        # The bare network: a compiled one would be compiled once more for each size of a last batch.
        with self.fabric.autocast():
            return self.validation.measure(self.fabric, self.network, loss, arrays)

    def _plan(self, phase: PhaseParams, epoch: int) -> list[list[list[Sample]]]:
        """This process's batches of each optimiser step of an epoch."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        samples = epoch_samples(self.manifest, phase, epoch, self.params.seed)
        groups = list(steps(samples, self.params.batch_size, self.params.accumulate_batches, rank, processes))
        if not groups:
            raise TrainingError(f"{len(samples)} images give {processes} processes no batch: lower runtime.devices")
        return groups

    def _share(self, phase: PhaseParams, epoch: int) -> float:
        if phase.positive_share is None:
            return float((self.manifest["pneumothorax"] == 1).mean())
        return share_at(phase.positive_share, epoch, phase.epochs)

    def _keep_best(self, measured: Mapping[str, float], number: int) -> None:
        metric, progress = self.params.selection_metric, self.progress
        score = -measured[metric] if metric in LOWER_IS_BETTER else measured[metric]
        wanted = max(self.params.checkpoints, self.averaging.best_needed)
        progress.waited = 0 if score > (progress.best[0][0] if progress.best else -math.inf) else progress.waited + 1
        if len(progress.best) < wanted or score > progress.best[-1][0]:
            kept = [*progress.best, (score, number, copy_weights(self.network))]
            progress.best = sorted(kept, key=lambda one: (-one[0], one[1]))[:wanted]

    def _end_phase(self, parts: PhaseParts, arrays: ImageArrays) -> Row:
        """Put the wanted weights in place: the next phase's start, or train.keep's after the last; their figures."""
        progress = self.progress
        following = self.params.phases[progress.phase + 1 : progress.phase + 2]
        wanted: Start = following[0].start if following else self.params.keep
        row = progress.history[-1]
        if wanted == "best":
            self.network.load_state_dict(progress.best[0][2])
            row = progress.history[progress.best_epoch - 1]
        elif wanted == "averaged":
            row = row | {f"val_{name}": value for name, value in self._average(parts, arrays).items()}
        progress.phase += 1
        if following:
            progress.epoch, progress.best, progress.waited = 0, [], 0
        return row | {"kept": wanted}

    def _average(self, parts: PhaseParts, arrays: ImageArrays) -> dict[str, float]:
        """Put the averaged weights in place and measure them."""
        best = [weights for _, _, weights in self.progress.best]
        self.network.load_state_dict(self.averaging.weights(self.network, best))
        if self.averaging.measures_statistics:
            self.network.train()
            with self.fabric.autocast():
                measure_statistics(self.network, self._images(parts))
        measured = self._measure(parts.loss, arrays)
        logger.info("averaged weights (%s): D_all %.4f  D_pos %.4f  best epoch's %s %.4f, theirs %.4f",
                    self.params.averaging.name, measured["dice_all"], measured["dice_pos"],
                    self.params.selection_metric, abs(self.progress.best[0][0]),
                    measured[self.params.selection_metric])  # fmt: skip
        return measured

    def _images(self, parts: PhaseParts) -> Iterator[Tensor]:
        groups = self._plan(parts.phase, self.progress.epoch - 1)
        torch.manual_seed(derive_seed(self.params.seed, parts.phase.name, "statistics"))
        for images, _, _ in parts.loader.epoch(batch for group in groups for batch in group):
            yield self.stepper.prepared(images)

    def _save(self, parts: PhaseParts) -> None:
        if self.fabric.is_global_zero:
            self.checkpoint.save(
                {
                    "weights": self.network.state_dict(),
                    "optimiser": parts.optimiser.state_dict(),
                    "schedule": parts.schedule.state(),
                    "averaging": self.averaging.state(),
                    "teacher": None if self.teacher is None else self.teacher.state(),
                    "progress": dict(vars(self.progress)),
                }
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self.progress = Progress(**state["progress"])
