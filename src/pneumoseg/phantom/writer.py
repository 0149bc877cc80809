"""A phantom set on disk, as SIIM-ACR publishes its data: nested DICOM files and a table of run-length codes."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.phantom.anatomy import LEFT, RIGHT
from pneumoseg.phantom.cohort import Case, generator, plan_cohort
from pneumoseg.phantom.lateral import render_lateral
from pneumoseg.phantom.rendering import Lungs, render
from pneumoseg.shared import rle
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, fresh_dir
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import available_cores, run_all

TRAINING_FOLDER = "dicom-images-train"
TEST_FOLDER = "stage_2_images"
TABLE = "train-rle.csv"
#: The lungs in the columns and the code of CheXmask (sources/lung_masks reads them): absolute starts along the rows.
LUNG_TABLE = "lungs.csv"
LUNG_COLUMNS = "ImageId,Left Lung,Right Lung,Height,Width"
# A new process costs as much as this many images.
_IMAGES_A_PROCESS = 16
# Of a mask cut in two, the share of pixels in both parts.
_OVERLAP = 0.2


@dataclass(frozen=True)
class Phantom:
    """A radiograph that nobody sat for, and its truth.

    Attributes:
        image: (H, W) uint8, MONOCHROME2.
        mask: (H, W) bool, True in the pneumothorax.
        metadata: the plan of the image.
        lungs: (H, W) bool by side of the patient, collapsed parts too.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    metadata: Case
    lungs: Lungs


def render_phantom(params: PhantomParams, index: int) -> Phantom:
    """Draw one image of a phantom set: annotated ones come first, then unannotated, then those of the test folder.

    Raises:
        IndexError: the set has fewer images.
    """
    case = plan_cohort(params)[index]
    patient = generator(params, "patient", case.patient)
    image, mask, lungs = render(case.scene, params.size_px, patient, generator(params, "image", index))
    return Phantom(image, mask, case, lungs)


def render_side(params: PhantomParams, index: int) -> Phantom:
    """Draw the view from the side of an image that has one: the same chest, on another file of its study."""
    case = plan_cohort(params)[index]
    image = render_lateral(
        case.scene, params.size_px, generator(params, "patient", case.patient), generator(params, "lateral", index)
    )
    seen = replace(case, uids=(case.lateral_uid, *case.uids[1:]), scene=replace(case.scene, view_position="LL"))
    return Phantom(image, np.zeros(image.shape, np.bool_), seen, {})


def phantom_file(params: PhantomParams, index: int) -> bytes:
    """One image of a phantom set as the content of a DICOM file.

    Raises:
        IndexError: the set has fewer images.
    """
    buffer = io.BytesIO()
    _dataset(render_phantom(params, index), params).save_as(buffer)
    return buffer.getvalue()


