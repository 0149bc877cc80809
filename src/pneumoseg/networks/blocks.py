"""What is added to the architectures: CBAM, ASPP, hypercolumn, heads, and group norm in place of batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CBAM(nn.Module):
    """Channel attention, then spatial attention (Woo et al., ECCV 2018, arXiv:1807.06521)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        """Shared layers for `channels`, narrowed `reduction` times."""
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) weighed by channel and by place."""
        average = self.channel(x.mean((2, 3), keepdim=True))
        maximum = self.channel(x.amax((2, 3), keepdim=True))
        x = x * torch.sigmoid(average + maximum)
        places = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(places))


def put_cbam(decoder: nn.Module) -> None:
    """Give every block of a U-Net or U-Net++ decoder CBAM where segmentation-models-pytorch has its attention.

    The last block has no skip, so that its first attention is never asked.
    """
    found = [block for block in decoder.modules() if isinstance(getattr(block, "attention1", None), nn.Module)]
    for block in found:
        for place, conv in (("attention1", "conv1"), ("attention2", "conv2")):
            convolution = getattr(block, conv)[0]
            if place == "attention2":
                getattr(block, place).attention = CBAM(convolution.out_channels)
            elif block is not found[-1]:
                getattr(block, place).attention = CBAM(convolution.in_channels)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., arXiv:1706.05587) that keeps the number of channels.

    One 1x1 branch, one dilated 3x3 branch a rate, one of the global mean (without batch
    norm: it has one value an image).
    """

    def __init__(self, channels: int, width: int, rates: Sequence[int], dropout: float) -> None:
        """Branches of `width` channels, one for each dilation rate."""
        super().__init__()
        branches = [_conv_norm_relu(channels, width, 1)]
        branches += [_conv_norm_relu(channels, width, 3, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList(branches)
        self.pool = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
        self.project = nn.Sequential(
            _conv_norm_relu(width * (len(branches) + 1), channels, 1), nn.Dropout(dropout, inplace=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        joined: Tensor = self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))
        return joined


def _conv_norm_relu(channels: int, width: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, width, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class Hypercolumn(nn.Module):
    """All decoder levels at the size of the last (Hariharan et al., CVPR 2015).

    The levels joined and put through a 1x1 convolution are the sum of one 1x1 convolution a level, and that may be done
    before enlarging: the same numbers without hundreds of channels at full size.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        """One projection for each level, given its channels, deepest first."""
        super().__init__()
        width = channels[-1]
        self.projections = nn.ModuleList(
            nn.Conv2d(level, width, 1, bias=index == len(channels) - 1) for index, level in enumerate(channels)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (N, C_i, h_i, w_i), deepest first, to (N, C_last, h_last, w_last)."""
        size = levels[-1].shape[2:]
        total = self.projections[-1](levels[-1])
        for level, projection in zip(levels[:-1], self.projections, strict=False):
            total = total + F.interpolate(projection(level), size=size, mode="bilinear", align_corners=False)
        return F.relu(total)


def auxiliary_head(channels: int) -> nn.Module:
    """A mask head on a decoder level, (N, C, h, w) to (N, 1, h, w) logits."""
    head = nn.Conv2d(channels, 1, 3, padding=1)
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    return head


def image_head(channels: int, pooling: Literal["average", "maximum"], dropout: float) -> nn.Sequential:
    """Pneumothorax yes or no, (N, C, h, w) to (N, 1) logits."""
    pool = nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.AdaptiveMaxPool2d(1)
    linear = nn.Linear(channels, 1)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(pool, nn.Flatten(), nn.Dropout(dropout), linear)


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
