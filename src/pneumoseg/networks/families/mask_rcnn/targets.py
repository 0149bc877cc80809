"""What a detector learns: each component of the true mask as a finding with a box and a mask of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumoseg.networks.families.mask_rcnn.detector import Detected, DetectorNetwork, Targets
from pneumoseg.networks.family import Truth
from pneumoseg.networks.network import unwrap

#: torchvision's losses, as history and curves have them.
NAMES = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposal_box",
    "loss_classifier": "finding_class",
    "loss_box_reg": "finding_box",
    "loss_mask": "finding_mask",
}


def minimise(model: nn.Module, pixels: Tensor, truth: Truth) -> tuple[Mapping[str, Tensor], Detected]:
    """The losses of a batch in training mode, detections alone in evaluation mode; an Objective.

    Images without a known mask are left out: nobody knows where their findings are. Negatives take part, without any.
    """
    network = unwrap(model)
    if not isinstance(network, DetectorNetwork):
        raise TypeError(f"a detector's objective takes a detector, not {type(network).__name__}")
    if not network.training:
        return {}, model(pixels)
    if not truth.mask_known.any():
        output = model(pixels)
        # With a gradient of 0: DistributedDataParallel waits for one of every parameter.
        return {"loss": torch.stack([part.sum() for part in output.shapes]).sum() * 0.0}, output
    rows = truth.mask_known.nonzero()[:, 0].to(pixels.device)
    least_px = least_area(network.detector.least_instance_px_at_1024, pixels.shape[-1])
    output = model(pixels[rows], targets_of(truth.masks[rows, 0], least_px))
    terms = {name: output.losses[theirs] for theirs, name in NAMES.items()}
    total = torch.stack(list(terms.values())).sum()
    return {"loss": total, **{name: value.detach() for name, value in terms.items()}}, output


def least_area(px_at_1024: int, size_px: int) -> int:
    """The least area of a finding at the size of the input, at least one pixel."""
    return max(1, round(px_at_1024 * (size_px / 1024) ** 2))


def targets_of(masks: Tensor, least_px: int) -> Targets:
    """The findings of each image; of a negative there are none.

    Args:
        masks: (N, S, S) float32, the share of a pixel that is lesion; half of it counts.
        least_px: smaller components are left out.
    """
    pixels = (masks >= 0.5).to(torch.uint8).cpu().numpy()
    return [
        {name: torch.from_numpy(value).to(masks.device) for name, value in findings(mask, least_px).items()}
        for mask in pixels
    ]


def findings(mask: NDArray[np.uint8], least_px: int) -> dict[str, NDArray[Any]]:
    """The 8-connected components of a mask, (S, S) uint8, as torchvision wants them; T may be 0.

    Returns:
        ``boxes`` (T, 4) int64 as x1, y1, x2, y2, whose ends lie behind the last pixel, so that none is empty;
        ``labels`` (T,) int64, all 1; ``masks`` (T, S, S) uint8.
    """
    _, labels, table, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = np.flatnonzero(table[:, cv2.CC_STAT_AREA] >= least_px)
    kept = kept[kept > 0]  # 0 is the background
    corner, extent = table[kept, :2], table[kept, 2:4]
    return {
        "boxes": np.concatenate([corner, corner + extent], axis=1).astype(np.int64),
        "labels": np.ones(len(kept), np.int64),
        "masks": (labels == kept[:, None, None]).astype(np.uint8),
    }
