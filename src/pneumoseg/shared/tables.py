"""The tables that stages hand to each other: their columns and types, read and written in one place.

Ids are text even where they look like numbers or like a missing value ("001", "1e5", "NA"). A column may be added to a
file, never renamed. Missing numbers are empty cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path

#: Ids name files: letters, digits, dot, underscore and dash alone, no dot first (DICOM UIDs and SIIM ids are such).
IMAGE_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")

Kind = Literal["text", "integer", "number"]
Columns = Mapping[str, Kind]

METADATA: Columns = {
    "image_id": "text",
    "patient_id": "text",  # HMAC of PatientID; empty where the file has none
    "study_id": "text",  # HMAC of StudyInstanceUID; empty where unknown
    "sex": "text",  # M, F, O or empty
    "age_years": "number",
    "view_position": "text",
    "modality": "text",
    "body_part": "text",
    "photometric": "text",
    "transfer_syntax": "text",
    "bits_stored": "integer",
    "rows": "integer",  # of the DICOM image, whatever the size of the PNG
    "columns": "integer",
    "pixel_spacing_row_mm": "number",
    "pixel_spacing_column_mm": "number",
    "source": "text",  # relative to data.root
    "phantom": "integer",  # 1: Synthetic Data (0008,001C) is YES
    "pixels_sha256": "text",  # first 32 digits, of the array in the PNG: the data fingerprint rests on it
}
REJECTED: Columns = {"source": "text", "image_id": "text", "reason": "text"}
ANNOTATIONS: Columns = {
    "image_id": "text",
    "annotated": "integer",  # 0: no row in the annotation table; such an image is never a negative
    "pneumothorax": "integer",  # 1, 0, or empty where not annotated
    "mask_known": "integer",  # 0: the label alone is known, or used, so without a file in data/masks
    "rle_count": "integer",
    "components": "integer",
    "area_px": "integer",
    "area_fraction": "number",
    "row_min": "integer",  # of the bounding box, inclusive; empty where there is no mask
    "column_min": "integer",
    "row_max": "integer",
    "column_max": "integer",
    "mask_sha256": "text",  # first 32 digits, of the merged mask; empty where there is none
}
FOLDS: Columns = {"image_id": "text", "patient": "text", "fold": "text"}  # fold: test or 0..K-1
MANIFEST: Columns = {"image_id": "text", "pneumothorax": "integer", "augmentation": "text", "copy": "integer"}
UNLABELLED: Columns = {"image_id": "text"}  # without annotation, and of no patient who validates or tests the fold
PREDICTED: Columns = {"image_id": "text", "set": "text", "fold": "text", "probability": "number"}

_DTYPES = {"text": "str", "integer": "Int64", "number": "float64"}


def unknown_patient(image_id: str) -> str:
    """The patient of an image whose patient is not known: one of its own, so that unknown ones are many, not one."""
    return f"image:{image_id}"


def laterals(annotations: pd.DataFrame) -> set[str]:
    """Ids of the images from the side in annotations.csv: they are in no fold, no pool and no submission."""
    if "status" not in annotations:  # a table of before there was this column
        return set()
    return set(annotations.loc[annotations["status"] == "lateral", "image_id"])


def read_table(path: Path, columns: Columns) -> pd.DataFrame:
    """Read a CSV that has at least ``columns``; further columns come along as text.

    Raises:
        DataError: the file is missing, is no CSV, lacks a column or holds a value of the wrong type.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: not there; run the stage that writes it (dvc repro)") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    for name, kind in columns.items():
        if kind == "text":
            continue
        try:
            numbers = pd.to_numeric(frame[name].replace("", pd.NA))
            frame[name] = numbers.astype("Int64") if kind == "integer" else numbers.astype("float64")
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: column {name} must hold a{'n' * (kind == 'integer')} {kind} ({error})") from None
    return frame


def read_history(path: Path) -> pd.DataFrame:
    """Read metrics/train/fold<k>.csv, an epoch a row: columns of numbers as float64, others (phase) as text.

    Raises:
        DataError: as in read_table; column epoch must be there.
    """
    frame = read_table(path, {"epoch": "number"})
    for name in frame.columns.drop("epoch"):
        numbers = pd.to_numeric(frame[name].replace("", pd.NA), errors="coerce")
        if numbers.notna().equals(frame[name] != ""):
            frame[name] = numbers.astype("float64")
    return frame


def write_table(path: Path, frame: pd.DataFrame, columns: Columns) -> None:
    """Write ``columns`` first and in order, then any added ones; LF line ends, nine significant digits."""
    ordered = [*columns, *(name for name in frame.columns if name not in columns)]
    typed = frame.reindex(columns=ordered).astype(
        {name: _DTYPES[kind] for name, kind in columns.items() if kind != "text"}
    )
    write_csv(path, typed, digits=9)


def write_csv(path: Path, frame: pd.DataFrame, digits: int = 6) -> None:
    """Write a table that people and DVC read: LF line ends, so many significant digits."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", float_format=f"%.{digits}g", encoding="utf-8")
