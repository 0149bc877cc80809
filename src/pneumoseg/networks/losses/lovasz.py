"""Lovász hinge."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pneumoseg.config.loss import LovaszParams
from pneumoseg.networks.losses.means import mean_over_images
from pneumoseg.shared.registry import LOSSES


def lovasz_loss(logits: Tensor, target: Tensor, params: LovaszParams) -> Tensor:
    """Image by image (Berman et al., CVPR 2018, arXiv:1705.08790): the convex surrogate of 1 - IoU.

    Pixels are lesion from a share of a half on. On an empty truth it is the hinge of the highest logit alone.
    """
    truth = (target.flatten(1) >= 0.5).float()
    flat = logits.flatten(1)
    errors = 1.0 - flat * (2.0 * truth - 1.0)
    ordered, order = errors.sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    union = truth.sum(1, keepdim=True) + (1.0 - truth).cumsum(1)
    jaccard = 1.0 - (truth.sum(1, keepdim=True) - truth.cumsum(1)) / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return mean_over_images((F.relu(ordered) * steps).sum(1), target, params.images == "positives")


LOSSES.register("lovasz", lovasz_loss)
