"""Intersection over union, per image; and Dice and IoU pooled over all pixels, which no image-wise mean equals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pneumoseg.evaluate.metric import Metric, column, mean_of, of_masks, register
from pneumoseg.stats.bootstrap import Ratio

_POOLED = "(all pixels as one image; not comparable with the others)"


def _pooled(rows: pd.DataFrame, dice: bool) -> Ratio:
    truth, marked, shared = (
        np.nan_to_num(column(rows, name)) for name in ("truth_px", "predicted_px", "intersection_px")
    )
    # Only of images that have both masks.
    both = np.isfinite(of_masks(rows, "intersection_px"))
    return Ratio.of(both * (1 + dice) * shared, both * (truth + marked - (not dice) * shared))


register(Metric("iou", "IoU, all images", lambda rows: mean_of(of_masks(rows, "iou"))))
register(
    Metric("iou_pos", "IoU, positives only", lambda rows: mean_of(column(rows, "iou"), column(rows, "pneumothorax")))
)
register(Metric("pooled_dice", f"pooled Dice {_POOLED}", lambda rows: _pooled(rows, dice=True)))
register(Metric("pooled_iou", f"pooled IoU {_POOLED}", lambda rows: _pooled(rows, dice=False)))
