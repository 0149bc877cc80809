"""Detections of a batch as the record that every family gives."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pneumoseg.networks.families.mask_rcnn.detector import Detected
from pneumoseg.networks.family import Prediction
from pneumoseg.rule.findings import Detection, map_of


def prediction(output: Detected) -> Prediction:
    """Maps and scores on the device of the output; an image without a detection has 0 everywhere."""
    side = output.size_px
    device = output.images[0]["scores"].device if output.images else torch.device("cpu")
    detections = [_detections(found, side) for found in output.images]
    maps = np.zeros((len(detections), side, side), np.float32)
    for number, found in enumerate(detections):
        maps[number] = map_of(found, side, side)
    best = [max((one.score for one in found), default=0.0) for found in detections]
    return Prediction(torch.from_numpy(maps).to(device), torch.tensor(best, device=device), detections)


def _detections(found: dict[str, Tensor], side: int) -> list[Detection]:
    boxes, scores, masks = (found[name].float().cpu().numpy() for name in ("boxes", "scores", "masks"))
    return [Detection(float(score), box / side, mask[0]) for box, score, mask in zip(boxes, scores, masks, strict=True)]
