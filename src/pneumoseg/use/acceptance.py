"""A file, its content or an array to the radiograph that extraction would make of it; no network is needed for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.radiographs.identity import PUBLIC_HASH_KEY, valid_image_id
from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.radiographs.raster import raster_kind
from pneumoseg.radiographs.reading import Radiograph, read_radiograph
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.files import digest_bytes, png_bytes
from pneumoseg.use.bundle import Bundle

#: A path or the content of a DICOM, PNG or JPEG file, or (H, W) uint8 or uint16, dark to bright.
File = Path | str | bytes | NDArray[Any]


def accept(file: File, bundle: Bundle, image_id: str = "") -> Radiograph:
    """The radiograph of a file by the rules of a bundle; needs no network.

    Raises:
        Refusal: by which rule it is not answered.
    """
    content = _content(file)
    raster = raster_kind(content if isinstance(content, bytes) else _head(content))
    known = Known(image_id=image_id or _own_id(content)) if raster else NOTHING
    # Ids of patients and studies are thrown away: any key will do.
    radiograph = read_radiograph(content, bundle.extract, PUBLIC_HASH_KEY.encode(), known)
    view, answered = str(radiograph.row["view_position"]), bundle.about.view_positions
    if view and view not in answered:
        reason = f"View Position {view}; this model answers {', '.join(answered)} only"
        raise Refusal("view", reason, str(radiograph.row["image_id"]))
    return radiograph


def _content(file: File) -> Path | bytes:
    """A path, or the content of a file; an array becomes that of a PNG, so that it meets the same rules.

    Raises:
        Refusal: (colour) the array is no grey image.
    """
    if isinstance(file, np.ndarray):
        if file.ndim != 2 or file.dtype not in (np.uint8, np.uint16) or not file.size:
            raise Refusal("colour", f"an array {file.shape} of {file.dtype}; (H, W) of uint8 or uint16 is read")
        return png_bytes(file)
    return file if isinstance(file, bytes) else Path(file)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError:  # told by whoever reads the file
        return b""


def id_of_name(name: str) -> str:
    """What a PNG or JPEG is called, where that can be an id: the name of its file without the suffix; else empty."""
    stem = re.sub(r"\.(png|jpe?g)$", "", name, flags=re.IGNORECASE)
    return stem if valid_image_id(stem) else ""


def _own_id(content: Path | bytes) -> str:
    """The id that the file's name gives, else a digest of the content."""
    named = id_of_name(content.name) if isinstance(content, Path) else ""
    return named or f"image-{digest_bytes(content.read_bytes() if isinstance(content, Path) else content)[:16]}"
