"""The figures of metrics/masks.json: the annotation table as such, and what of it met an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.sources.truth import BLANK, UNCERTAIN, Truth, Truths


def summarise(truths: Truths, annotations: pd.DataFrame, phantom_images: int) -> dict[str, Any]:
    """Count rows and images.

    Args:
        truths: what the source says.
        annotations: the rows of annotations.csv with column status, one for each image of metadata.csv.
        phantom_images: images that are synthetic.

    Returns:
        ``table`` (all images that the source names), ``matched`` (those that are in metadata.csv), and what did not
        meet or counts as no annotation: ``uncertain``, ``blank`` (see data.labels) and ``lateral`` images. Areas and
        components are those of known masks; ``label_only`` counts positives without one.
    """
    known = set(annotations["image_id"])
    status = annotations["status"]
    matched = {image_id: truth for image_id, truth in truths.images.items() if image_id in known}
    marked = annotations[(status == "positive") & (annotations["mask_known"] == 1)]
    return {
        "table": {"rows": len(truths.rows), **_count(truths.images.values())},
        "matched": {
            **_count(matched.values()),
            "area_percent": _distribution(marked["area_fraction"].astype(float) * 100),
            "components": _histogram(marked["components"].astype(int)),
        },
        "phantom_images": phantom_images,
        "images": len(annotations),
        "images_without_row": int((status == "unannotated").sum()),
        "table_images_without_image": len(truths.images) - len(matched),
        "rows_without_image": sum(bool(image_id) and image_id not in known for image_id in truths.rows),
        **{f"{name}_images": int((status == name).sum()) for name in (UNCERTAIN, BLANK, "lateral")},
        "grey_masks": truths.grey_masks,
        "rejected_rows": len(truths.rejected),
        "rejected_images": int((status == "rejected").sum()),
        "repeated_rows": truths.repeated_rows,
        "ids_in_another_spelling": len(truths.spellings),
    }


def _count(truths: Iterable[Truth]) -> dict[str, Any]:
    every = list(truths)
    sure = [truth for truth in every if not truth.rejected]
    positives = [truth for truth in sure if truth.positive]
    return {
        "images": len(every),
        "positives": len(positives),
        "label_only": sum(truth.runs is None for truth in positives),
        "negatives": len(sure) - len(positives),
        "rejected": len(every) - len(sure),
        "prevalence": len(positives) / len(sure) if sure else None,
        "several_rows": sum(truth.rle_count > 1 for truth in positives),
        "overlapping": sum(truth.overlapping for truth in positives),
        "rle_rows": _histogram(truth.rle_count for truth in positives if truth.runs is not None),
        "area_px": _distribution([truth.area_px for truth in positives if truth.area_px is not None]),
    }


def _histogram(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _distribution(values: Sequence[float] | pd.Series) -> dict[str, float] | None:
    """Give minimum, percentiles (linear between ranks), maximum and mean; None without values."""
    if not len(values):
        return None
    array = np.asarray(values, np.float64)
    p5, median, p95 = np.percentile(array, [5, 50, 95])
    return {"min": array.min(), "p5": p5, "median": median, "p95": p95, "max": array.max(), "mean": array.mean()}
