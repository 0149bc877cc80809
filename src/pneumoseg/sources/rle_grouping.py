"""The rows of an annotation table brought together image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.rle import EMPTY, RleError, merge_runs, read_runs
from pneumoseg.sources.matching import other_spellings
from pneumoseg.sources.rle_table import AnnotationRow, AnnotationTable
from pneumoseg.sources.truth import REJECTED, RejectedRow, Size, Truth, Truths


def group_rows(table: AnnotationTable, sizes: Mapping[str, Size], default: Size) -> Truths:
    """Merge the rows of each image by OR; an id in another spelling is that of the image (matching.other_spellings).

    Args:
        table: rows in any order.
        sizes: size of each known image; its codes must fit into it.
        default: size against which codes of other images are checked.

    Returns:
        What it says of every image that it names, and all rows that cannot be used, by line: damaged ones, and each
        other row of the same images.
    """
    named = {row.image_id for row in table.rows} | {row.image_id for row in table.rejected}
    spellings = other_spellings(named, sizes.keys())
    rows = [row._replace(image_id=spellings.get(row.image_id, row.image_id)) for row in table.rows]
    bad_rows = [row._replace(image_id=spellings.get(row.image_id, row.image_id)) for row in table.rejected]
    by_image: dict[str, list[AnnotationRow]] = {}
    for row in rows:
        by_image.setdefault(row.image_id, []).append(row)
    damaged: dict[str, list[RejectedRow]] = {}
    for bad in bad_rows:
        if bad.image_id:
            damaged.setdefault(bad.image_id, []).append(bad)

    images: dict[str, Truth] = {}
    rejected = [row for row in bad_rows if not row.image_id]
    for image_id in sorted({*by_image, *damaged}):
        images[image_id], refused = _merge(
            by_image.get(image_id, []), damaged.get(image_id, []), sizes.get(image_id, default), image_id in sizes
        )
        rejected += refused
    return Truths(
        images,
        [*(row.image_id for row in rows), *(row.image_id for row in bad_rows)],
        sorted(rejected),
        len(rows) - len({(row.image_id, row.code) for row in rows}),
        spellings=spellings,
    )


def _merge(
    rows: Sequence[AnnotationRow], damaged: Sequence[RejectedRow], size: Size, known: bool
) -> tuple[Truth, list[RejectedRow]]:
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
        return REJECTED, bad
    every = np.concatenate(runs)
    merged = merge_runs(every)
    overlapping = len(merged) > 0 and _pixels(every) > _pixels(merged)
    return Truth(len(merged) > 0, merged, sum(len(found) > 0 for found in runs), overlapping), []


def _pixels(runs: NDArray[np.int64]) -> int:
    return int((runs[:, 1] - runs[:, 0]).sum())


def _contradictions(rows: Sequence[AnnotationRow]) -> list[RejectedRow]:
    """Reject all rows of an image that says both ``-1`` and a mask: which of them holds is not known."""
    empty = [row.line for row in rows if row.code == EMPTY]
    marked = [row.line for row in rows if row.code != EMPTY]
    if not empty or not marked:
        return []
    reason = f"{EMPTY} in line {empty[0]} contradicts the mask in line {marked[0]}"
    return [RejectedRow(row.line, row.image_id, reason) for row in rows]