def generate(layout: Layout, params: PhantomParams, workers: int | None) -> None:
    """Write a phantom set.

    Args:
        layout: phantom, emptied first, is the folder for dicom-images-train/, stage_2_images/, train-rle.csv and, where
            the lungs are asked for, lungs.csv.
        params: section phantom.
        workers: processes; None for one a core, 0 for none beside this one. They change no byte.

    Raises:
        DataError: a process died twice on the same image.
    """
    root = fresh_dir(layout.phantom)
    cases = plan_cohort(params)
    if workers is None:
        workers = min(available_cores(), -(-len(cases) // _IMAGES_A_PROCESS))
        workers = 0 if workers == 1 else workers
    found = run_all(partial(_write_case, root, params), range(len(cases)), _crashed, workers, "phantom")
    rows = [row for of_image, _ in found for row in of_image]
    with atomic_path(root / TABLE) as temporary:
        # The header and the values have a leading space in the real table, too.
        temporary.write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n", "utf-8")
    if params.lungs:
        with atomic_path(root / LUNG_TABLE) as temporary:
            lines = [LUNG_COLUMNS, *(lungs for _, lungs in found)]
            temporary.write_text("\n".join(lines) + "\n", "utf-8")


def _crashed(index: int) -> tuple[list[str], str]:
    raise DataError(f"phantom {index}: the process that drew it died, twice; is memory short? lower runtime.workers")


def _write_case(root: Path, params: PhantomParams, index: int) -> tuple[list[str], str]:
    """Write one DICOM file; gives its rows of the table, none where it is not annotated, and the row of its lungs."""
    phantom = render_phantom(params, index)
    case = phantom.metadata
    sop, series, study = case.uids
    folder = root / TEST_FOLDER if case.role == "unlabelled" else root / TRAINING_FOLDER / study / series
    folder.mkdir(parents=True, exist_ok=True)
    _dataset(phantom, params).save_as(folder / f"{sop}.dcm")
    if case.lateral_uid:
        _dataset(render_side(params, index), params).save_as(folder / f"{case.lateral_uid}.dcm")
    codes = [_along_rows(phantom.lungs[side]) for side in (LEFT, RIGHT)] if params.lungs else []
    lungs = ",".join([sop, *codes, str(params.size_px), str(params.size_px)])
    if case.role != "annotated":
        return [], lungs
    codes = [rle.encode(part) for part in _parts(phantom.mask, case.overlapping)]
    return [f"{sop}, {code}" for code in codes or [rle.EMPTY]], lungs


def _along_rows(mask: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(np.pad(mask.ravel().astype(np.int8), 1)))
    return " ".join(f"{start + 1} {end - start}" for start, end in edges.reshape(-1, 2))


def _parts(mask: NDArray[np.bool_], overlapping: bool) -> list[NDArray[np.bool_]]:
    """Masks of an image's rows: one a component; where rows overlap, the largest becomes two that share pixels."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    parts = sorted((labels == label for label in range(1, count)), key=lambda part: -int(part.sum()))
    if not (overlapping and parts):
        return parts
    rows, columns = np.nonzero(parts[0])
    centred = np.stack([rows - rows.mean(), columns - columns.mean()])
    along = centred[int(np.argmax(centred.var(axis=1)))]
    halves = []
    for inside in (along <= np.quantile(along, 0.5 + _OVERLAP / 2), along >= np.quantile(along, 0.5 - _OVERLAP / 2)):
        half = np.zeros_like(mask)
        half[rows[inside], columns[inside]] = True
        halves.append(half)
    return [*halves, *parts[1:]]


def _dataset(phantom: Phantom, params: PhantomParams) -> FileDataset:
    """The DICOM file of an image, with the tags, the values and the faults of SIIM's."""
    sop = phantom.metadata.uids[0]
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # counted when written
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    # In the test folder the dataset has an ID_ name for a UID, but the header keeps a valid one, as in the real set.
    meta.MediaStorageSOPInstanceUID = UID(f"2.25.{int(sop[3:], 16)}" if sop.startswith("ID_") else sop)
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in (_patient_tags(phantom.metadata) | _image_tags(phantom.metadata, params.size_px)).items():
        _put(dataset, keyword, value)
    _put(dataset, "PixelData", encapsulate([_jpeg(phantom.image, params.jpeg_quality)]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _patient_tags(case: Case) -> dict[str, Any]:
    """Whose image it is: nobody's, and it says so."""
    sop, series, study = case.uids
    patient = "" if case.role == "unlabelled" else f"phantom-{case.patient:05d}"
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": SecondaryCaptureImageStorage,
        "SOPInstanceUID": sop,
        "StudyDate": "19010101",
        "StudyTime": "000000.00",
        "AccessionNumber": "",
        "Manufacturer": "pneumoseg phantom",
        "ReferringPhysicianName": "",
        "SyntheticData": "YES",
        "SeriesDescription": "phantom, not a patient",
        "PatientName": patient,
        "PatientID": patient,
        "PatientBirthDate": "",
        "PatientSex": case.sex,
        "PatientAge": str(case.age_years),  # the standard wants 064Y, the real set has 64
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "StudyID": "",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
    }


def _image_tags(case: Case, size_px: int) -> dict[str, Any]:
    """What kind of image it is."""
    return {
        "Modality": "CR",
        "ConversionType": "SYN",
        "BodyPartExamined": "CHEST",
        "ViewPosition": case.scene.view_position,
        "PatientOrientation": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": size_px,
        "Columns": size_px,
        "PixelSpacing": [f"{case.pixel_spacing_mm:.3f}"] * 2,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "LossyImageCompression": "01",
        "LossyImageCompressionMethod": "ISO_10918_1",
    }


def _put(dataset: Dataset, keyword: str, value: Any) -> None:
    """Set an element without a check of its value: some are as wrong as in the real set, on purpose."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    vr = "OB" if keyword == "PixelData" else dictionary_VR(tag)
    dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
