"""The command export: the prepared data in another engine's layout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from pneumoseg.export.coco import write_coco
from pneumoseg.export.folders import write_folders
from pneumoseg.export.nnunet import write_nnunet
from pneumoseg.export.samples import TEST, Sample, folds_of, read_samples
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.rle import encode
from pneumoseg.shared.tables import Columns, write_table

logger = logging.getLogger(__name__)

Writer = Callable[[Path, Sequence[Sample], Sequence[str]], None]
_TRUTH: Columns = {"ImageId": "text", "EncodedPixels": "text"}
FORMATS: Mapping[str, Writer] = {"nnunet": write_nnunet, "coco": write_coco, "png": write_folders}


def export(layout: Layout, name: str, folder: Path) -> None:
    """Write the annotated images with their masks and folds.

    Positives without a mask are left out where masks are all that a layout holds; they are told. truth.csv beside it
    has the masks of the test images at their original size, for ``pneumoseg score``.

    Args:
        layout: of the main set, after split.
        name: of FORMATS.
        folder: new or empty.

    Raises:
        DataError: the folder is not empty, or a table or file is missing.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: there already; give --to a new folder, so that nothing old stays among the files")
    samples = read_samples(layout)
    known = [sample for sample in samples if sample.known]
    if len(known) < len(samples):
        logger.warning(
            "%d of %d images are positive without a mask: %s", len(samples) - len(known), len(samples),
            "in table.csv alone" if name == "png" else "left out",
        )  # fmt: skip
    chosen = samples if name == "png" else known
    FORMATS[name](folder, chosen, folds_of(samples))
    tested = [sample for sample in known if sample.fold == TEST]
    rows = [(sample.image_id, encode(sample.read_mask())) for sample in tested]
    write_table(folder / "truth.csv", pd.DataFrame(rows, columns=list(_TRUTH)), _TRUTH)
    logger.info("%d images, %d of them of the test set, in %s", len(chosen), len(tested), folder)
