"""Sums over the processes of a distributed training, with gradient."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


class _Sum(torch.autograd.Function):
    """What every process adds, every process gets; so the gradient of each share is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def process_count() -> int:
    """How many processes train together; 1 outside a distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The elementwise sum over all processes, each of which must call it; differentiable."""
    return cast(Tensor, _Sum.apply(values))
