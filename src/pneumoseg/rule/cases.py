"""The predicted images of a set, joined with patient, fold and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.rule.crop import Box, box_path, read_box
from pneumoseg.rule.decision import Map, Mask
from pneumoseg.rule.findings import Finding, findings_path, read_findings
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, PREDICTED, read_table, unknown_patient

_TEST = "test"


@dataclass(frozen=True)
class Case:
    """One predicted image and its truth.

    Attributes:
        image_id: as in images.csv.
        patient: of the image; an image without patient id is a patient of its own.
        fold: ``test`` or the number of the fold.
        probability: of pneumothorax, 0 to 1.
        label: whether it has a pneumothorax.
        mask_known: whether it is known where: not of a positive label without a mask.
        map: the probability map; None where the networks give none.
        mask: the true mask; None where there is none or it is not known.
    """

    image_id: str
    patient: str
    fold: str
    probability: float
    label: bool
    mask_known: bool
    map: Path | None
    mask: Path | None

    def read_map(self) -> Map | None:
        """The probability map, (H, W) uint8, round(255 p); None where the networks give none.

        Raises:
            DataError: the file is missing, damaged or of another type.
        """
        return None if self.map is None else read_map(self.map)

    def read_findings(self, shape: tuple[int, int]) -> list[Finding] | None:
        """The findings, best first; None where the networks tell none apart.

        Raises:
            DataError: the file is damaged, or of an image of another shape.
        """
        path = None if self.map is None else findings_path(self.map.parent, self.image_id)
        return read_findings(path, shape) if path is not None and path.is_file() else None

    def read_box(self) -> Box | None:
        """What networks saw of the image, where they see the lungs alone; None: all of it.

        Raises:
            DataError: the file is damaged.
        """
        path = None if self.map is None else box_path(self.map.parent, self.image_id)
        return read_box(path) if path is not None and path.is_file() else None

    def read_truth(self, shape: tuple[int, ...]) -> Mask | None:
        """The true mask, (H, W) bool, of an image of ``shape``; empty without pneumothorax, None where it is not known.

        Raises:
            DataError: the mask is not of ``shape``, the map's, or holds no pixel.
        """
        if not self.mask_known:
            return None
        if self.mask is None:
            return np.zeros(shape, np.bool_)
        truth = read_png(self.mask) > 0
        if truth.shape != shape:
            whole = self.map or self.image_id
            raise DataError(f"{whole} has {shape} pixels, {self.mask} {truth.shape}: run dvc repro predict")
        if not truth.any():
            raise DataError(
                f"{self.mask}: no pixel is marked; data/masks holds positive images only, run dvc repro masks"
            )
        return truth


def read_map(path: Path) -> Map:
    """Read a probability map, (H, W) uint8.

    Raises:
        DataError: the file is missing, damaged or not 8-bit grey.
    """
    image = read_png(path)
    if image.dtype != np.uint8:
        raise DataError(f"{path}: {image.dtype}, but a probability map is uint8; run dvc repro predict")
    return image


def read_predicted(predictions: Path) -> pd.DataFrame:
    """Read data/predictions/images.csv, one row an image.

    Raises:
        DataError: an image twice, an unknown set, or a probability outside 0 to 1.
    """
    path = predictions / "images.csv"
    frame = read_table(path, PREDICTED)
    _refuse_twice(path, frame, "predict")
    unknown = set(frame["set"]) - {"validation", _TEST, "unlabelled"}
    if unknown:
        raise DataError(f"{path}: set {sorted(unknown)[0]!r}; one of validation, test, unlabelled")
    wrong = frame.loc[~frame["probability"].between(0, 1)]
    if len(wrong):
        first = wrong.iloc[0]
        raise DataError(f"{path}: {first['image_id']} has probability {first['probability']}; it lies from 0 to 1")
    return frame.sort_values("image_id", ignore_index=True)


def _refuse_twice(path: Path, frame: pd.DataFrame, stage: str) -> None:
    twice = frame.loc[frame["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} has two rows; run dvc repro {stage}")


@dataclass(frozen=True)
class Predictions:
    """The tables of a set that its cases are made of, each read once.

    Attributes:
        layout: of the set.
        images: images.csv, one row an image.
        folds: FOLDS by image_id.
        annotations: ANNOTATIONS by image_id.
    """

    layout: Layout
    images: pd.DataFrame
    folds: pd.DataFrame
    annotations: pd.DataFrame

    @classmethod
    def read(cls, layout: Layout) -> Predictions:
        """Read them.

        Raises:
            DataError: a table is missing or damaged, or an image has two rows.
        """
        tables = []
        for path, columns, stage in ((layout.folds, FOLDS, "split"), (layout.annotations, ANNOTATIONS, "masks")):
            frame = read_table(path, columns)
            _refuse_twice(path, frame, stage)
            tables.append(frame.set_index("image_id"))
        return cls(layout, read_predicted(layout.predictions), *tables)

    def cases(self, which: Literal["validation", "test"]) -> tuple[Case, ...]:
        """The cases of the validation or the test set in the order of their ids.

        No image may be missing: what is left out of a mean flatters it. A validation image must be predicted by the
        fold it belongs to, and no image of the test set may be among them. Either every image of the set has a map or
        none has.

        Raises:
            DataError: no image, or the tables contradict each other or data/masks.
        """
        rows = self.images[self.images["set"] == which]
        table, folder = self.layout.predictions / "images.csv", self.layout.predictions / which
        if rows.empty:
            raise DataError(f"{table}: no {which} image; give split.folds and the test share more images")
        used = {_TEST} if which == _TEST else set(rows["fold"])
        expected = set(self.folds.index[self.folds["fold"].isin(used)])
        missing, extra = sorted(expected - set(rows["image_id"])), sorted(set(rows["image_id"]) - expected)
        if missing or extra or (which == "validation" and _TEST in used):
            wrong = f"{missing[0]} is missing" if missing else f"{(extra or sorted(used))[0]} does not belong there"
            raise DataError(f"{table}: {which} images are not those of {self.layout.folds}: {wrong}; run dvc repro")
        known = self.folds.to_dict("index")
        for image_id, fold in zip(rows["image_id"], rows["fold"], strict=True):
            if which == "validation" and known[image_id]["fold"] != fold:
                raise DataError(f"{table}: {image_id} is of fold {known[image_id]['fold']}, not {fold}")
        maps = any(folder.glob("*.png"))
        truth = self.annotations.to_dict("index")
        return tuple(
            self._case(row, known[row["image_id"]], truth.get(row["image_id"]), folder if maps else None)
            for row in rows.to_dict("records")
        )

    def outputs(self, which: Literal["validation", "test"]) -> pd.DataFrame:
        """The single outputs of networks that have several, by image_id; of the images of a set that have all of them.

        No column where networks have one output.

        Raises:
            DataError: a value is no number.
        """
        rows = self.images[self.images["set"] == which].set_index("image_id")
        found = rows.drop(columns=[name for name in PREDICTED if name in rows])
        try:
            return found.replace("", np.nan).astype(np.float64).dropna()
        except ValueError as error:
            raise DataError(f"{self.layout.predictions / 'images.csv'}: {error}; run dvc repro predict") from None

    def _case(
        self, row: Mapping[Any, Any], about: Mapping[Any, Any], truth: Mapping[Any, Any] | None, maps: Path | None
    ) -> Case:
        image_id = str(row["image_id"])
        mask = self.layout.masks / f"{image_id}.png"
        if truth is None or truth["annotated"] != 1:
            raise DataError(f"{image_id} is not annotated in {self.layout.annotations} but has a fold; run dvc repro")
        label, mask_known = truth["pneumothorax"] == 1, truth["mask_known"] == 1
        # A lost mask would make the image a negative.
        if mask.is_file() != (label and mask_known):
            has = "a mask" if mask.is_file() else "no mask"
            raise DataError(
                f"{image_id} is pneumothorax = {int(label)}, mask_known = {int(mask_known)} in "
                f"{self.layout.annotations} but has {has} in {self.layout.masks}; run dvc repro masks"
            )
        return Case(
            image_id=image_id,
            patient=about["patient"] or unknown_patient(image_id),
            fold=about["fold"],
            probability=float(row["probability"]),
            label=label,
            mask_known=mask_known,
            map=None if maps is None else maps / f"{image_id}.png",
            mask=mask if label and mask_known else None,
        )


def patient_codes(patients: Sequence[str]) -> NDArray[np.int64]:
    """Number the patients in the order of their ids: (N,) int64 from 0."""
    return np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
