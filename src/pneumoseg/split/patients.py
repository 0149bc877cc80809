"""Which images are of one patient: by PatientID, or by a table of the user's."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes
from pneumoseg.shared.tables import unknown_patient

#: NIH ChestX-ray14 file names: eight digits of the patient, three of the follow-up.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}(\.(png|jpg|jpeg|dcm))?", re.IGNORECASE)


@dataclass(frozen=True)
class Patients:
    """The patient of each image, and where that is known from."""

    of_image: dict[str, str]
    map_sha256: str | None  # first 32 digits, of the map's bytes; None where there is no map
    map_rows_unused: int  # rows of no annotated image, a header among them
    images_without: int  # annotated images with no known patient: each is its own


def find_patients(annotated: pd.DataFrame, patient_map: Path | None) -> Patients:
    """Group images by patient.

    An image whose patient is not known is its own patient. Such a one, and every patient of a map, is called after
    the first of its image ids, so that no patient number of the user's table gets into an output.

    Args:
        annotated: annotated images, with columns image_id and patient_id.
        patient_map: a CSV of two columns, image id and patient or NIH file name; None: patient_id is used.

    Raises:
        DataError: the map cannot be read, contradicts itself, or names no annotated image.
    """
    images = sorted(map(str, annotated["image_id"]))
    if patient_map is None:
        pairs = zip(annotated["image_id"], annotated["patient_id"], strict=True)
        known = {str(image): str(patient) for image, patient in pairs if patient}
        named = {image: known.get(image, unknown_patient(image)) for image in images}
        return Patients(named, None, 0, len(images) - len(known))
    content, table = _read_map(patient_map)
    known = {image: table[image] for image in images if table.get(image)}
    if not known:
        raise DataError(
            f"{patient_map}: its first column names no annotated image; split.patient_map needs a CSV of two "
            "columns, image id (SOPInstanceUID) and patient or NIH file name"
        )
    first: dict[str, str] = {}
    for image, patient in known.items():  # images are sorted, so the first one met is the first
        first.setdefault(patient, image)
    named = {image: unknown_patient(first[known[image]] if image in known else image) for image in images}
    return Patients(named, digest_bytes(content), len(table.keys() - set(images)), len(images) - len(known))


def _read_map(path: Path) -> tuple[bytes, dict[str, str]]:
    """The bytes of the map, and image id → patient (empty where the cell is)."""
    try:
        content = path.read_bytes()
        rows = list(csv.reader(content.decode("utf-8-sig").splitlines()))
    except OSError as error:
        raise DataError(
            f"{path}: split.patient_map cannot be read ({error.strerror}); give an absolute path, or one relative to "
            "params.yaml that git or DVC tracks, or null"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: split.patient_map is not readable as CSV ({error})") from None
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if len(row) != 2:
            raise DataError(
                f"{path}: line {number} has {len(row)} columns; split.patient_map needs two, image id and patient"
            )
        image, patient = (cell.strip() for cell in row)
        match = _NIH_NAME.fullmatch(patient)
        patient = match.group(1) if match else patient
        if table.setdefault(image, patient) != patient:
            raise DataError(f"{path}: line {number} gives image {image} a second patient; keep one row for an image")
    return content, table
