"""Average precision of instances as in COCO, by mask and by box (evaluate/instances says what an instance is).

Average precision at one IoU threshold is the mean of the interpolated precision at 101 recalls; AP is its mean over the
thresholds 0.50, 0.55 … 0.95 (Lin et al. 2014, COCO).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.instances import IOU_THRESHOLDS, ImageInstances
from pneumoseg.evaluate.metric import Floats, Metric, register
from pneumoseg.stats.bootstrap import UNKNOWN, Weighted

_RECALLS = np.round(np.arange(101) / 100, 2)


def interpolated_precision(hits: Floats, false_calls: Floats, truths: float) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one; NaN without true instances.

    Args:
        hits: (D,) weight of each detection that is a hit, 0 for the others; best score first.
        false_calls: (D,) the same of those that are none.
        truths: weight of all true instances.
    """
    if truths <= 0:
        return float("nan")
    found = np.cumsum(hits)
    called = found + np.cumsum(false_calls)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # A recall of 0.07 reached as 0.06999… must count: compare with a hair's tolerance.
    return float(envelope[np.searchsorted(found / truths, _RECALLS - 1e-12)].mean())


def average_precision(rows: pd.DataFrame, thresholds: tuple[float, ...], boxes: bool = False) -> Weighted:
    """Average precision over the instances of N images, the mean over some of IOU_THRESHOLDS.

    Args:
        rows: with a column ``instances``; images without masks or without a map have None there.
        thresholds: one or more.
        boxes: whether boxes are compared; else masks.
    """
    none = np.empty((0, len(IOU_THRESHOLDS)), np.bool_)
    nothing = ImageInstances(0, np.empty(0), none, none)
    images = [image or nothing for image in rows["instances"]]
    known = rows["instances"].notna().any()
    truths = np.array([image.truths for image in images], np.float64)
    owner = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    order = np.argsort(-np.concatenate([nothing.scores, *(image.scores for image in images)]), kind="stable")
    wanted = [IOU_THRESHOLDS.index(threshold) for threshold in thresholds]
    found_by = [image.box_hits if boxes else image.hits for image in (nothing, *images)]
    hits = np.concatenate(found_by)[order][:, wanted].astype(np.float64)
    owner = owner[order]

    def precisions(weights: NDArray[np.int64]) -> Floats:
        found = np.full(len(weights), np.nan)
        for index, row in enumerate(weights.astype(np.float64) if known else ()):
            by_detection, total = row[owner], float(row @ truths)
            found[index] = np.mean(
                [interpolated_precision(by_detection * hit, by_detection * (1 - hit), total) for hit in hits.T]
            )
        return found

    # Resampling could only repeat these.
    return Weighted(precisions, len(images), {0.0: lambda _: UNKNOWN, 1.0: lambda _: UNKNOWN})


for _name, _label, _thresholds in (
    ("ap", "AP (mean over IoU .50 to .95)", IOU_THRESHOLDS),
    ("ap50", "AP50", (0.5,)),
    ("ap75", "AP75", (0.75,)),
):
    for _of, _kind, _boxes in (("", "instance ", False), ("box_", "box ", True)):
        _figure = partial(average_precision, thresholds=_thresholds, boxes=_boxes)
        register(Metric(f"{_of}{_name}", f"{_kind}{_label}", _figure, section="instances"))
