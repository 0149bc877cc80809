"""The loss of a segmentation: terms on mask, auxiliary masks and image head, one weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pneumoseg.config.loss import LossParams, TermParams
from pneumoseg.networks.families.segmentation.assembly import Output
from pneumoseg.networks.family import Objective, Truth
from pneumoseg.networks.losses import Term
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.shared.registry import LOSSES


def objective(params: LossParams) -> Objective:
    """The loss of a section train.loss as training asks for it."""
    loss = Loss(params)

    def minimise(model: nn.Module, pixels: Tensor, truth: Truth) -> tuple[dict[str, Tensor], Output]:
        output: Output = model(pixels)
        return loss(output, truth), output

    return minimise


class Loss:
    """The weighted sum, and its single terms beside it."""

    def __init__(self, params: LossParams) -> None:
        """Take the terms that have a weight, in the order of the section."""
        self.params = params
        self._terms: list[tuple[str, TermParams, Term]] = [
            (name, section, LOSSES[name]) for name, section in params.terms.items() if section.weight
        ]

    def __call__(self, output: Output, truth: Truth) -> dict[str, Tensor]:
        """Loss of a batch; computed in float32, under autocast too.

        Terms of masks are of the images whose mask is known, as if the others were not in the batch. Where none is,
        they add nothing to the loss and are NaN beside it.

        Args:
            output: logits of a network.
            truth: of the batch.

        Returns:
            ``loss``, the weighted sum, with gradient. Beside it, detached and unweighted, each term of the mask by its
            name; ``auxiliary``, the sum over the auxiliary heads with their decay; and ``image_bce``, ``image_focal``
            where there is an image head. All float32 scalars.
        """
        with torch.autocast(output.mask.device.type, enabled=False):
            total, result = self._mask(output.mask, truth.masks, truth.mask_known)
            if output.auxiliary and self.params.auxiliary.weight:
                auxiliary = self._auxiliary(output.auxiliary, truth)
                total = total + self.params.auxiliary.weight * auxiliary
                result["auxiliary"] = auxiliary.detach() if truth.mask_known.any() else total.new_tensor(torch.nan)
            if output.image is not None:
                for name, weight, value in image_terms(output.image.float(), truth.labels, self.params.image):
                    total = total + weight * value
                    result[name] = value.detach()
        return {"loss": total, **result}

    def _mask(self, logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = logits.float()
        if not known.any():
            # With a gradient of 0: DistributedDataParallel waits for one of every output.
            return logits.sum() * 0.0, {name: logits.new_tensor(torch.nan) for name, _, _ in self._terms}
        if not known.all():
            rows = known.nonzero()[:, 0].to(logits.device)
            logits, target = logits[rows], target[rows]
        terms = {name: value(logits, target, section) for name, section, value in self._terms}
        total = sum((section.weight * terms[name] for name, section, _ in self._terms), logits.new_zeros(()))
        return total, {name: value.detach() for name, value in terms.items()}

    def _auxiliary(self, auxiliary: tuple[Tensor, ...], truth: Truth) -> Tensor:
        total = truth.masks.new_zeros(())
        for level, logits in enumerate(auxiliary):
            smaller = F.interpolate(truth.masks, size=logits.shape[2:], mode="area")
            total = total + self.params.auxiliary.decay**level * self._mask(logits, smaller, truth.mask_known)[0]
        return total
