"""The rows of an annotation table brought together image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.rle import EMPTY, RleError, merge_runs, read_runs
from pneumoseg.sources.rle_table import AnnotationRow, AnnotationTable, RejectedRow


class Size(NamedTuple):
    """Size of an image in pixels."""

    rows: int
    columns: int


@dataclass(frozen=True)
class ImageAnnotation:
    """What the table says of one image.

    Attributes:
        runs: (N, 2) int64, the merged mask as column-major pixel ranges (rle.read_runs); N is 0 without pneumothorax.
        rle_count: rows with a mask; 0 without pneumothorax.
        overlapping: whether two of its rows mark the same pixel.
        rejected: whether a row is damaged or contradicts another; the image's truth is then unknown, the rest void.
    """

    runs: NDArray[np.int64]
    rle_count: int
    overlapping: bool
    rejected: bool

    @property
    def area_px(self) -> int:
        """Area of the merged mask in pixels."""
        return int((self.runs[:, 1] - self.runs[:, 0]).sum())


_REJECTED = ImageAnnotation(np.empty((0, 2), np.int64), 0, overlapping=False, rejected=True)


def group_rows(
    table: AnnotationTable, sizes: Mapping[str, Size], default: Size
) -> tuple[dict[str, ImageAnnotation], list[RejectedRow]]:
    """Merge the rows of each image by OR.

    Args:
        table: rows in any order.
        sizes: size of each known image; its codes must fit into it.
        default: size against which codes of other images are checked.

    Returns:
        The annotation of every image that the table names, and all rows that cannot be used, by line: damaged ones, and
        each other row of the same images.
    """
    by_image: dict[str, list[AnnotationRow]] = {}
    for row in table.rows:
        by_image.setdefault(row.image_id, []).append(row)
    damaged: dict[str, list[RejectedRow]] = {}
    for bad in table.rejected:
        if bad.image_id:
            damaged.setdefault(bad.image_id, []).append(bad)

    images: dict[str, ImageAnnotation] = {}
    rejected = [row for row in table.rejected if not row.image_id]
    for image_id in sorted({*by_image, *damaged}):
        annotation, bad_rows = _merge(
            by_image.get(image_id, []), damaged.get(image_id, []), sizes.get(image_id, default), image_id in sizes
        )
        images[image_id] = annotation
        rejected += bad_rows
    return images, sorted(rejected)


def _merge(
    rows: Sequence[AnnotationRow], damaged: Sequence[RejectedRow], size: Size, known: bool
) -> tuple[ImageAnnotation, list[RejectedRow]]:
    """Merge the rows of one image, or reject them all."""
    bad = list(damaged)
    runs: list[NDArray[np.int64]] = []
    for row in rows:
        try:
            runs.append(read_runs(row.code, size.rows * size.columns))
        except RleError as error:
            advice = "" if known else f" (no such image; checked at masks.table_size_px = {size.rows})"
            bad.append(RejectedRow(row.line, row.image_id, f"{error}{advice}"))
    bad = sorted(bad) or _contradictions(rows)
    if bad:
        lines = {row.line for row in bad}
        reason = f"another row of this image was rejected, line {bad[0].line}"
        bad += [RejectedRow(row.line, row.image_id, reason) for row in rows if row.line not in lines]
        return _REJECTED, bad
    every = np.concatenate(runs)
    merged = ImageAnnotation(merge_runs(every), sum(map(bool, map(len, runs))), overlapping=False, rejected=False)
    overlapping = int((every[:, 1] - every[:, 0]).sum()) > merged.area_px
    return ImageAnnotation(merged.runs, merged.rle_count, overlapping, rejected=False), []


def _contradictions(rows: Sequence[AnnotationRow]) -> list[RejectedRow]:
    """Reject all rows of an image that says both ``-1`` and a mask: which of them holds is not known."""
    empty = [row.line for row in rows if row.code == EMPTY]
    marked = [row.line for row in rows if row.code != EMPTY]
    if not empty or not marked:
        return []
    reason = f"{EMPTY} in line {empty[0]} contradicts the mask in line {marked[0]}"
    return [RejectedRow(row.line, row.image_id, reason) for row in rows]
