"""The images of the folds and the test set, each with its mask at the size of its picture."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.resizing import resize
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, read_table, unknown_patient

logger = logging.getLogger(__name__)

TEST = "test"


@dataclass(frozen=True)
class Sample:
    """One annotated image.

    Attributes:
        image_id: of tables.IMAGE_ID.
        fold: ``test`` or the number of the fold.
        patient: keyed hash, or a name that only this image has.
        positive: its label.
        image: PNG file.
        mask: PNG file at the original size; None without pneumothorax, or where its place is not known.
        size: rows and columns of the original.
        known: whether it is known where it has a pneumothorax, or that it has none.
    """

    image_id: str
    fold: str
    patient: str
    positive: bool
    image: Path
    mask: Path | None
    size: tuple[int, int]
    known: bool

    def read_mask(self) -> NDArray[np.bool_]:
        """(H, W) of the original size; empty without pneumothorax.

        Raises:
            DataError: the mask is missing, or no pixel of it is marked.
        """
        if self.mask is None:
            return np.zeros(self.size, np.bool_)
        mask = read_png(self.mask) > 0
        if not mask.any():
            raise DataError(f"{self.mask}: no pixel is marked, but {self.image_id} is positive; run dvc repro masks")
        return mask

    def picture_mask(self) -> NDArray[np.bool_]:
        """(H, W) of the PNG, which extract.size_px may have made smaller: a pixel of it is marked where half is.

        Of a mask that would vanish so, the pixels of which most is marked stay: the image is no negative.
        """
        rows, columns = read_png(self.image).shape
        levels = resize(self.read_mask().astype(np.float32), rows, columns)
        least = min(0.5, float(levels.max())) if self.mask is not None else 0.5
        if least < 0.5:
            logger.warning(
                "%s: its mask would vanish at %d x %d pixels; those most marked are kept", self.image_id, rows, columns
            )
        return np.asarray(levels >= least, np.bool_)


def read_samples(layout: Layout) -> list[Sample]:
    """Every image of folds.csv, by id.

    Raises:
        DataError: a table or a file is missing.
    """
    annotations = read_table(layout.annotations, ANNOTATIONS).set_index("image_id").to_dict("index")
    metadata = read_table(layout.metadata, METADATA).set_index("image_id").to_dict("index")
    samples = []
    for row in read_table(layout.folds, FOLDS).sort_values("image_id").to_dict("records"):
        image_id = str(row["image_id"])
        truth, about, image = annotations[image_id], metadata[image_id], layout.images / f"{image_id}.png"
        if not image.is_file():
            raise DataError(f"{image}: not there; run dvc repro split, or dvc pull")
        positive, known = truth["pneumothorax"] == 1, truth["mask_known"] == 1
        mask = layout.masks / f"{image_id}.png" if positive and known else None
        patient = str(row["patient"]) or unknown_patient(image_id)
        size = (int(about["rows"]), int(about["columns"]))
        samples.append(Sample(image_id, str(row["fold"]), patient, positive, image, mask, size, known))
    return samples


def folds_of(samples: list[Sample]) -> list[str]:
    """The numbers of the folds."""
    return sorted({sample.fold for sample in samples} - {TEST}, key=int)
