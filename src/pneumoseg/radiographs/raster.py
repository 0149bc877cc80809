"""PNG and JPEG files: 8 or 16 bits, grey, or colour whose channels are equal; no metadata of theirs is looked at."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.image_file import NOTHING, Decoded, Row
from pneumoseg.radiographs.pixels import GreyScale
from pneumoseg.radiographs.rules import Refusal

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}


def raster_kind(content: bytes) -> str:
    """PNG or JPEG, by the first bytes; empty for anything else."""
    return next((kind for signature, kind in _SIGNATURES.items() if content.startswith(signature)), "")


class RasterFile:
    """A PNG or JPEG, not yet decoded; its id is the source's to say."""

    own_id = ""
    id_name = "id"

    def __init__(self, content: bytes) -> None:
        """Take the bytes of a file of a raster_kind."""
        self._content = content

    def read(self, params: ExtractParams) -> Decoded:
        """Decode it; dark is low, as in MONOCHROME2.

        Raises:
            Refusal: (too_large, frames, colour, pixel_data) it is no single grey image of a bearable size.
        """
        grey = read_grey(self._content, params.max_pixels)
        row: Row = {
            "photometric": "MONOCHROME2",
            "transfer_syntax": raster_kind(self._content),
            "bits_stored": 8 * grey.itemsize,
            "rows": grey.shape[0],
            "columns": grey.shape[1],
            "phantom": 0,
        }
        return Decoded(grey, GreyScale(8 * grey.itemsize, signed=False, inverted=False), row, NOTHING, frozenset())


def read_grey(content: bytes, max_pixels: int) -> NDArray[Any]:
    """The grey values of a file of a raster_kind, (H, W) uint8 or uint16.

    Raises:
        Refusal: (too_large, frames, colour, pixel_data) it is no single grey image of a bearable size.
    """
    kind = raster_kind(content)
    try:
        return _grey(_decode(content, kind, max_pixels))
    except Image.DecompressionBombError as error:
        raise Refusal("too_large", f"more pixels than extract.max_pixels = {max_pixels}") from error
    except (OSError, SyntaxError, ValueError, cv2.error) as error:
        raise Refusal("pixel_data", f"{kind} data truncated or damaged") from error


def _decode(content: bytes, kind: str, max_pixels: int) -> NDArray[Any]:
    with Image.open(io.BytesIO(content), formats=[kind]) as image:
        rows, columns = image.height, image.width
        if rows * columns > max_pixels:
            raise Refusal("too_large", f"{rows} x {columns} pixels are more than extract.max_pixels = {max_pixels}")
        if getattr(image, "n_frames", 1) > 1:
            raise Refusal("frames", "several frames, no single radiograph")
        image.load()  # Pillow, unlike OpenCV, tells of a file that is cut off
        if kind == "PNG" and content[24] == 16:  # of colour, Pillow keeps 8 bits of 16
            found: NDArray[Any] | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
            if found is None:
                raise OSError("not decodable")
            return found
        return np.asarray(image.convert("RGBA") if image.mode == "P" or "transparency" in image.info else image)


def _grey(values: NDArray[Any]) -> NDArray[Any]:
    """One channel, (H, W) uint8 or uint16, of one to four; the last of two or four is opacity.

    Raises:
        Refusal: (colour) channels differ, pixels are transparent, or levels are neither 8 nor 16 bits.
    """
    if values.dtype == bool:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype not in (np.uint8, np.uint16):
        raise Refusal("colour", f"levels of type {values.dtype}: 8 or 16 bits are read")
    if values.ndim == 2:
        return values
    colours = values
    if values.shape[2] in (2, 4):
        colours = values[:, :, :-1]
        if (values[:, :, -1] != np.iinfo(values.dtype).max).any():
            raise Refusal("colour", "transparent pixels: no radiograph")
    if (colours != colours[:, :, :1]).any():
        raise Refusal("colour", "channels differ: no grey radiograph")
    return np.ascontiguousarray(colours[:, :, 0])
