"""The readings that the page shows: the last few, in memory, never on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from pneumoseg.drawing.overlays import display_image
from pneumoseg.radiographs.raster import raster_kind, read_grey
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.rule.decision import Mask
from pneumoseg.rule.dice import dice
from pneumoseg.shared import rle
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import png_bytes
from pneumoseg.use.acceptance import id_of_name
from pneumoseg.use.answers import Reading, Refused
from pneumoseg.use.reader import Reader
from pneumoseg.use.results import RESULTS

#: Readings that stay; an older one is forgotten.
LAST = 32


@dataclass
class Held:
    """A reading, and the true mask where somebody gave one."""

    reading: Reading
    source: bytes
    truth: Mask | None = None


class Readings:
    """Answers by number; one file in the networks at a time."""

    def __init__(self, reader: Reader) -> None:
        """Answer by this reader."""
        self.reader = reader
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()

    def read(self, content: bytes, name: str) -> dict[str, Any]:
        """Read a file; gives the answer as JSON values, with the number under which it is held.

        Args:
            content: of a DICOM, PNG or JPEG file.
            name: as the browser tells it; it names a PNG or JPEG.
        """
        with self._lock:
            answer = self.reader.read(content, id_of_name(PurePath(name.replace("\\", "/")).name))
            if isinstance(answer, Refused):
                return answer.to_json()
            self._count += 1
            self._held[self._count] = Held(answer, content)
            while len(self._held) > LAST:
                self._held.popitem(last=False)
            number = self._count
        rule = self.reader.bundle.rule
        # DICOM results are made when they are asked for, and say then why there is none.
        results = [key for key in RESULTS if key not in ("mask", "map", "rle") or answer.map is not None]
        return {
            **answer.to_json(),
            "number": number,
            "mask_threshold": rule.mask_threshold,
            "rule": rule.describe(),
            "right_of_image": answer.geometry.right_of_image,
            "pixel_mm2": _pixel_mm2(answer),
            "results": results,
        }

    def held(self, number: int) -> Held:
        """A reading that is still held.

        Raises:
            DataError: it was forgotten.
        """
        found = self._held.get(number)
        if found is None:
            raise DataError(f"reading {number} is no longer held; the last {LAST} are: drop the file again")
        return found

    def radiograph(self, number: int) -> bytes:
        """The radiograph as an 8-bit PNG of the file's own size."""
        reading = self.held(number).reading
        return png_bytes(display_image(reading.pixels, reading.shape))

    def result(self, number: int, name: str) -> tuple[bytes, str, str]:
        """A result: its content, media type, and the name to save it under.

        Raises:
            DataError: there is no such result of this reading.
        """
        held = self.held(number)
        if name not in RESULTS:
            raise DataError(f"no result {name}; there are {', '.join(RESULTS)}")
        result = RESULTS[name]
        return result.content(held.reading, held.source), result.media_type, f"{held.reading.image_id}.{result.file}"

    def give_truth(self, number: int, content: bytes) -> dict[str, Any]:
        """Put a true mask beside a reading; gives its area and the Dice under the tuned rule.

        Args:
            number: of the reading.
            content: a PNG of the image's size, above 0 where there is a pneumothorax, or a run-length code.

        Raises:
            DataError: it is neither, or of another size.
        """
        held = self.held(number)
        held.truth = _truth(content, held.reading.shape)
        mask = held.reading.mask
        both = None if mask is None else float(dice((held.truth & mask).sum(), mask.sum(), held.truth.sum()))
        return {"area_px": int(held.truth.sum()), "dice": both}

    def truth(self, number: int) -> bytes:
        """The true mask as a PNG.

        Raises:
            DataError: there is none.
        """
        truth = self.held(number).truth
        if truth is None:
            raise DataError("no true mask was given")
        return png_bytes(truth.astype(np.uint8) * np.uint8(255))


def _pixel_mm2(reading: Reading) -> float | None:
    spacing = reading.geometry.spacing_mm
    return None if spacing is None else spacing[0] * spacing[1]


def _truth(content: bytes, shape: tuple[int, int]) -> Mask:
    if raster_kind(content) != "PNG":
        try:
            return rle.decode(content.decode("ascii").strip(), *shape)
        except UnicodeDecodeError:
            raise DataError("a true mask is a PNG or a run-length code; this is neither") from None
    size = f"the radiograph has {shape[0]} x {shape[1]} pixels"
    try:
        found = read_grey(content, max_pixels=shape[0] * shape[1])
    except Refusal as refusal:
        reason = "it has more of them" if refusal.kind == "too_large" else refusal.reason
        raise DataError(f"this true mask cannot be used: {size}; {reason}") from None
    if found.shape != shape:
        raise DataError(f"this true mask cannot be used: {size}; it has {found.shape[0]} x {found.shape[1]}")
    return np.asarray(found > 0, np.bool_)
