"""The training loop: phases of epochs, each a pass over samples and a validation."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from pneumoseg.config.train import PhaseParams, Start, TrainParams
from pneumoseg.networks.family import Family, Objective
from pneumoseg.networks.memory import checkpoint_activations
from pneumoseg.networks.network import Network, set_encoder_frozen
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.train.arrays import ImageArrays
from pneumoseg.train.averaging import Averaging, Weights, copy_weights, measure_statistics
from pneumoseg.train.collapse import findings
from pneumoseg.train.compiling import compiled
from pneumoseg.train.dataset import TrainingSet
from pneumoseg.train.figures import pick
from pneumoseg.train.optimisation import Schedule, build_optimiser
from pneumoseg.train.progress import log_epoch, log_start, seconds_left, tell
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.sampling import Sample, epoch_samples, share_at, steps, with_label_only
from pneumoseg.train.stepping import Follower, PhaseParts, Stepper
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
        family: Family,
        model: Network,
        params: TrainParams,
        images: TrainingSet,
        checkpoint: Checkpoint,
        on_epoch: OnEpoch,
    ) -> None:
        """Keep the parts, read the validation masks, wrap the network."""
        self.fabric = fabric
        self.family = family
        self.params = params
        self.images = images
        manifest = images.data.manifest
        apart = manifest["image_id"].isin(images.data.label_only) & (params.label_only_share is not None)
        #: The training pool; where label_only_share says how many of a step have a label alone, without them.
        self.manifest, self.label_only = manifest[~apart], manifest[apart]
        self.checkpoint = checkpoint
        self.on_epoch = on_epoch
        self.progress = Progress()
        self.validation = Validation(images.data, family, params.batch_size)
        self.averaging = Averaging(params.averaging)
        free = images.data.unlabelled_ids
        self.teacher = MeanTeacher(params.mean_teacher, family, free, params.seed) if free else None
        self.followers: list[Follower] = [self.averaging, *([self.teacher] if self.teacher else [])]
        layout = torch.channels_last if params.channels_last else torch.contiguous_format
        self.network = model.to(memory_format=layout)
        if params.checkpoint_activations:
            checkpoint_activations(self.network)
        on = cast(Literal["cpu", "cuda"], fabric.device.type)
        wrapped = compiled(self.network, params, len(self.manifest), on)
        self.compiles = wrapped is not self.network
        self.model = fabric.setup_module(cast(Network, wrapped))
        self.stepper = Stepper(fabric, self.network, self.model, params, self.followers)

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
        began = time.perf_counter()
        arrays = self.images.arrays(phase.size_px)
        arrays_seconds = time.perf_counter() - began
        if self.compiles:
            torch.compiler.reset()  # another size is another graph, and torch keeps only a few of them
        for follower in self.followers:
            follower.start_phase(self.network)
        parts = self._parts(phase, arrays)
        if state is not None:
            parts.optimiser.load_state_dict(state["optimiser"])
            parts.schedule.load_state(state["schedule"])
            for follower, saved in zip(self.followers, state["followers"], strict=True):
                follower.load_state(saved)
        first = progress.epoch
        while progress.epoch < phase.epochs:
            timing = self._run_epoch(parts, arrays)
            if progress.epoch == first + 1 and self.fabric.is_global_zero:
                log_start(phase.name, arrays_seconds, timing, self.fabric.device.type, self.compiles)
            patience = self.params.early_stopping.patience_epochs
            if patience is not None and progress.waited >= patience:
                logger.info("phase %s stops early: %d epochs without a better %s", phase.name, progress.waited,
                            self.params.selection_metric)  # fmt: skip
                break
            if progress.epoch < phase.epochs:
                self._save(parts)
        return self._end_phase(parts, arrays)

    def _parts(self, phase: PhaseParams, arrays: ImageArrays) -> PhaseParts:
        lr = phase.lr if phase.lr is not None else self.params.lr
        optimiser = self.fabric.setup_optimizers(build_optimiser(self.network, self.params.optimiser, lr))
        return PhaseParts(
            phase,
            self.images.labelled(arrays, phase.crop_px),
            self.family.objective(phase.loss or self.params.loss),
            cast(Optimizer, optimiser),
            Schedule(phase.scheduler or self.params.scheduler, lr, phase.epochs),
            self.teacher,
            self.teacher.loader(self.images, arrays, phase.crop_px) if self.teacher else None,
        )

    def _run_epoch(self, parts: PhaseParts, arrays: ImageArrays) -> dict[str, float]:
        progress, phase = self.progress, parts.phase
        number = len(progress.history) + 1
        torch.manual_seed(derive_seed(self.params.seed, phase.name, progress.epoch, "torch"))
        set_encoder_frozen(self.network, progress.epoch < phase.freeze_encoder_epochs)
        trained, timing = self.stepper.epoch(parts, self._plan(phase, progress.epoch), progress.epoch, number)
        started = time.perf_counter()
        measured = self._measure(parts.objective, arrays)
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
            wrong = findings(progress.history, self.params.selection_metric, self.validation.all_empty)
            log_epoch(row, timing, progress.best_epoch == number, left, wrong)
        self.on_epoch(number, row, timing)
        return timing

    def _measure(self, objective: Objective, arrays: ImageArrays) -> dict[str, float]:
        # The bare network: a compiled one would be compiled once more for each size of a last batch.
        # Nor is cuDNN's search for the fastest kernel worth its seconds for them.
        with self.fabric.autocast(), torch.backends.cudnn.flags(benchmark=False):
            return self.validation.measure(self.fabric, self.network, objective, arrays)

    def _plan(self, phase: PhaseParams, epoch: int) -> list[list[list[Sample]]]:
        """This process's batches of each optimiser step of an epoch."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        samples = epoch_samples(self.manifest, phase, epoch, self.params.seed)
        if len(self.label_only):
            samples = with_label_only(samples, self.label_only, self.params, phase, epoch)
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
        score = pick(measured, metric, "train.selection_metric")
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
        measured = self._measure(parts.objective, arrays)
        logger.info("averaged weights (%s): %s; best epoch's %s %.4f, theirs %.4f", self.params.averaging.name,
                    tell(measured), self.params.selection_metric, abs(self.progress.best[0][0]),
                    measured[self.params.selection_metric])  # fmt: skip
        return measured

    def _images(self, parts: PhaseParts) -> Iterator[Tensor]:
        groups = self._plan(parts.phase, self.progress.epoch - 1)
        torch.manual_seed(derive_seed(self.params.seed, parts.phase.name, "statistics"))
        for batch in parts.loader.epoch(batch for group in groups for batch in group):
            yield self.stepper.prepared(batch.images)

    def _save(self, parts: PhaseParts) -> None:
        if self.fabric.is_global_zero:
            self.checkpoint.save(
                {
                    "weights": self.network.state_dict(),
                    "optimiser": parts.optimiser.state_dict(),
                    "schedule": parts.schedule.state(),
                    "followers": [follower.state() for follower in self.followers],
                    "progress": dict(vars(self.progress)),
                }
            )

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["weights"])
        self.progress = Progress(**state["progress"])
