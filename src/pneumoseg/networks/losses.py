"""Losses on masks, auxiliary masks and the image head, summed by the weights of section train.loss.

Targets are soft: the share of a pixel that is lesion, in [0, 1]. Everything is computed in float32, under autocast too.
Over several processes with equal shares of a batch, the mean of their gradients is that of the whole batch: sums are
exchanged where a mean over images is not enough. Without gradients (validation) nothing is exchanged.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from pneumoseg.config.loss import LossParams
from pneumoseg.networks.exchange import process_count, sum_over_processes
from pneumoseg.networks.network import Output

Term = Callable[[Tensor, Tensor], Tensor]


def build_loss(params: LossParams) -> Loss:
    """Make the loss of a section train.loss."""
    return Loss(params)


class Loss:
    """The weighted sum, and its single terms beside it."""

    def __init__(self, params: LossParams) -> None:
        """Take the terms that have a weight."""
        self.params = params
        self._mask_terms = _mask_terms(params)

    def __call__(self, output: Output, target: Tensor) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            output: logits of a network.
            target: (N, 1, H, W) in [0, 1].

        Returns:
            ``loss``, the weighted sum, with gradient. Beside it, detached and unweighted, each term of the mask by its
            name (dice, bce, focal, lovasz, tversky); ``auxiliary``, the sum over the auxiliary heads with their decay;
            and ``image_bce``, ``image_focal`` where there is an image head. All float32 scalars.
        """
        with torch.autocast(output.mask.device.type, enabled=False):
            target = target.float()
            total, terms = self._mask(output.mask.float(), target)
            result = {name: value.detach() for name, value in terms.items()}
            if output.auxiliary and self.params.auxiliary.weight:
                auxiliary = self._auxiliary(output.auxiliary, target)
                total = total + self.params.auxiliary.weight * auxiliary
                result["auxiliary"] = auxiliary.detach()
            if output.image is not None:
                for name, weight, value in self._image(output.image.float(), target):
                    total = total + weight * value
                    result[name] = value.detach()
        return {"loss": total, **result}

    def _mask(self, logits: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = {name: term(logits, target) for name, (_, term) in self._mask_terms.items()}
        total = sum((weight * terms[name] for name, (weight, _) in self._mask_terms.items()), logits.new_zeros(()))
        return total, terms

    def _auxiliary(self, auxiliary: tuple[Tensor, ...], target: Tensor) -> Tensor:
        total = target.new_zeros(())
        for level, logits in enumerate(auxiliary):
            smaller = F.interpolate(target, size=logits.shape[2:], mode="area")
            total = total + self.params.auxiliary.decay**level * self._mask(logits.float(), smaller)[0]
        return total

    def _image(self, logits: Tensor, target: Tensor) -> list[tuple[str, float, Tensor]]:
        truth = image_target(target)
        image = self.params.image
        found = [("image_bce", image.bce, F.binary_cross_entropy_with_logits(logits, truth))] if image.bce else []
        if image.focal:
            found.append(("image_focal", image.focal, focal_loss(logits, truth, image.gamma)))
        return found


def _mask_terms(params: LossParams) -> dict[str, tuple[float, Term]]:
    dice, tversky, bce, focal, lovasz = params.dice, params.tversky, params.bce, params.focal, params.lovasz
    terms: dict[str, tuple[float, Term]] = {
        "dice": (
            dice.weight,
            lambda logits, target: dice_loss(
                logits,
                target,
                smooth=dice.smooth,
                squared=dice.squared,
                pooled=dice.pooled,
                positives_only=dice.images == "positives",
            ),
        ),
        "bce": (bce.weight, lambda logits, target: bce_loss(logits, target, bce.positive_weight)),
        "focal": (focal.weight, lambda logits, target: focal_loss(logits, target, focal.gamma)),
        "lovasz": (
            lovasz.weight,
            lambda logits, target: lovasz_loss(logits, target, positives_only=lovasz.images == "positives"),
        ),
        "tversky": (
            tversky.weight,
            lambda logits, target: tversky_loss(
                logits,
                target,
                alpha=tversky.alpha,
                beta=tversky.beta,
                smooth=tversky.smooth,
                pooled=tversky.pooled,
                positives_only=tversky.images == "positives",
            ),
        ),
    }
    return {name: pair for name, pair in terms.items() if pair[0]}


def image_target(target: Tensor) -> Tensor:
    """1 where an image has any lesion, (N, 1, H, W) to (N,); of a crop it says what the crop shows."""
    return (target.flatten(1).amax(1) > 0).float()


def dice_loss(
    logits: Tensor, target: Tensor, *, smooth: float, squared: bool, pooled: bool, positives_only: bool
) -> Tensor:
    """Soft Dice loss, 1 - (2 Σpt + s) / (Σp + Σt + s).

    An empty truth costs 0 for an empty prediction and nearly 1 for a full one (s is small against the image).

    Args:
        logits: (N, 1, H, W) float32.
        target: (N, 1, H, W) float32 in [0, 1].
        smooth: s, in pixels.
        squared: Σp² + Σt² in the denominator (Milletari et al., 3DV 2016).
        pooled: sums over the batch instead of the mean over images.
        positives_only: the mean over images with a lesion; 0 where the batch has none.
    """
    probability, truth = _flat(torch.sigmoid(logits), pooled), _flat(target, pooled)
    power = 2 if squared else 1
    overlap, total = _sums(pooled, (probability * truth).sum(1), (probability**power + truth**power).sum(1))
    loss = 1.0 - (2.0 * overlap + smooth) / (total + smooth)
    return _mean_over_images(loss, target, pooled, positives_only)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float,
    beta: float,
    smooth: float,
    pooled: bool,
    positives_only: bool,
) -> Tensor:
    """Tversky loss, 1 - (TP + s) / (TP + alpha FP + beta FN + s) (Salehi et al., MLMI 2017, arXiv:1706.05721).

    Args as in dice_loss; alpha weighs false positives, beta false negatives.
    """
    probability, truth = _flat(torch.sigmoid(logits), pooled), _flat(target, pooled)
    found, wrong, missed = _sums(
        pooled,
        (probability * truth).sum(1),
        (probability * (1.0 - truth)).sum(1),
        ((1.0 - probability) * truth).sum(1),
    )
    loss = 1.0 - (found + smooth) / (found + alpha * wrong + beta * missed + smooth)
    return _mean_over_images(loss, target, pooled, positives_only)


