"""What a person sees of an epoch: a bar while it runs, one line when it is done; and where its time went."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pneumoseg.config.train import PhaseParams
from pneumoseg.networks.family import Batch
from pneumoseg.shared.errors import TrainingError
from pneumoseg.shared.progress_lines import follow
from pneumoseg.train.figures import FIGURES

logger = logging.getLogger(__name__)

#: Reading a loss waits for the GPU, so there it is read only every so many steps.
_CHECK_EVERY = {"cpu": 1, "cuda": 20}


class EpochProgress:
    """Follows one epoch's batches: losses, images a second, the share of time spent waiting for data."""

    def __init__(self, epoch: int, batches: int, visible: bool) -> None:
        """Show how many of ``batches`` steps are done."""
        self._bar = follow(batches, f"epoch {epoch}", "step", shown=visible, leave=False)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._pending: list[tuple[Tensor, list[str]]] = []
        self._steps = self._images = 0
        self._waited = 0.0
        self._first: tuple[float, float] = (0.0, 0.0)  # seconds of the first batch and of its step
        self._started = time.perf_counter()

    def batches(self, source: Iterator[Batch]) -> Iterator[Batch]:
        """Pass the batches on, and time how long each is waited for."""
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def close(self) -> None:
        """End the epoch: every loss is checked, the bar vanishes."""
        self._check()
        self._bar.close()

    def step(self, terms: Mapping[str, Tensor], image_ids: list[str], lr: float) -> None:
        """Take in the losses of a batch; a term that it does not give is NaN.

        Raises:
            TrainingError: ``loss`` is not finite.
        """
        for name, value in terms.items():
            given = ~value.isnan()
            self._sums[name] = self._sums.get(name, 0.0) + value.where(given, 0.0)
            self._counts[name] = self._counts.get(name, 0) + given
        self._pending.append((terms["loss"], image_ids))
        self._steps += 1
        self._images += len(image_ids)
        if self._steps == 1:
            if terms["loss"].device.type == "cuda":
                torch.cuda.synchronize()
            self._first = self._waited, time.perf_counter() - self._started - self._waited
        if self._steps % _CHECK_EVERY.get(terms["loss"].device.type, 1) == 0:
            self._check()
            if not self._bar.disable:
                rate = self._images / (time.perf_counter() - self._started)
                self._bar.set_postfix(
                    loss=f"{float(terms['loss']):.3f}", lr=f"{lr:.1e}", images_s=f"{rate:.1f}", refresh=False
                )
        self._bar.update()

    def losses(self) -> dict[str, tuple[float, float]]:
        """Of each term its sum over the batches of the epoch that gave it, and how many these are."""
        return {f"train_{name}": (float(total), float(self._counts[name])) for name, total in self._sums.items()}

    def timing(self, world_size: int) -> dict[str, float]:
        """Seconds, images a second over all processes, share of time spent waiting for data, peak memory in GiB."""
        seconds = time.perf_counter() - self._started
        if torch.cuda.is_available():
            memory = torch.cuda.max_memory_allocated() / 2**30
        else:
            # Linux counts kibibytes, macOS bytes.
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
        return {
            "seconds": seconds,
            "images_per_second": self._images * world_size / seconds,
            "data_wait_share": self._waited / seconds,
            "memory_gib": memory,
            "first_batch_seconds": self._first[0],
            "first_step_seconds": self._first[1],
        }

    def _check(self) -> None:
        for loss, image_ids in self._pending:
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss became {float(loss)} in the batch of images {', '.join(image_ids)}: look at them, lower "
                    "train.lr, set train.gradient_clip_norm, or train.precision to fp32"
                )
        self._pending.clear()


def seconds_left(phases: Sequence[PhaseParams], phase: int, epoch: int, timing: Mapping[str, float]) -> float:
    """How long the rest of training will take if pixels cost what they cost in the last epoch; without early stopping.

    Args:
        phases: of the training.
        phase: the number of the current one, from 0.
        epoch: its epochs that are done.
        timing: of the last epoch.
    """
    second_a_pixel = (timing["seconds"] + timing["validation_seconds"]) / _side(phases[phase]) ** 2
    epochs = [phases[phase].epochs - epoch, *(one.epochs for one in phases[phase + 1 :])]
    return sum(count * second_a_pixel * _side(one) ** 2 for count, one in zip(epochs, phases[phase:], strict=True))


def _side(phase: PhaseParams) -> int:
    return phase.crop_px or phase.size_px


def duration(seconds: float) -> str:
    """As a person says it: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def tell(figures: Mapping[str, float]) -> str:
    """The figures that a line has room for, by their names in it."""
    shown = [(figure.logged, figures[figure.name]) for figure in FIGURES if figure.logged and figure.name in figures]
    return "  ".join(f"{name} {value:.4f}" for name, value in shown)


def log_start(phase: str, arrays_seconds: float, timing: Mapping[str, float], device: str, compiles: bool) -> None:
    """One line for what the first epoch of a phase takes beyond the others."""
    within = [*(["cuDNN's search"] if device == "cuda" else []), *(["compiling"] if compiles else [])]
    logger.info(
        "phase %s began: arrays %.1f s, first batch %.1f s, first step %.1f s%s",
        phase,
        arrays_seconds,
        timing["first_batch_seconds"],
        timing["first_step_seconds"],
        f" (with {' and '.join(within)})" if within else "",
    )


def log_epoch(
    row: Mapping[str, Any], timing: Mapping[str, float], best: bool, left: float, wrong: Sequence[str] = ()
) -> None:
    """One line for an epoch, with the seconds ``left``, and a warning for each thing that is ``wrong`` with it."""
    figures = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")}
    logger.info(
        "epoch %3d  %s  loss %.4f  %s  lr %.1e  %.1f images/s%s%s",
        row["epoch"],
        row["phase"],
        row["train_loss"],
        tell(figures),
        row["lr"],
        timing["images_per_second"],
        f"  {duration(left)} left" if left else "",
        "  best so far" if best else "",
    )
    for finding in wrong:
        logger.warning("epoch %d: %s", row["epoch"], finding)
