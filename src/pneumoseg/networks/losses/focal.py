"""Focal loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pneumoseg.config.loss import FocalParams
from pneumoseg.shared.registry import LOSSES


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """The mean of |t - p|^gamma · BCE, of logits and targets of any shape.

    For hard targets it is (1 - p_t)^gamma · BCE (Lin et al., ICCV 2017); for soft ones the form of Li et al. (NeurIPS
    2020, arXiv:2006.04388), whose minimum is p = t.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((target - torch.sigmoid(logits)).abs() ** gamma * entropy).mean()


def _focal_term(logits: Tensor, target: Tensor, params: FocalParams) -> Tensor:
    return focal_loss(logits, target, params.gamma)


LOSSES.register("focal", _focal_term)
