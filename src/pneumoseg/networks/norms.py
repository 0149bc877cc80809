"""Batch norms: which a network has, and group norm in their place."""

from __future__ import annotations

import torch
from torch import nn


def batch_norms(module: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Every batch norm in a module."""
    return [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def replace_batch_norms(module: nn.Module) -> int:
    """Put a group norm (Wu, He 2018; at most 32 groups) in the place of every batch norm; returns how many.

    Scale and shift are taken over; running statistics have no counterpart.
    """
    replaced = 0
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, _group_norm(child))
            replaced += 1
        else:
            replaced += replace_batch_norms(child)
    return replaced


def _groups(channels: int) -> int:
    """The most groups up to 32 that divide the channels and leave at least 8 in a group, so that none is one value."""
    return max(count for count in range(1, 33) if channels % count == 0 and (count == 1 or channels // count >= 8))


def _group_norm(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module:
    channels = norm.num_features
    group = nn.GroupNorm(_groups(channels), channels, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        with torch.no_grad():
            group.weight.copy_(norm.weight)
            group.bias.copy_(norm.bias)
    # timm's BatchNormAct2d is a batch norm with dropout and activation inside.
    inside = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    return nn.Sequential(group, *inside) if inside else group
