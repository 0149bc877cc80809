"""The results of a reading as files: what is asked for, whole or not at all, in a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg.shared import rle
from pneumoseg.shared.files import png_bytes
from pneumoseg.use.reading import Reading


@dataclass(frozen=True)
class Result:
    """One kind of file.

    Attributes:
        file: its name in the folder of an image.
        media_type: for a browser.
        content: of a reading; None where the reading does not give it.
    """

    file: str
    media_type: str
    content: Callable[[Reading], bytes | None]


def _mask(reading: Reading) -> bytes | None:
    return None if reading.mask is None else png_bytes(reading.mask.astype(np.uint8) * np.uint8(255))


def _map(reading: Reading) -> bytes | None:
    return None if reading.map is None else png_bytes(reading.map)


def _overlay(reading: Reading) -> bytes:
    return png_bytes(reading.overlay())


def _json(reading: Reading) -> bytes:
    return (json.dumps(reading.to_json(), indent=2, ensure_ascii=False) + "\n").encode()


def _rle(reading: Reading) -> bytes | None:
    return None if reading.mask is None else f"{rle.encode(reading.mask)}\n".encode()


#: Results by the name under which they are asked for.
RESULTS: Mapping[str, Result] = {
    "mask": Result("mask.png", "image/png", _mask),
    "map": Result("map.png", "image/png", _map),
    "overlay": Result("overlay.png", "image/png", _overlay),
    "json": Result("reading.json", "application/json", _json),
    "rle": Result("mask.rle", "text/plain", _rle),
}


def write_results(folder: Path, reading: Reading, results: Sequence[str]) -> None:
    """Write the results of a reading; the folder appears when all of them are there, and replaces an older one.

    Args:
        folder: of this image.
        reading: accepted.
        results: keys of RESULTS.
    """
    temporary = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in results:
        content = RESULTS[name].content(reading)
        if content is not None:
            (temporary / RESULTS[name].file).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
