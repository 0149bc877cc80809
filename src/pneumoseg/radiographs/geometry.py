"""What a file says of space: how large a pixel is in the patient, and on which side of the image his left is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pneumoseg.radiographs.header import Header
from pneumoseg.radiographs.identity import is_spacing

#: ``imager``: at the detector, where everything is enlarged; ``imager_corrected``: divided by the magnification.
SpacingSource = Literal["pixel_spacing", "imager_corrected", "imager", "none"]


@dataclass(frozen=True)
class Geometry:
    """Of one radiograph.

    Attributes:
        spacing_mm: between rows and between columns; None where the file gives none.
        spacing_source: where it is from.
        right_of_image: the side of the patient that lies at the right of the image; None where the file does not say.
    """

    spacing_mm: tuple[float, float] | None = None
    spacing_source: SpacingSource = "none"
    right_of_image: Literal["left", "right"] | None = None


#: Of a file that says nothing of space.
NO_GEOMETRY = Geometry()


def read_geometry(header: Header) -> Geometry:
    """The spacing and the orientation of a DICOM file (PS3.3 10.7.1.3, C.7.6.1.1.1, C.8.7.10).

    PixelSpacing that equals ImagerPixelSpacing, with no calibration told, is at the detector too.
    """
    spacing, imager = header.numbers["PixelSpacing"], header.numbers["ImagerPixelSpacing"]
    factor = header.numbers["EstimatedRadiographicMagnificationFactor"]
    side = header.code("PatientOrientation")[:1]
    right: Literal["left", "right"] | None = "left" if side == "L" else "right" if side == "R" else None
    calibrated = bool(header.text["PixelSpacingCalibrationType"]) or spacing != imager
    if is_spacing(spacing) and calibrated:
        return Geometry((spacing[0], spacing[1]), "pixel_spacing", right)
    if not is_spacing(imager):
        return Geometry(right_of_image=right)
    if len(factor) == 1 and factor[0] >= 1:
        return Geometry((imager[0] / factor[0], imager[1] / factor[0]), "imager_corrected", right)
    return Geometry((imager[0], imager[1]), "imager", right)
