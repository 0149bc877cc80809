"""Answers as DICOM objects: a Segmentation, and a Secondary Capture for archives that draw no segmentation.

The only module that imports highdicom (extra ``dicom``). Patient and study are copied from the radiograph, since an
archive needs them; that is why these results are written only when they are asked for. A negative answer gives no
segmentation and never the word "absent": from a research model that would read as an exclusion.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import UID, RLELossless

from pneumoseg import __version__
from pneumoseg.radiographs.parsing import quiet
from pneumoseg.radiographs.raster import raster_kind
from pneumoseg.use.answers import Reading, Unavailable

_MANUFACTURER = "pneumoseg"
_DESCRIPTION = "pneumoseg: research use only"
#: Type 2 attributes of patient and study: there, if without a value (PS3.3 C.7.1.1, C.7.2.1).
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_AGE = re.compile(r"\d{3}[DWMY]")


def segmentation(reading: Reading, source: bytes) -> bytes:
    """The mask as a DICOM Segmentation (binary, one segment) on the pixel grid of the radiograph.

    Args:
        reading: positive, by a model that was not trained on drawings.
        source: the DICOM file that was read.

    Raises:
        Unavailable: there is nothing to mark, or the file lacks what a result must refer to.
    """
    if reading.mask is None:
        raise Unavailable("the networks give no map")
    if not reading.positive:
        raise Unavailable("the answer is negative: no segmentation is written")
    radiograph = _complete(source)
    hd = _highdicom()
    codes = hd.sr.CodedConcept
    # A spacing without a slice thickness makes a pixel measure that readers refuse; a thickness nobody has measured.
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        radiograph.pop(keyword, None)
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Pneumothorax",
        segmented_property_category=codes("49755003", "SCT", "Morphologically Abnormal Structure"),
        segmented_property_type=codes("36118008", "SCT", "Pneumothorax"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="pneumoseg",
            family=codes("123110", "DCM", "Artificial Intelligence"),
            version=reading.model,
            parameters={"probability": f"{reading.probability:.3f}", "decided by": reading.because},
        ),
        anatomic_regions=[codes("3120008", "SCT", "Pleura")],
        tracking_id="pneumothorax",
        tracking_uid=_uid(radiograph, reading, "tracking"),
    )
    made = hd.seg.Segmentation(
        source_images=[radiograph],
        pixel_array=reading.mask[np.newaxis],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=_uid(radiograph, reading, "seg series"),
        series_number=9101,
        sop_instance_uid=_uid(radiograph, reading, "seg"),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name="pneumoseg",
        software_versions=__version__,
        device_serial_number=reading.model or "0",
        content_label="PNEUMOTHORAX",
        content_description=_DESCRIPTION,
        series_description=_DESCRIPTION,
    )
    made.PatientOrientation = radiograph.get("PatientOrientation")
    return _saved(made)


def secondary_capture(reading: Reading, source: bytes) -> bytes:
    """The overlay, with its warnings, as a Secondary Capture in colour.

    Args:
        reading: accepted, by a model that was not trained on drawings.
        source: the DICOM file that was read.

    Raises:
        Unavailable: the file lacks what a result must refer to.
    """
    radiograph = _complete(source)
    hd = _highdicom()
    made = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=radiograph,
        pixel_array=_even(reading.overlay(max(reading.shape))),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=_uid(radiograph, reading, "sc series"),
        series_number=9102,
        sop_instance_uid=_uid(radiograph, reading, "sc"),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        patient_orientation=("L", "F"),  # asked for; taken out again below, unless the file says it
        transfer_syntax_uid=RLELossless,
    )
    made.PatientOrientation = radiograph.get("PatientOrientation")
    made.Laterality = ""
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.SeriesDescription = _DESCRIPTION
    made.DerivationDescription = "; ".join((reading.call, *reading.warnings))[:1024]
    return _saved(made)


def _even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An even number of rows: GDCM, which codes the run lengths, ends the process on odd rows of odd length."""
    return np.pad(picture, ((0, len(picture) % 2), (0, 0), (0, 0)), mode="edge")


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError:
        raise Unavailable("DICOM results need highdicom: pip install 'pneumoseg[dicom]'") from None
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every attribute that it copies
    return highdicom


def _complete(source: bytes) -> Dataset:
    """The header of a radiograph with what a result must have: a copy, whose faults are mended or left out.

    Raises:
        Unavailable: the file is no DICOM file, or has no ids that a result could refer to.
    """
    if raster_kind(source):
        raise Unavailable("the radiograph is no DICOM file, so there is no study to put a DICOM result into")
    with quiet():
        header = dcmread(io.BytesIO(source), stop_before_pixels=True, force=True)
        missing = [keyword for keyword in _UIDS if not UID(str(header.get(keyword, ""))).is_valid]
    if missing:
        raise Unavailable(f"the file has no valid {missing[0]}, to which a DICOM result must refer")
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    name = str(header.PatientName)
    if name and "^" not in name:
        header.PatientName = f"{name}^"
    age = str(header.get("PatientAge", "")).strip()
    if age and not _AGE.fullmatch(age):
        header.PatientAge = f"{int(age):03d}Y" if age.isdigit() and int(age) < 1000 else ""
    if not header.get("PatientOrientation"):
        header.pop("PatientOrientation", None)
    return header


def _uid(radiograph: Dataset, reading: Reading, kind: str) -> str:
    """The same for the same radiograph, model and kind: an archive keeps one, however often it is sent."""
    parts = "\0".join((str(radiograph.SOPInstanceUID), reading.model, kind))
    return f"2.25.{int.from_bytes(hashlib.sha256(parts.encode()).digest()[:16], 'big')}"


def _saved(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()
