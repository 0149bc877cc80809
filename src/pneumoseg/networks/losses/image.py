"""Terms on the logit of a whole image."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pneumoseg.config.loss import ImageLossParams
from pneumoseg.networks.losses.focal import focal_loss


def image_terms(logits: Tensor, labels: Tensor, params: ImageLossParams) -> list[tuple[str, float, Tensor]]:
    """Name, weight and value of each term of train.loss.image that has a weight.

    Args:
        logits: (N,) float32.
        labels: (N,) float32, 0 or 1.
        params: section train.loss.image.
    """
    found = [("image_bce", params.bce, F.binary_cross_entropy_with_logits(logits, labels))] if params.bce else []
    if params.focal:
        found.append(("image_focal", params.focal, focal_loss(logits, labels, params.gamma)))
    return found