def bce_loss(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy, the mean over all pixels of all images; lesion pixels count positive_weight times."""
    weight = None if positive_weight == 1.0 else logits.new_tensor(positive_weight)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


def focal_loss(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Focal loss, the mean of |t - p|^gamma · BCE.

    For hard targets it is (1 - p_t)^gamma · BCE (Lin et al., ICCV 2017); for soft ones the form of Li et al. (NeurIPS
    2020, arXiv:2006.04388), whose minimum is p = t.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((target - torch.sigmoid(logits)).abs() ** gamma * entropy).mean()


def lovasz_loss(logits: Tensor, target: Tensor, *, positives_only: bool) -> Tensor:
    """Lovász hinge, image by image (Berman et al., CVPR 2018, arXiv:1705.08790): the convex surrogate of 1 - IoU.

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
    loss = (F.relu(ordered) * steps).sum(1)
    return _mean_over_images(loss, target, False, positives_only)


def _flat(values: Tensor, pooled: bool) -> Tensor:
    return values.reshape(1, -1) if pooled else values.flatten(1)


def _mean_over_images(loss: Tensor, target: Tensor, pooled: bool, positives_only: bool) -> Tensor:
    if pooled or not positives_only:
        return loss.mean()
    chosen = image_target(target)
    count = chosen.sum()
    if _distributed():
        # Gradients are averaged over processes: each gives its share of the global mean times their number.
        dist.all_reduce(count)
        count = count / process_count()
    return (loss * chosen).sum() / count.clamp(min=1e-6)


def _sums(pooled: bool, *sums: Tensor) -> tuple[Tensor, ...]:
    """Sums of the batch over all processes, with gradient; those of single images need no exchange."""
    if not pooled or not _distributed():
        return sums
    return tuple(sum_over_processes(torch.stack(sums)).unbind())


def _distributed() -> bool:
    training = torch.is_grad_enabled()  # validation may give each process another number of batches
    return training and process_count() > 1
