"""Tversky loss."""

from __future__ import annotations

import torch
from torch import Tensor

from pneumoseg.config.loss import TverskyParams
from pneumoseg.networks.losses.means import flat, mean_over_images, sums_over_batch
from pneumoseg.shared.registry import LOSSES


def tversky_loss(logits: Tensor, target: Tensor, params: TverskyParams) -> Tensor:
    """1 - (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al., MLMI 2017, arXiv:1706.05721); else as dice_loss."""
    probability, truth = flat(torch.sigmoid(logits), params.pooled), flat(target, params.pooled)
    found, wrong, missed = sums_over_batch(
        params.pooled,
        (probability * truth).sum(1),
        (probability * (1.0 - truth)).sum(1),
        ((1.0 - probability) * truth).sum(1),
    )
    smooth = params.smooth
    loss = 1.0 - (found + smooth) / (found + params.alpha * wrong + params.beta * missed + smooth)
    return mean_over_images(loss, target, params.images == "positives")


LOSSES.register("tversky", tversky_loss)
