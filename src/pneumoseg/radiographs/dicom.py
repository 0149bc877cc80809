"""One DICOM file to one radiograph: the checks, the pixels and the row of metadata.csv."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs import identity
from pneumoseg.radiographs.attributes import given, integer, lookup_table, numbers, text
from pneumoseg.radiographs.decoding import decode, quiet, read_dataset, transfer_syntax
from pneumoseg.radiographs.pixels import WINDOW_FUNCTIONS, GreyScale, Window, to_grey
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.files import digest_bytes

Row = dict[str, str | int | float | None]

_MAX_SPACING_MM = 10.0


@dataclass(frozen=True)
class Radiograph:
    """A radiograph that passed every rule.

    Attributes:
        pixels: (H, W) uint8 or uint16, dark to bright, resized by extract.size_px.
        row: the columns of tables.METADATA; ``source`` is the file's name.
        flags: keys of rules.FLAGS.
    """

    pixels: NDArray[Any]
    row: Row
    flags: tuple[str, ...]


def read_radiograph(path: Path, params: ExtractParams, key: bytes | None = None) -> Radiograph:
    """Read one file.

    Args:
        path: a DICOM file.
        params: section extract.
        key: of patient ids; None takes it from the environment (identity.hash_key).

    Raises:
        Refusal: a DataError that says by which rule the file gives no image.
    """
    key = identity.hash_key() if key is None else key
    image_id = ""
    try:
        with quiet():
            _refuse_by_name(path.name)
            # 16-bit pixels, doubled for overlays and poor compression, and a generous header.
            dataset = read_dataset(path, max_bytes=4 * params.max_pixels + 2**24)
            image_id = _image_id(dataset)
            _check(dataset, params)
            return _read(dataset, path, image_id, params, key)
    except Refusal as refusal:
        raise Refusal(refusal.kind, refusal.reason, image_id, source=path.name) from refusal.__cause__


def _refuse_by_name(name: str) -> None:
    if name.startswith("._"):
        raise Refusal("resource_fork", "a macOS resource fork, no radiograph")
    if name.upper() in ("DICOMDIR", "DICOMDIR.DCM"):
        raise Refusal("dicomdir", "a DICOMDIR index, no radiograph")


def _image_id(dataset: Dataset) -> str:
    image_id = text(dataset, "SOPInstanceUID")
    if not image_id:
        raise Refusal("image_id", "no SOPInstanceUID, which is the image's id")
    if not identity.valid_image_id(image_id):
        raise Refusal(
            "image_id",
            "SOPInstanceUID cannot be a file name: 1 to 64 letters, digits, '.', '_', '-', not starting with '.'",
        )
    return image_id


def _check(dataset: Dataset, params: ExtractParams) -> None:
    """Refuse what is no chest radiograph in one grey frame of a bearable size; cheap, before anything is decoded."""
    modality = text(dataset, "Modality").upper()
    if modality not in params.modalities:
        shown = f"Modality {modality}" if modality and identity.code(modality) else "Modality (missing or no code)"
        raise Refusal("modality", f"{shown} is not one of extract.modalities ({', '.join(params.modalities)})")
    body_part = text(dataset, "BodyPartExamined").upper()
    if body_part and not set(re.findall(r"[A-Z0-9]+", body_part)) & set(params.body_parts):
        shown = f"BodyPartExamined {body_part}" if identity.code(body_part) else "BodyPartExamined (no code)"
        raise Refusal("body_part", f"{shown} has no word of extract.body_parts ({', '.join(params.body_parts)})")
    samples, photometric = integer(dataset, "SamplesPerPixel"), text(dataset, "PhotometricInterpretation").upper()
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refusal("colour", f"{samples} sample(s) a pixel, and MONOCHROME1 or 2 is asked for: no grey radiograph")
    frames = integer(dataset, "NumberOfFrames") if given(dataset, "NumberOfFrames") else 1
    if frames > 1:
        raise Refusal("frames", f"{frames} frames, no single radiograph")
    rows, columns = integer(dataset, "Rows"), integer(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise Refusal("header", f"Rows x Columns is {rows} x {columns}")
    if rows * columns > params.max_pixels:
        raise Refusal("too_large", f"{rows} x {columns} pixels are more than extract.max_pixels = {params.max_pixels}")
    allocated, stored, high = (integer(dataset, name) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1:
        raise Refusal(
            "header",
            f"Bits Allocated {allocated}, Bits Stored {stored}, High Bit {high}: 8 or 16 bits allocated are read, "
            "with the stored ones at the low end",
        )


def _read(dataset: Dataset, path: Path, image_id: str, params: ExtractParams, key: bytes) -> Radiograph:
    flags: set[str] = set()
    row = _metadata(dataset, params, key, flags)
    scale = _grey_scale(dataset, flags)
    stored = decode(dataset, path)
    if stored.min() == stored.max():
        flags.add("uniform")
    pixels = to_grey(stored, scale, params)
    row |= {"image_id": image_id, "source": path.name, "pixels_sha256": pixel_digest(pixels)}
    return Radiograph(pixels, row, tuple(sorted(flags)))


def pixel_digest(pixels: NDArray[Any]) -> str:
    """32 hexadecimal digits of SHA-256 over type, shape and values of an image."""
    head = f"{pixels.dtype.name} {pixels.shape[0]} {pixels.shape[1]}"
    return digest_bytes(head.encode(), pixels.tobytes())


def _metadata(dataset: Dataset, params: ExtractParams, key: bytes, flags: set[str]) -> Row:
    """The row but for image_id, source and pixels_sha256; whatever is not plausible is empty, and flagged."""
    syntax, stated = transfer_syntax(dataset)
    if not stated:
        flags.add("transfer_syntax_missing")
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        flags.add("burned_in_annotation")
    patient = identity.patient_hash(text(dataset, "PatientID"), key)
    if not patient:
        flags.add("patient_id_missing")
    codes = {
        "sex": identity.sex(text(dataset, "PatientSex")),
        "view_position": identity.code(_first(dataset, "ViewPosition")),
        "modality": identity.code(text(dataset, "Modality")),
        "body_part": identity.code(_first(dataset, "BodyPartExamined")),
    }
    if None in codes.values():
        flags.add("code_unusable")
    age = identity.age_years(text(dataset, "PatientAge"))
    if given(dataset, "PatientAge") and (age is None or age > params.max_age_years):
        flags.add("age_unusable")
        age = None
    spacing = _spacing(dataset, flags)
    return {
        "patient_id": patient,
        **{name: value or "" for name, value in codes.items()},
        "age_years": age,
        "photometric": text(dataset, "PhotometricInterpretation").upper(),
        "transfer_syntax": str(syntax),
        "bits_stored": integer(dataset, "BitsStored"),
        "rows": integer(dataset, "Rows"),
        "columns": integer(dataset, "Columns"),
        "pixel_spacing_row_mm": spacing[0],
        "pixel_spacing_column_mm": spacing[1],
        "phantom": int(text(dataset, "SyntheticData").upper() == "YES"),
    }


def _first(dataset: Dataset, keyword: str) -> str:
    return text(dataset, keyword).split("\\")[0]


def _spacing(dataset: Dataset, flags: set[str]) -> tuple[float, float] | tuple[None, None]:
    """Millimetres between rows and between columns (PS3.3 10.7.1.3)."""
    for keyword, flag in (("PixelSpacing", ""), ("ImagerPixelSpacing", "spacing_at_detector")):
        found = numbers(dataset, keyword)
        if len(found) == 2 and all(0 < number <= _MAX_SPACING_MM for number in found):
            flags |= {flag} - {""}
            return found[0], found[1]
    flags.add("spacing_unusable")
    return None, None


def _grey_scale(dataset: Dataset, flags: set[str]) -> GreyScale:
    signed = integer(dataset, "PixelRepresentation") == 1
    slope, intercept = _one(dataset, "RescaleSlope", 1.0), _one(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise Refusal("contrast", "RescaleSlope is 0")
    scale = GreyScale(
        bits_stored=integer(dataset, "BitsStored"),
        signed=signed,
        inverted=text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=lookup_table(dataset, "ModalityLUTSequence", signed),
        window=_window(dataset, flags),
        padding=_padding(dataset, signed),
    )
    voi_lut = lookup_table(dataset, "VOILUTSequence", signed=scale.full_range()[0] < 0)
    return replace(scale, voi_lut=voi_lut)


def _one(dataset: Dataset, keyword: str, missing: float) -> float:
    if not given(dataset, keyword):
        return missing
    found = numbers(dataset, keyword)
    if len(found) != 1:
        raise Refusal("contrast", f"{keyword} is no number")
    return found[0]


def _window(dataset: Dataset, flags: set[str]) -> Window | None:
    """The first window; an unusable one is flagged."""
    if not given(dataset, "WindowCenter") and not given(dataset, "WindowWidth"):
        return None
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    narrowest = 1 if function == "LINEAR" else 1e-6
    if centers and widths and function in WINDOW_FUNCTIONS and widths[0] >= narrowest:
        return Window(centers[0], widths[0], function)
    flags.add("window_unusable")
    return None


def _padding(dataset: Dataset, signed: bool) -> tuple[int, int] | None:
    """Lowest and highest stored value that marks pixels outside the image (PS3.3 C.7.5.1.1.2)."""
    value = numbers(dataset, "PixelPaddingValue")
    if len(value) != 1:
        return None
    ends = [int(number) for number in (*value, *numbers(dataset, "PixelPaddingRangeLimit")[:1])]
    ends = [((end + 32768) % 65536 - 32768) if signed else end % 65536 for end in ends]
    return min(ends), max(ends)
