"""Soft Dice loss."""

from __future__ import annotations

import torch
from torch import Tensor

from pneumoseg.config.loss import DiceParams
from pneumoseg.networks.losses.means import flat, mean_over_images, sums_over_batch
from pneumoseg.shared.registry import LOSSES


def dice_loss(logits: Tensor, target: Tensor, params: DiceParams) -> Tensor:
    """1 - (2 Σpt + s) / (Σp + Σt + s); with ``squared``, Σp² + Σt² below (Milletari et al., 3DV 2016).

    An empty truth costs 0 for an empty prediction and nearly 1 for a full one (s is small against the image).
    ``pooled``: sums over the batch instead of the mean over images.
    """
    probability, truth = flat(torch.sigmoid(logits), params.pooled), flat(target, params.pooled)
    power = 2 if params.squared else 1
    overlap, total = sums_over_batch(
        params.pooled, (probability * truth).sum(1), (probability**power + truth**power).sum(1)
    )
    loss = 1.0 - (2.0 * overlap + params.smooth) / (total + params.smooth)
    return mean_over_images(loss, target, params.images == "positives")


LOSSES.register("dice", dice_loss)
