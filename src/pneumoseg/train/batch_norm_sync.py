"""Batch norm over all processes of a training, so that several devices learn what one learns from the whole batch."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from pneumoseg.networks.exchange import process_count, sum_over_processes


def synchronise_batch_norms(model: nn.Module, device: Literal["cpu", "cuda"]) -> nn.Module:
    """Let every batch norm take its statistics from the batches of all processes together; names stay the same.

    On GPUs these are torch's (timm's converter knows norms that carry their activation with them); torch has none for
    the CPU, so there each layer's forward is replaced.
    """
    if device == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm

        return cast(nn.Module, convert_sync_batchnorm(model))  # type: ignore[no-untyped-call]
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            _Synchronised(part).install()
    return model


class _Synchronised:
    """Replaces what a batch norm computes in training; what it does after that (timm's activation) stays."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        self.norm = norm
        self.usual = norm.forward

    def install(self) -> None:
        self.norm.forward = self  # type: ignore[method-assign,assignment]

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training or not torch.is_grad_enabled():
            return self.usual(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = (0, *range(2, x.ndim))
        count = x.numel() // x.shape[1] * process_count()
        mean = sum_over_processes(values.sum(axes)) / count
        shape = (1, -1, *(1 for _ in axes[1:]))
        centred = values - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / max(count - 1, 1))
        result = centred * torch.rsqrt(variance.view(shape) + norm.eps)
        if norm.affine:
            result = result * norm.weight.view(shape) + norm.bias.view(shape)
        result = result.to(x.dtype)
        drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
        return cast(Tensor, act(drop(result))) if drop is not None and act is not None else result

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics as torch's batch norm does."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            return
        norm.num_batches_tracked.add_(1)
        share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance, share)
