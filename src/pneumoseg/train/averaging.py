"""Averages of weights: over the steps of a phase, over chosen epochs, over a phase's best epochs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pneumoseg.config.train import AveragingParams
from pneumoseg.networks.exchange import process_count
from pneumoseg.networks.norms import batch_norms
from pneumoseg.shared.errors import TrainingError

Weights = dict[str, Tensor]


def copy_weights(model: nn.Module) -> Weights:
    """Parameters and statistics, copied to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def mean_weights(several: Sequence[Weights]) -> Weights:
    """The mean of each floating-point tensor, summed in float64; counters are those of the first."""
    first = several[0]
    return {
        name: torch.stack([weights[name].double() for weights in several]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


@torch.no_grad()
def move_towards(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Average = decay x average + (1 - decay) x model, for parameters and statistics; counters are copied."""
    kept = average.state_dict()
    now = model.state_dict()
    floating = [name for name, value in kept.items() if value.is_floating_point()]
    follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    follow([kept[name] for name in floating], [now[name] for name in floating], 0)
    for name in kept.keys() - set(floating):
        kept[name].copy_(now[name])


class Averaging:
    """What section train.averaging asks for, followed through training.

    ``ema`` begins anew from each phase's first weights, ``top_k`` takes the best epochs of the phase that has just
    ended, ``swa`` gathers its chosen epochs through all phases.
    """

    def __init__(self, params: AveragingParams) -> None:
        """Nothing is averaged yet."""
        self._params = params
        self._ema: nn.Module | None = None
        self._sum: Weights = {}
        self._count = 0

    @property
    def measures_statistics(self) -> bool:
        """Whether batch norms need new statistics: means of weights have none of their own."""
        return self._params.name in ("swa", "top_k")

    @property
    def best_needed(self) -> int:
        """How many of a phase's best epochs must be kept."""
        return self._params.top_k.count if self._params.name == "top_k" else 1

    def start_phase(self, model: nn.Module) -> None:
        """Begin the moving average with these weights."""
        if self._params.name == "ema":
            self._ema = copy.deepcopy(model).requires_grad_(False)

    def after_step(self, model: nn.Module, epoch: int) -> None:
        """Follow a step of the optimiser; no average depends on the epoch."""
        if self._ema is not None:
            move_towards(self._ema, model, self._params.ema.decay)

    def after_epoch(self, model: nn.Module, epoch: int) -> None:
        """Follow an epoch, counted from 1 through all phases."""
        if self._params.name == "swa" and epoch in self._params.swa.epochs:
            for name, value in copy_weights(model).items():
                value = value.double() if value.is_floating_point() else value
                self._sum[name] = self._sum[name] + value if name in self._sum else value
            self._count += 1

    def weights(self, model: nn.Module, best: Sequence[Weights]) -> Weights:
        """The averaged weights.

        Args:
            model: of which the names and types of the weights are taken.
            best: weights of the best epochs of the phase.

        Raises:
            TrainingError: training ended before the first of swa.epochs.
        """
        if self._ema is not None:
            return copy_weights(self._ema)
        if self._params.name == "top_k":
            return mean_weights(best[: self._params.top_k.count])
        if not self._count:
            raise TrainingError(
                f"train.averaging.swa.epochs = {list(self._params.swa.epochs)}: early stopping came before the first; "
                "give earlier ones, or set train.early_stopping.patience_epochs to null"
            )
        return {
            name: (self._sum[name] / self._count).to(value.dtype) if value.is_floating_point() else self._sum[name]
            for name, value in model.state_dict().items()
        }

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        ema = None if self._ema is None else copy_weights(self._ema)
        return {"ema": ema, "sum": self._sum, "count": self._count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; start_phase has been called."""
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        self._sum, self._count = state["sum"], state["count"]


@torch.no_grad()
def measure_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give batch norms the statistics that their weights have on these images (Izmailov et al. 2018, section 3.2).

    Args:
        model: in training mode; batch norms that are frozen stay as they are.
        batches: normalised images, (N, C, H, W), of this process.
    """
    with _measuring(model) as norms:
        for batch in batches:
            model(batch)
    if process_count() > 1:
        for norm in norms:
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    dist.all_reduce(statistic)
                    statistic /= process_count()


@contextmanager
def _measuring(model: nn.Module) -> Iterator[list[nn.modules.batchnorm._BatchNorm]]:
    norms = [norm for norm in batch_norms(model) if norm.training and norm.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's cumulative mean
    try:
        yield norms
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
