"""The figures of metrics/masks.json: the annotation table as such, and what of it met an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.sources.rle_grouping import ImageAnnotation
from pneumoseg.sources.rle_table import AnnotationTable, RejectedRow


def summarise(
    table: AnnotationTable,
    images: Mapping[str, ImageAnnotation],
    rejected: Sequence[RejectedRow],
    annotations: pd.DataFrame,
    phantom_images: int,
) -> dict[str, Any]:
    """Count rows and images.

    Args:
        table: the table as read.
        images: what it says of each image it names.
        rejected: its rows that cannot be used.
        annotations: the rows of annotations.csv with column status, one for each image of metadata.csv.
        phantom_images: images that are synthetic.

    Returns:
        ``table`` (all images the table names), ``matched`` (those that are in metadata.csv), and what did not meet.
    """
    known = set(annotations["image_id"])
    status = annotations["status"]
    named = [row.image_id for row in table.rows] + [row.image_id for row in table.rejected]
    matched = {image_id: image for image_id, image in images.items() if image_id in known}
    positives = annotations[status == "positive"]
    return {
        "table": {"rows": len(table.rows) + len(table.rejected), **_count(images.values())},
        "matched": {
            **_count(matched.values()),
            "area_percent": _distribution(positives["area_fraction"].astype(float) * 100),
            "components": _histogram(positives["components"].astype(int)),
        },
        "phantom_images": phantom_images,
        "images": len(annotations),
        "images_without_row": int((status == "unannotated").sum()),
        "table_images_without_image": len(images) - len(matched),
        "rows_without_image": sum(bool(image_id) and image_id not in known for image_id in named),
        "rejected_rows": len(rejected),
        "rejected_images": int((status == "rejected").sum()),
        "repeated_rows": len(table.rows) - len({(row.image_id, row.code) for row in table.rows}),
    }


def _count(images: Iterable[ImageAnnotation]) -> dict[str, Any]:
    every = list(images)
    positives = [image for image in every if image.rle_count]
    negatives = sum(not image.rejected and not image.rle_count for image in every)
    return {
        "images": len(every),
        "positives": len(positives),
        "negatives": negatives,
        "rejected": sum(image.rejected for image in every),
        "prevalence": len(positives) / (len(positives) + negatives) if positives or negatives else None,
        "several_rows": sum(image.rle_count > 1 for image in positives),
        "overlapping": sum(image.overlapping for image in positives),
        "rle_rows": _histogram(image.rle_count for image in positives),
        "area_px": _distribution([image.area_px for image in positives]),
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
