"""The head that says of a whole image what it shows."""

from __future__ import annotations

from torch import nn

from pneumoseg.config.model import ImageHeadParams


def image_head(channels: int, params: ImageHeadParams) -> nn.Sequential:
    """Pneumothorax yes or no, (N, C, h, w) to (N, 1) logits."""
    pool = nn.AdaptiveAvgPool2d(1) if params.pooling == "average" else nn.AdaptiveMaxPool2d(1)
    linear = nn.Linear(channels, 1)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(pool, nn.Flatten(), nn.Dropout(params.dropout), linear)
