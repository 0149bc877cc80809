"""Binary cross-entropy."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pneumoseg.config.loss import BceParams
from pneumoseg.shared.registry import LOSSES


def bce_loss(logits: Tensor, target: Tensor, params: BceParams) -> Tensor:
    """The mean over all pixels of all images; lesion pixels count positive_weight times."""
    weight = None if params.positive_weight == 1.0 else logits.new_tensor(params.positive_weight)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


LOSSES.register("bce", bce_loss)
