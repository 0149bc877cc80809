"""The predicted images of a set, joined with patient, fold and truth, and gone through one at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
from tqdm import tqdm

from pneumoseg.rule.decision import Map, Mask
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png
from pneumoseg.shared.tables import FOLDS, PREDICTED, read_table

T = TypeVar("T")
_TEST = "test"


@dataclass(frozen=True)
class Case:
    """One predicted image; ``mask`` is None where it has no pneumothorax."""

    image_id: str
    patient: str
    fold: str
    probability: float
    map: Path
    mask: Path | None

    def read_map(self) -> Map:
        """The probability map, (H, W) uint8, round(255 p).

        Raises:
            DataError: the file is missing, damaged or of another type.
        """
        return read_map(self.map)

    def read_truth(self, shape: tuple[int, ...]) -> Mask | None:
        """The true mask, (H, W) bool; None without pneumothorax.

        Raises:
            DataError: the mask is not of ``shape``, the map's, or holds no pixel.
        """
        if self.mask is None:
            return None
        truth = read_png(self.mask) > 0
        if truth.shape != shape:
            raise DataError(f"{self.map} has {shape} pixels, {self.mask} {truth.shape}: run dvc repro predict")
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
    twice = frame.loc[frame["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} has two rows; run dvc repro predict")
    unknown = set(frame["set"]) - {"validation", _TEST, "unlabelled"}
    if unknown:
        raise DataError(f"{path}: set {sorted(unknown)[0]!r}; one of validation, test, unlabelled")
    wrong = frame.loc[~frame["probability"].between(0, 1)]
    if len(wrong):
        first = wrong.iloc[0]
        raise DataError(f"{path}: {first['image_id']} has probability {first['probability']}; it lies from 0 to 1")
    return frame.sort_values("image_id", ignore_index=True)


def read_cases(
    predictions: Path, folds_csv: Path, masks: Path, which: Literal["validation", "test"]
) -> tuple[Case, ...]:
    """The cases of the validation or the test set in the order of their ids.

    No image may be missing: what is left out of a mean flatters it. A validation image must be predicted by the fold it
    belongs to, and no image of the test set may be among them.

    Args:
        predictions: folder with images.csv and the maps below validation/ and test/.
        folds_csv: image_id, patient, fold.
        masks: folder of true masks, positives only.
        which: the set.

    Raises:
        DataError: no image, or the two tables contradict each other.
    """
    predicted = read_predicted(predictions)
    predicted = predicted[predicted["set"] == which]
    if predicted.empty:
        raise DataError(
            f"{predictions / 'images.csv'}: no {which} image; give split.folds and the test share more images"
        )
    folds = read_table(folds_csv, FOLDS).set_index("image_id")
    if not folds.index.is_unique:
        raise DataError(f"{folds_csv}: {folds.index[folds.index.duplicated()][0]} has two rows; run dvc repro split")
    used = {_TEST} if which == _TEST else set(predicted["fold"])
    expected = set(folds.index[folds["fold"].isin(used)])
    missing, extra = sorted(expected - set(predicted["image_id"])), sorted(set(predicted["image_id"]) - expected)
    if missing or extra or (which == "validation" and _TEST in used):
        wrong = f"{missing[0]} is missing" if missing else f"{(extra or sorted(used))[0]} does not belong there"
        raise DataError(
            f"{predictions / 'images.csv'}: {which} images are not those of {folds_csv}: {wrong}; run dvc repro"
        )
    cases = []
    known = folds.to_dict("index")
    for row in predicted.to_dict("records"):
        image_id, about = row["image_id"], known[row["image_id"]]
        if which == "validation" and about["fold"] != row["fold"]:
            raise DataError(f"{predictions / 'images.csv'}: {image_id} is of fold {about['fold']}, not {row['fold']}")
        mask = masks / f"{image_id}.png"
        cases.append(
            Case(
                image_id=image_id,
                # Images without a patient id are many unknown patients, not one.
                patient=about["patient"] or f"image {image_id}",
                fold=about["fold"],
                probability=row["probability"],
                map=predictions / which / f"{image_id}.png",
                mask=mask if mask.is_file() else None,
            )
        )
    return tuple(cases)


def patient_codes(patients: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Number the patients in the order of their ids: (N,) int64 from 0."""
    return np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def for_each(function: Callable[[Case], T], cases: Sequence[Case], workers: int | None, title: str) -> list[T]:
    """Call a function for every case and give its results in order, whatever the number of workers.

    Each worker holds one image, so memory does not grow with their number. Threads are enough: decoding and
    counting release the interpreter's lock.

    Args:
        function: reads the case's files and gives something small.
        cases: the cases.
        workers: threads; None for one a core, 0 or 1 for none.
        title: of the progress bar on stderr.
    """
    count = workers if workers is not None else os.cpu_count() or 1
    bar = tqdm(total=len(cases), desc=title, unit="image", disable=None)
    with bar, ThreadPoolExecutor(max_workers=max(1, count)) as pool:
        results = []
        # Batches: an error or Ctrl-C stops soon instead of after every submitted image.
        batch = max(1, count) * 8
        for first in range(0, math.ceil(len(cases) / batch) * batch, batch):
            for result in pool.map(function, cases[first : first + batch]):
                results.append(result)
                bar.update()
    return results
