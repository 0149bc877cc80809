"""One image file to one radiograph: the kind of file by its content, ids, pixels and the row of metadata.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs import identity
from pneumoseg.radiographs.dicom import DicomFile
from pneumoseg.radiographs.geometry import NO_GEOMETRY, Geometry
from pneumoseg.radiographs.image_file import NOTHING, ImageFile, Known, Row
from pneumoseg.radiographs.orientation import lies_on_side
from pneumoseg.radiographs.parsing import quiet
from pneumoseg.radiographs.picture import make_picture
from pneumoseg.radiographs.raster import RasterFile, raster_kind
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.files import digest_bytes
from pneumoseg.shared.studies import LATERALS

_SIZES = ("rows", "columns")


@dataclass(frozen=True)
class Radiograph:
    """A radiograph that passed every rule.

    Attributes:
        pixels: (H, W) uint8 or uint16, dark to bright, resized by extract.size_px.
        row: the columns of tables.METADATA but ``source``.
        flags: keys of rules.FLAGS.
        geometry: what the file says of space.
    """

    pixels: NDArray[Any]
    row: Row
    flags: tuple[str, ...]
    geometry: Geometry = NO_GEOMETRY


def read_radiograph(
    file: Path | bytes, params: ExtractParams, key: bytes | None = None, told: Known = NOTHING
) -> Radiograph:
    """Read one file.

    Args:
        file: a DICOM, PNG or JPEG file, or its content.
        params: section extract.
        key: of patient and study ids; None takes it from the environment (identity.hash_key).
        told: what the source knows of the image; it goes before what the file says.

    Raises:
        Refusal: a DataError that says by which rule the file gives no image.
    """
    key = identity.hash_key() if key is None else key
    image_id = ""
    try:
        with quiet():
            opened = _open(file, params, told)
            image_id = _image_id(told.image_id or opened.own_id, opened.id_name)
            decoded = opened.read(params)
            flags = set(decoded.flags)
            row = _described(_known(told, decoded.known, flags), decoded.row, params, key, flags)
            pixels, remarks = make_picture(decoded.stored, decoded.scale, params)
            flags |= remarks
            if row["view_position"] not in LATERALS and lies_on_side(pixels):
                flags.add("on_its_side")
    except Refusal as refusal:
        name = file.name if isinstance(file, Path) else ""
        raise Refusal(refusal.kind, refusal.reason, image_id, source=name) from refusal.__cause__
    row = {**decoded.row, **row, "image_id": image_id, "pixels_sha256": pixel_digest(pixels)}
    return Radiograph(pixels, row, tuple(sorted(flags)), decoded.geometry)


def _open(file: Path | bytes, params: ExtractParams, told: Known) -> ImageFile:
    """Tell the kind of a file by its content.

    Raises:
        Refusal: (resource_fork, dicomdir, unreadable, too_large, not_dicom) it is none that can be opened.
    """
    # 16-bit pixels, doubled for overlays and poor compression, and a generous header.
    max_bytes = 4 * params.max_pixels + 2**24
    content = _content(file, max_bytes) if isinstance(file, Path) else file
    if raster_kind(content) and told.image_id:  # without an id from its source only DICOM can be an image
        return RasterFile(content)
    return DicomFile(content, max_bytes, told.modality or "")


def _content(path: Path, max_bytes: int) -> bytes:
    if path.name.startswith("._"):
        raise Refusal("resource_fork", "a macOS resource fork, no radiograph")
    if path.name.upper() in ("DICOMDIR", "DICOMDIR.DCM"):
        raise Refusal("dicomdir", "a DICOMDIR index, no radiograph")
    try:
        size = path.stat().st_size
        if size <= max_bytes:
            return path.read_bytes()
    except OSError as error:
        raise Refusal("unreadable", f"the file cannot be read ({error.strerror})") from error
    raise Refusal("too_large", f"a file of {size} bytes; extract.max_pixels allows no more than {max_bytes}")


def _image_id(image_id: str, name: str) -> str:
    if not image_id:
        raise Refusal("image_id", f"no {name}, which is the image's id")
    if not identity.valid_image_id(image_id):
        raise Refusal(
            "image_id",
            f"{name} cannot be a file name: 1 to 64 letters, digits, '.', '_', '-', not starting with '.'",
        )
    return image_id


def _known(told: Known, said: Known, flags: set[str]) -> Known:
    """What the source tells, else what the file says; a file's word for nobody is no patient."""
    if told.patient is None and said.patient and identity.is_placeholder(said.patient):
        flags.add("patient_id_placeholder")
        said = replace(said, patient=None)
    pairs = {field.name: (getattr(told, field.name), getattr(said, field.name)) for field in fields(Known)}
    return Known(**{name: second if first is None else first for name, (first, second) in pairs.items()})


def _described(known: Known, row: Row, params: ExtractParams, key: bytes, flags: set[str]) -> Row:
    """Ids as hashes, codes, age and spacing; whatever is not plausible is empty, and flagged."""
    patient = identity.keyed_hash(known.patient or "", key)
    if not patient and "patient_id_placeholder" not in flags:
        flags.add("patient_id_missing")
    codes = {
        "sex": identity.sex(known.sex or ""),
        "view_position": identity.code(known.view or ""),
        "modality": identity.code(str(row.get("modality", ""))),
        "body_part": identity.code(str(row.get("body_part", ""))),
    }
    if None in codes.values():
        flags.add("code_unusable")
    age = known.age_years
    if age is not None and (math.isnan(age) or not 0 <= age <= params.max_age_years):
        flags.add("age_unusable")
        age = None
    said = known.spacing_mm or ()
    if not said and known.extent_mm:
        said = [extent / float(row[name] or 1) for extent, name in zip(known.extent_mm, _SIZES, strict=True)]
    spacing: Sequence[float | None] = said
    if not identity.is_spacing(said):
        flags.add("spacing_unusable")
        spacing = (None, None)
    return {
        "patient_id": patient,
        "study_id": identity.keyed_hash(known.study or "", key),
        **{name: value or "" for name, value in codes.items()},
        "age_years": age,
        "pixel_spacing_row_mm": spacing[0],
        "pixel_spacing_column_mm": spacing[1],
    }


def pixel_digest(pixels: NDArray[Any]) -> str:
    """32 hexadecimal digits of SHA-256 over type, shape and values of an image."""
    head = f"{pixels.dtype.name} {pixels.shape[0]} {pixels.shape[1]}"
    return digest_bytes(head.encode(), np.ascontiguousarray(pixels).data.cast("B"))
