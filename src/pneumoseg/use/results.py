"""The results of a reading as files: what is asked for, whole or not at all, in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared import rle
from pneumoseg.shared.files import png_bytes
from pneumoseg.use.answers import Reading, Unavailable
from pneumoseg.use.bundle import PHANTOM_WARNING

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Result:
    """One kind of file.

    Attributes:
        file: its name in the folder of an image.
        media_type: for a browser.
        content: of (reading, content of the file that was read); raises Unavailable where there is no such result.
        from_file: whether it is made from that content too; to the others it need not be given.
    """

    file: str
    media_type: str
    content: Callable[[Reading, bytes], bytes]
    from_file: bool = False


def _given(values: NDArray[T] | None) -> NDArray[T]:
    if values is None:
        raise Unavailable("the networks give no map")
    return values


def _mask(reading: Reading, _: bytes) -> bytes:
    return png_bytes(_given(reading.mask).astype(np.uint8) * np.uint8(255))


def _map(reading: Reading, _: bytes) -> bytes:
    return png_bytes(_given(reading.map))


def _overlay(reading: Reading, _: bytes) -> bytes:
    return png_bytes(reading.overlay())


def _json(reading: Reading, _: bytes) -> bytes:
    return (json.dumps(reading.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


def _rle(reading: Reading, _: bytes) -> bytes:
    return f"{rle.encode(_given(reading.mask))}\n".encode()


def _dicom(reading: Reading, source: bytes, make: str) -> bytes:
    if PHANTOM_WARNING in reading.warnings:
        raise Unavailable("a model that was trained on drawings writes no DICOM result")
    from pneumoseg.use import dicom_results  # highdicom: seconds, and an extra that need not be there

    made: bytes = getattr(dicom_results, make)(reading, source)
    return made


def _seg(reading: Reading, source: bytes) -> bytes:
    return _dicom(reading, source, "segmentation")


def _sc(reading: Reading, source: bytes) -> bytes:
    return _dicom(reading, source, "secondary_capture")


#: Results by the name under which they are asked for.
RESULTS: Mapping[str, Result] = {
    "mask": Result("mask.png", "image/png", _mask),
    "map": Result("map.png", "image/png", _map),
    "overlay": Result("overlay.png", "image/png", _overlay),
    "json": Result("reading.json", "application/json", _json),
    "rle": Result("mask.rle", "text/plain", _rle),
    "seg": Result("seg.dcm", "application/dicom", _seg, from_file=True),
    "sc": Result("sc.dcm", "application/dicom", _sc, from_file=True),
}


def write_results(folder: Path, reading: Reading, source: bytes, results: Sequence[str]) -> dict[str, str]:
    """Write the results of a reading; the folder appears when all of them are there, and replaces an older one.

    Args:
        folder: of this image.
        reading: accepted.
        source: the content of the file that was read, where one of the results is made from it.
        results: keys of RESULTS.

    Returns:
        why a result that was asked for is not there, by name.
    """
    temporary = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    missing = {}
    for name in results:
        try:
            (temporary / RESULTS[name].file).write_bytes(RESULTS[name].content(reading, source))
        except Unavailable as error:
            missing[name] = str(error)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return missing
