"""Which images are of one patient: by PatientID, or by a table of the user's."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes
from pneumoseg.shared.tables import unknown_patient

#: NIH ChestX-ray14 file names: eight digits of the patient, three of the follow-up.
NIH_NAME = re.compile(r"^(\d{8})(_\d{3})(?:\.(?:png|jpg|jpeg|dcm))?$", re.IGNORECASE)
#: Years between two radiographs that one patient's life in an archive does not span: computed radiography is of 1983.
_ARCHIVE_YEARS = 45.0
#: A mistyped sex or age or two are no proof: so many studies at either end are passed over.
_SLIPS = 2
#: More images of one patient than this are told, or fewer where they are a tenth of all.
_VERY_MANY, _MANY = 100, 20


@dataclass(frozen=True)
class Patients:
    """The patient of each image, and where that is known from."""

    of_image: dict[str, str]
    map_sha256: str | None  # first 32 digits, of the map's bytes; None where there is no map
    map_rows_unused: int  # rows of no annotated image, a header among them
    unknown: frozenset[str]  # annotated images with no known patient
    images_of_several: int  # of these, the ones whose PatientID stands for several people


def find_patients(
    described: pd.DataFrame, patient_map: Path | None, annotated: Collection[str] | None = None
) -> Patients:
    """Group images by patient.

    A PatientID that stands for several people is none. Images without a known patient are together where they are of
    one study, else each is its own patient: to take all of them for one would leak nothing, but where they are all,
    or a third, of the images, nothing could be divided, and figures over patients would rest on a patient who is
    none. That patients may then leak is told (split_figures.find_warnings). An unknown patient, and every patient of a
    map, is called after the first of its image ids, so that no patient number of the user's table gets into an output.

    Args:
        described: the images, with columns image_id, patient_id, study_id, sex and age_years.
        patient_map: a CSV of two columns, image id and patient or NIH file name; None: patient_id is used.
        annotated: the ids that are counted; None: all.

    Raises:
        DataError: the map cannot be read, contradicts itself, or names no annotated image.
    """
    described = described.sort_values("image_id")
    images = described["image_id"].astype(str)
    counted = frozenset(images if annotated is None else annotated)
    if patient_map is None:
        several = several_people(described, "patient_id", _ARCHIVE_YEARS, _SLIPS)
        known = {image: patient for image, patient in _pairs(described, "patient_id") if patient not in several}
        # Those of one study: of one age.
        doubtful = several_people(described, "study_id", 1.0, _SLIPS)
        study = {image: name for image, name in _pairs(described, "study_id") if name not in doubtful}
        first = {study[image]: image for image in images[::-1] if image in study and image not in known}
        named = {
            image: known[image] if image in known else unknown_patient(first.get(study.get(image, ""), image))
            for image in images
        }
        of_several = {image for image, patient in _pairs(described, "patient_id") if patient in several}
        return Patients(named, None, 0, counted - known.keys(), len(counted & of_several))
    content, table = _read_map(patient_map)
    known = {image: table[image] for image in images if table.get(image)}
    if not counted & known.keys():
        raise DataError(
            f"{patient_map}: its first column names no annotated image; split.patient_map needs a CSV of two "
            "columns, image id (SOPInstanceUID) and patient or NIH file name"
        )
    first = {known[image]: image for image in images[::-1] if image in known}
    named = {image: unknown_patient(first[known[image]] if image in known else image) for image in images}
    return Patients(named, digest_bytes(content), len(table.keys() - counted), counted - known.keys(), 0)


def _pairs(described: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """Image id and value of a column, where there is one."""
    given = described[described[column].fillna("") != ""]
    return list(zip(given["image_id"].astype(str), given[column].astype(str), strict=True))


def several_people(described: pd.DataFrame, column: str, years: float, slips: int) -> set[str]:
    """Values of a column whose images one person cannot have: of both sexes, or of ages too far apart.

    Many images, studies and ages are no sign: patients return (one of SIIM-ACR's has 61 images).

    Args:
        described: the images, with columns image_id, study_id, sex and age_years.
        column: patient_id, study_id or patient.
        years: how far ages may be apart.
        slips: so many studies of the rarer sex, and of the lowest and of the highest ages, are passed over.
    """
    given = described[described[column] != ""]
    study = (
        given["image_id"]
        if column == "study_id"
        else given["study_id"].where(given["study_id"] != "", given["image_id"])
    )
    exams = pd.DataFrame({"of": given[column], "study": study, "sex": given["sex"], "age": given["age_years"]})
    sexes = exams[exams["sex"].isin(["M", "F"])].drop_duplicates(["of", "study", "sex"])
    counts = pd.crosstab(sexes["of"], sexes["sex"]).reindex(columns=["M", "F"], fill_value=0)
    ages = exams[exams["age"].notna()].sort_values("age").drop_duplicates(["of", "study"]).groupby("of")
    lowest, highest = (
        ages.obj[ages.cumcount(ascending=ascending) == slips].set_index("of")["age"] for ascending in (True, False)
    )
    apart = highest - lowest
    return {*counts.index[counts.min(axis=1) > slips], *apart.index[apart > years]}


def doubtful_patients(images: pd.DataFrame) -> pd.Series[int]:
    """Images of each patient who may be several people, the most first: by one study already, or by very many images.

    Args:
        images: with columns image_id, patient, study_id, sex and age_years.
    """
    counts = images["patient"].value_counts()
    doubted = several_people(images, "patient", _ARCHIVE_YEARS, 0)
    many = (counts >= _MANY) & (counts > min(_VERY_MANY, len(images) / 10))
    return counts[many | counts.index.isin(doubted)]


def nih_names(patient_map: Path | None) -> dict[str, str]:
    """What a map that find_patients has read says of NIH: image id → ``00000001_000``, or ``00000001`` alone."""
    if patient_map is None:
        return {}
    rows = [row for row in csv.reader(patient_map.read_text("utf-8-sig").splitlines()) if row]
    found = {}
    for image, cell in rows:
        match = NIH_NAME.fullmatch(cell.strip())
        if match or re.fullmatch(r"\d{8}", cell.strip()):
            found[image.strip()] = match.group(1) + match.group(2) if match else cell.strip()
    return found


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
        match = NIH_NAME.fullmatch(patient)
        patient = match.group(1) if match else patient
        if table.setdefault(image, patient) != patient:
            raise DataError(f"{path}: line {number} gives image {image} a second patient; keep one row for an image")
    return content, table
