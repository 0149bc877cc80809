"""What is added to the architectures: CBAM, ASPP, hypercolumn, auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence

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
