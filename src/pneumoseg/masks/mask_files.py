"""From an annotation table to one mask an image: rows merged by OR, doubtful images set aside, everything counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.data import DataParams, MoreParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.masks.mask_counts import summarise
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, fresh_dir, say_empty, write_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.rle import draw_runs
from pneumoseg.shared.studies import LATERALS
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, Columns, read_table, write_table
from pneumoseg.sources.source import DataSet, source_of
from pneumoseg.sources.truth import Size, Truth, Truths

logger = logging.getLogger(__name__)

#: data/rejected_annotations.csv; image_id is empty where the table's text is no id.
REJECTED_ROWS: Columns = {"line": "integer", "image_id": "text", "reason": "text"}

#: Beside tables.ANNOTATIONS: positive, negative, or why an image is not annotated: unannotated (no row in the table),
#: rejected (a row is doubtful), uncertain, blank (see data.labels) or lateral.
STATUS = "status"

#: Of the images that annotations name; more without a file are told.
_MAX_LOST_FRACTION = 0.05

_BOX = ("row_min", "column_min", "row_max", "column_max")


def write_masks(layout: Layout, data: DataParams, params: MasksParams, workers: int | None) -> None:
    """Decode and merge all annotations of the images in metadata.csv.

    An image from the side is not annotated, whatever its rows say. Another is only if each of its rows can be used:
    with a damaged row, or with ``-1`` beside a mask, its truth is not known, so it is neither negative nor partly
    positive and counts as rejected. All rows of such an image are in rejected_annotations. The result is the same for
    any number of workers.

    Args:
        layout: metadata gives each image's size; masks (emptied first: a PNG (H, W) uint8 0/255 for each positive
            image), annotations (one row for each image of metadata, by image_id), rejected_annotations
            (REJECTED_ROWS) and masks_counts are written.
        data: section data, a set of evaluate.external, or one of data.more, of which labels alone may count.
        params: section masks.
        workers: threads that write PNG files; None one a core, 0 none beside the caller's.

    Raises:
        DataError: a table cannot be read, no image has a row, or too many rows are rejected.
    """
    metadata = read_table(layout.metadata, METADATA)
    sizes = _image_sizes(metadata, layout.metadata)
    annotations = layout.root / data.annotations
    truths = source_of(data).truth(DataSet.of(layout, data), sizes, params)
    if isinstance(data, MoreParams) and data.use == "label":
        truths = truths.labels_alone()
    # First of all, so that it can be looked into when the checks below end the stage.
    rejected = pd.DataFrame(truths.rejected, columns=list(REJECTED_ROWS))
    write_table(layout.rejected_annotations, rejected, REJECTED_ROWS)
    _check_match(truths, sizes, annotations, layout.metadata)
    _tell_match(truths, sizes, annotations)
    _check_rejected(truths, params.max_rejected_fraction, annotations, layout.rejected_annotations)

    fresh_dir(layout.masks)
    views = metadata.set_index("image_id")["view_position"]

    def describe(image_id: str) -> dict[str, Any]:
        status = _status(image_id, truths, views[image_id])
        return _describe(image_id, status, truths.images.get(image_id), sizes[image_id], layout.masks)

    frame = pd.DataFrame(map_threads(describe, sorted(sizes), workers, "masks"))
    say_empty(layout.masks)
    write_table(layout.annotations, frame, ANNOTATIONS)
    phantoms = int(metadata["phantom"].fillna(0).sum())
    write_json(layout.masks_counts, summarise(truths, frame, phantoms))


def _image_sizes(metadata: pd.DataFrame, path: Path) -> dict[str, Size]:
    if metadata.empty:
        raise DataError(f"{path}: holds no image; see data/rejected.csv for the files that were refused")
    twice = metadata["image_id"][metadata["image_id"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: image_id {twice.iloc[0]} stands in more than one row; run the extract stage again")
    unsized = metadata["image_id"][~((metadata["rows"] > 0) & (metadata["columns"] > 0)).fillna(value=False)]
    if len(unsized):
        raise DataError(f"{path}: image {unsized.iloc[0]} has no rows or columns; run the extract stage again")
    triples = zip(metadata["image_id"], metadata["rows"], metadata["columns"], strict=True)
    return {str(image_id): Size(int(rows), int(columns)) for image_id, rows, columns in triples}


def _check_match(truths: Truths, sizes: Mapping[str, Size], annotations: Path, metadata: Path) -> None:
    named = set(truths.rows) - {""}
    if named.intersection(sizes) or not truths.rows:
        return  # without any row every image is only predicted
    if not named:
        raise DataError(f"{annotations}: no row names an image; {len(truths.rejected)} rows were rejected")
    raise DataError(
        f"no image has a row in {annotations}: its ids look like {min(named)}, those of {metadata} like {min(sizes)}; "
        "data.annotations must belong to data.root and name its images (in SIIM's layout by SOPInstanceUID)"
    )


def _tell_match(truths: Truths, sizes: Mapping[str, Size], annotations: Path) -> None:
    """One line about ids in another spelling, and one where many images of the annotations have no file."""
    if truths.spellings:
        name, image_id = next(iter(truths.spellings.items()))
        logger.warning(
            "%s: %d ids are taken for those of images in another spelling, such as %s for %s",
            annotations, len(truths.spellings), name, image_id,
        )  # fmt: skip
    named = set(truths.rows) - {""}
    lost = sorted(named.difference(sizes))
    if len(lost) > _MAX_LOST_FRACTION * len(named):
        logger.warning(
            "%s: only %d of its %d images are among the %d that were extracted, not %s: is data.root complete, and are "
            "the ids written alike?",
            annotations, len(named) - len(lost), len(named), len(sizes), " nor ".join(lost[:2]),
        )  # fmt: skip


def _check_rejected(truths: Truths, limit: float, annotations: Path, rejected: Path) -> None:
    total, bad = len(truths.rows), len(truths.rejected)
    if bad > limit * total:
        first = truths.rejected[0]
        raise DataError(
            f"{annotations}: {bad} of {total} rows cannot be used, more than masks.max_rejected_fraction = "
            f"{limit}; the first is line {first.line}: {first.reason}. All are listed in {rejected}: mend the "
            "table, or raise the limit"
        )


def _status(image_id: str, truths: Truths, view: str) -> str:
    truth = truths.images.get(image_id)
    # A study's label is what its report says, not what this image shows.
    if view in LATERALS and not (truth and truth.rejected):
        return "lateral"
    if truth is None:
        return truths.undecided.get(image_id, "unannotated")
    if truth.rejected:
        return "rejected"
    return "positive" if truth.positive else "negative"


def _describe(image_id: str, status: str, truth: Truth | None, size: Size, masks_dir: Path) -> dict[str, Any]:
    """Give an image's row of annotations.csv, and write its mask if it has one."""
    row: dict[str, Any] = dict.fromkeys(ANNOTATIONS) | {"image_id": image_id, "mask_sha256": "", STATUS: status}
    if truth is None or status not in ("positive", "negative"):
        return row | {"annotated": 0, "rle_count": 0}
    row |= {"annotated": 1, "mask_known": int(truth.runs is not None), "rle_count": truth.rle_count}
    if not truth.positive:
        return row | {"pneumothorax": 0, "components": 0, "area_px": 0, "area_fraction": 0.0}
    row |= {"pneumothorax": 1}
    if truth.runs is None:
        return row
    mask = draw_runs(truth.runs, *size)
    write_png(masks_dir / f"{image_id}.png", mask.view(np.uint8) * np.uint8(255))
    return row | measure(mask)


def measure(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Measure a mask that is not empty.

    Args:
        mask: (H, W) bool.

    Returns:
        components (8-connected), area_px, area_fraction of the image, the bounding box in pixels (0-based, inclusive),
        and a digest of shape and pixels.
    """
    count, _ = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = (int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]))
    area = int(np.count_nonzero(mask))
    digest = digest_bytes(f"{mask.shape[0]}x{mask.shape[1]}".encode(), np.packbits(mask).tobytes())
    measured = {"components": count - 1, "area_px": area, "area_fraction": area / mask.size, "mask_sha256": digest}
    return measured | dict(zip(_BOX, box, strict=True))
