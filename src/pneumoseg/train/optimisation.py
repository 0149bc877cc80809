"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pneumoseg.config.train import OptimiserParams, PlateauParams, SchedulerParams
from pneumoseg.train.figures import pick


def build_optimiser(model: nn.Module, params: OptimiserParams, lr: float) -> Optimizer:
    """The optimiser over all parameters.

    Norm and bias parameters may be spared weight decay (Goyal et al. 2017), and the encoder, which knows something
    already, may learn at ``encoder_lr_factor`` times the rate of the rest (Howard and Ruder 2018). A group keeps its
    share of the learning rate as ``lr_factor``: set_lr multiplies by it.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        # One-dimensional parameters are exactly the biases and the scales and shifts of normalisation layers.
        decays = parameter.ndim > 1 or params.decay_norm_and_bias
        factor = params.encoder_lr_factor if name.partition(".")[0].endswith("encoder") else 1.0
        groups.setdefault((params.weight_decay if decays else 0.0, factor), []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": members, "weight_decay": decay, "lr_factor": factor} for (decay, factor), members in groups.items()
    ]
    if params.name == "sgd":
        return torch.optim.SGD(listed, lr=lr, momentum=params.momentum)
    if params.name == "radam":
        return torch.optim.RAdam(listed, lr=lr)
    kind = torch.optim.AdamW if params.name == "adamw" else torch.optim.Adam
    return kind(listed, lr=lr, fused=next(model.parameters()).is_cuda or None)


def set_lr(optimiser: Optimizer, lr: float) -> None:
    """Let every group learn at its share of ``lr`` from now on."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_factor"]


class Schedule:
    """The learning rate of a phase: a function of the position in it, and of validation for plateau."""

    def __init__(self, params: SchedulerParams, lr: float, epochs: int) -> None:
        """Plan ``epochs`` that start from the base learning rate ``lr``."""
        self._params = params
        self._base = lr
        self._epochs = epochs
        self._plateau = _Plateau(params.plateau)

    def lr(self, position: float) -> float:
        """The learning rate at a position in epochs: 2.5 is half-way through the third. Ask at every iteration."""
        warmup = self._params.warmup_epochs
        if position < warmup:
            return self._base * position / warmup
        progress = (position - warmup) / (self._epochs - warmup)
        match self._params.name:
            case "plateau":
                return max(self._base * self._plateau.scale, min(self._base, self._params.plateau.min_lr))
            case "cosine":
                return _cosine(self._base, self._params.cosine.min_lr, progress)
            case "cosine_restarts":
                return self._restarts(position - warmup)
            case "one_cycle":
                return self._one_cycle(progress)
            case "polynomial":
                return self._base * float((1 - progress) ** self._params.polynomial.power)
            case "constant":
                return self._base

    def validated(self, metrics: dict[str, float]) -> None:
        """Tell the schedule an epoch's validation metrics; only plateau listens."""
        if self._params.name == "plateau":
            self._plateau.step(pick(metrics, self._params.plateau.metric, "train.scheduler.plateau.metric"))

    def state(self) -> dict[str, float]:
        """What a resumed run needs."""
        return {"scale": self._plateau.scale, "best": self._plateau.best, "bad_epochs": float(self._plateau.bad_epochs)}

    def load_state(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self._plateau.scale, self._plateau.best = state["scale"], state["best"]
        self._plateau.bad_epochs = int(state["bad_epochs"])

    def _restarts(self, position: float) -> float:
        params = self._params.cosine_restarts
        period = params.period_epochs
        while position >= period:
            position -= period
            period *= params.period_factor
        return _cosine(self._base, params.min_lr, position / period)

    def _one_cycle(self, progress: float) -> float:
        params = self._params.one_cycle
        start, end = self._base / params.start_divisor, self._base / params.end_divisor
        if progress < params.warmup_fraction:
            return _cosine(self._base, start, 1 - progress / params.warmup_fraction)
        return _cosine(self._base, end, (progress - params.warmup_fraction) / (1 - params.warmup_fraction))


class _Plateau:
    """ReduceLROnPlateau as torch defines it, as a factor on the base learning rate."""

    def __init__(self, params: PlateauParams) -> None:
        self._params = params
        self.scale = 1.0
        self.best = -math.inf
        self.bad_epochs = 0

    def step(self, value: float) -> None:
        """Take in a score, of which more is better."""
        margin = self._params.threshold * (abs(self.best) if self._params.threshold_mode == "rel" else 1.0)
        if math.isinf(self.best) or value > self.best + margin:
            self.best, self.bad_epochs = value, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > self._params.patience_epochs:
            self.scale, self.bad_epochs = self.scale * self._params.factor, 0


def _cosine(high: float, low: float, progress: float) -> float:
    low = min(low, high)
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2
