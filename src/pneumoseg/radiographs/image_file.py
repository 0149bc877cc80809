"""What every kind of image file gives, and what may be known of an image besides its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.geometry import NO_GEOMETRY, Geometry
from pneumoseg.radiographs.pixels import GreyScale

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Known:
    """What a source, or a file itself, says of an image, in plain text; None (or empty): nothing.

    Attributes:
        image_id: as tables.IMAGE_ID.
        patient: a number or name; it leaves only as a keyed hash.
        study: likewise, of the examination that the image belongs to.
        sex: M, F, O.
        view: a code such as PA or AP.
        age_years: NaN where what is said is no age.
        spacing_mm: between rows and between columns.
        modality: a code such as DX, for files that state none.
        extent_mm: height and width of what the image shows, where its file is a copy of another size.
        lungs: image files of masks of its lungs, one of both or one of each.
    """

    image_id: str | None = None
    patient: str | None = None
    study: str | None = None
    sex: str | None = None
    view: str | None = None
    age_years: float | None = None
    spacing_mm: Sequence[float] | None = None
    modality: str | None = None
    extent_mm: Sequence[float] | None = None
    lungs: Sequence[Path] | None = None


#: Where a source leaves everything to the file.
NOTHING = Known()


@dataclass(frozen=True)
class Decoded:
    """An image file that passed every rule.

    Attributes:
        stored: (H, W) uint8, int8, uint16 or int16, the values as stored.
        scale: how they become grey.
        row: columns of tables.METADATA that no source can know better: modality, photometric, size, …
        known: the others, as the file says them.
        flags: keys of rules.FLAGS.
        geometry: what the file says of space.
    """

    stored: NDArray[Any]
    scale: GreyScale
    row: Row
    known: Known
    flags: frozenset[str]
    geometry: Geometry = NO_GEOMETRY


class ImageFile(Protocol):
    """A file whose kind is known and whose id has been read.

    Attributes:
        own_id: the image id that it states; empty where there is none.
        id_name: how the file calls that id.
    """

    own_id: str
    id_name: str

    def read(self, params: ExtractParams) -> Decoded:
        """Check and decode it.

        Raises:
            Refusal: by which rule the file gives no image.
        """
        ...
