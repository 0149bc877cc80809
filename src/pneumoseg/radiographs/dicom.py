"""What a DICOM file says: the checks, who is shown, how its stored values become grey, and the values."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs import identity
from pneumoseg.radiographs.decoding import decode
from pneumoseg.radiographs.geometry import read_geometry
from pneumoseg.radiographs.header import Header, read_header
from pneumoseg.radiographs.image_file import Decoded, Known, Row
from pneumoseg.radiographs.parsing import read_dataset
from pneumoseg.radiographs.pixels import WINDOW_FUNCTIONS, GreyScale, Window
from pneumoseg.radiographs.rules import Refusal


class DicomFile:
    """A DICOM file of which everything but the pixels has been read."""

    def __init__(self, content: bytes, max_bytes: int, modality: str = "") -> None:
        """Parse a file; ``modality`` is that of one that states none.

        Raises:
            Refusal: (not_dicom, too_large) as in read_dataset.
        """
        parsed = read_dataset(content, max_bytes)
        self._dataset, self._cut_off = parsed.dataset, parsed.cut_off
        header = read_header(self._dataset)
        self._header = replace(header, text={**header.text, "Modality": header.text["Modality"] or modality})
        self.own_id = self._header.text["SOPInstanceUID"]
        if self._cut_off and not self.own_id:
            raise Refusal("not_dicom", f"the file is cut off {self._cut_off}, or is no DICOM file")
        self.id_name = "SOPInstanceUID"

    def read(self, params: ExtractParams) -> Decoded:
        """Check the header, then decode the pixels.

        Raises:
            Refusal: by which rule the file gives no image.
        """
        header = self._header
        if self._cut_off:
            raise Refusal("pixel_data", f"the file is cut off {self._cut_off}")
        _check(header, params)
        flags: set[str] = set()
        if not header.syntax_stated:
            flags.add("transfer_syntax_missing")
        if header.code("BurnedInAnnotation") == "YES":
            flags.add("burned_in_annotation")
        row: Row = {
            "modality": header.text["Modality"],
            "body_part": _first(header, "BodyPartExamined"),
            "photometric": header.code("PhotometricInterpretation"),
            "transfer_syntax": str(header.syntax),
            "bits_stored": header.integer("BitsStored"),
            "rows": header.integer("Rows"),
            "columns": header.integer("Columns"),
            "phantom": int(header.code("SyntheticData") == "YES"),
        }
        known = _known(header, flags)
        scale = _grey_scale(header, flags)
        stored = decode(self._dataset, header)
        if stored.corrected:
            flags.add("bits_corrected")
        scale = replace(scale, signed=stored.signed)
        return Decoded(stored.values, scale, row, known, frozenset(flags), read_geometry(header))


def _check(header: Header, params: ExtractParams) -> None:
    """Refuse what is no chest radiograph in one grey frame of a bearable size; cheap, before anything is decoded."""
    modality = header.code("Modality")
    if modality not in params.modalities:
        shown = f"Modality {modality}" if modality and identity.code(modality) else "Modality (missing or no code)"
        raise Refusal("modality", f"{shown} is not one of extract.modalities ({', '.join(params.modalities)})")
    body_part = header.code("BodyPartExamined")
    if body_part and not set(re.findall(r"[A-Z0-9]+", body_part)) & set(params.body_parts):
        shown = f"BodyPartExamined {body_part}" if identity.code(body_part) else "BodyPartExamined (no code)"
        raise Refusal("body_part", f"{shown} has no word of extract.body_parts ({', '.join(params.body_parts)})")
    samples, photometric = header.integer("SamplesPerPixel"), header.code("PhotometricInterpretation")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refusal("colour", f"{samples} sample(s) a pixel, and MONOCHROME1 or 2 is asked for: no grey radiograph")
    frames = header.integer("NumberOfFrames") if "NumberOfFrames" in header.given else 1
    if frames > 1:
        raise Refusal("frames", f"{frames} frames, no single radiograph")
    rows, columns = header.integer("Rows"), header.integer("Columns")
    if rows < 1 or columns < 1:
        raise Refusal("header", f"Rows x Columns is {rows} x {columns}")
    if rows * columns > params.max_pixels:
        raise Refusal("too_large", f"{rows} x {columns} pixels are more than extract.max_pixels = {params.max_pixels}")
    allocated, stored, high = (header.integer(name) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1:
        raise Refusal(
            "header",
            f"Bits Allocated {allocated}, Bits Stored {stored}, High Bit {high}: 8 or 16 bits allocated are read, "
            "with the stored ones at the low end",
        )


def _first(header: Header, keyword: str) -> str:
    return header.text[keyword].split("\\")[0]


def _known(header: Header, flags: set[str]) -> Known:
    """Who is shown, and how large; an age that is none is NaN."""
    age = identity.age_years(header.text["PatientAge"])
    spacing = header.numbers["PixelSpacing"]
    if not identity.is_spacing(spacing) and identity.is_spacing(header.numbers["ImagerPixelSpacing"]):
        spacing = header.numbers["ImagerPixelSpacing"]
        flags.add("spacing_at_detector")
    return Known(
        image_id=header.text["SOPInstanceUID"],
        patient=header.text["PatientID"],
        study=header.text["StudyInstanceUID"],
        sex=header.text["PatientSex"],
        view=_first(header, "ViewPosition"),
        age_years=math.nan if age is None and "PatientAge" in header.given else age,
        spacing_mm=spacing,
    )


def _grey_scale(header: Header, flags: set[str]) -> GreyScale:
    signed = header.integer("PixelRepresentation") == 1
    slope, intercept = header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0)
    if slope == 0:
        raise Refusal("contrast", "RescaleSlope is 0")
    scale = GreyScale(
        bits_stored=header.integer("BitsStored"),
        signed=signed,
        inverted=header.code("PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=header.lookup_table("ModalityLUTSequence", signed),
        window=_window(header, flags),
        padding=_padding(header, signed),
    )
    voi_lut = header.lookup_table("VOILUTSequence", signed=scale.full_range()[0] < 0)
    if voi_lut and voi_lut.rescaled:
        flags.add("lut_rescaled")
    return replace(scale, voi_lut=voi_lut)


def _window(header: Header, flags: set[str]) -> Window | None:
    """The first window; an unusable one is flagged."""
    if not header.given & {"WindowCenter", "WindowWidth"}:
        return None
    centers, widths = header.numbers["WindowCenter"], header.numbers["WindowWidth"]
    function = header.code("VOILUTFunction") or "LINEAR"
    narrowest = 1 if function == "LINEAR" else 1e-6
    if centers and widths and function in WINDOW_FUNCTIONS and widths[0] >= narrowest:
        return Window(centers[0], widths[0], function)
    flags.add("window_unusable")
    return None


def _padding(header: Header, signed: bool) -> tuple[int, int] | None:
    """Lowest and highest stored value that marks pixels outside the image (PS3.3 C.7.5.1.1.2)."""
    value = header.numbers["PixelPaddingValue"]
    if len(value) != 1:
        return None
    ends = [int(number) for number in (*value, *header.numbers["PixelPaddingRangeLimit"][:1])]
    ends = [((end + 32768) % 65536 - 32768) if signed else end % 65536 for end in ends]
    return min(ends), max(ends)
