"""What terms share: flat images, sums and means over the images of all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pneumoseg.networks.exchange import process_count, sum_over_processes


def shows_lesion(target: Tensor) -> Tensor:
    """1 where an image has any lesion, (N, 1, H, W) to (N,)."""
    return (target.flatten(1).amax(1) > 0).float()


def flat(values: Tensor, pooled: bool) -> Tensor:
    """(N, 1, H, W) to (N, H·W), or to (1, N·H·W) where the batch is one image."""
    return values.reshape(1, -1) if pooled else values.flatten(1)


def mean_over_images(loss: Tensor, target: Tensor, positives_only: bool) -> Tensor:
    """The mean of (N,) losses, or of those of images with a lesion; 0 where the batch has none."""
    if not positives_only:
        return loss.mean()
    chosen = shows_lesion(target)
    count = chosen.sum()
    if _distributed():
        # Gradients are averaged over processes: each gives its share of the global mean times their number.
        dist.all_reduce(count)
        count = count / process_count()
    return (loss * chosen).sum() / count.clamp(min=1e-6)


def sums_over_batch(pooled: bool, *sums: Tensor) -> tuple[Tensor, ...]:
    """Sums of the batch over all processes, with gradient; those of single images need no exchange."""
    if not pooled or not _distributed():
        return sums
    return tuple(sum_over_processes(torch.stack(sums)).unbind())


def _distributed() -> bool:
    training = torch.is_grad_enabled()  # validation may give each process another number of batches
    return training and process_count() > 1
