"""The files of a reading: what is asked for, whole or not at all, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pneumoseg.shared import rle
from pneumoseg.shared.files import write_json, write_png
from pneumoseg.use.reading import Reading

#: How a result is written: (folder, reading).
Writer = Callable[[Path, Reading], None]


def _mask(folder: Path, reading: Reading) -> None:
    if reading.mask is not None:
        write_png(folder / "mask.png", reading.mask.astype(np.uint8) * np.uint8(255))


def _map(folder: Path, reading: Reading) -> None:
    if reading.map is not None:
        write_png(folder / "map.png", reading.map)


def _overlay(folder: Path, reading: Reading) -> None:
    write_png(folder / "overlay.png", reading.overlay())


def _json(folder: Path, reading: Reading) -> None:
    write_json(folder / "reading.json", reading.to_json())


def _rle(folder: Path, reading: Reading) -> None:
    if reading.mask is not None:
        (folder / "mask.rle").write_text(rle.encode(reading.mask) + "\n", "utf-8")


#: Results by the name under which they are asked for.
WRITERS: Mapping[str, Writer] = {"mask": _mask, "map": _map, "overlay": _overlay, "json": _json, "rle": _rle}
DEFAULT_RESULTS = ("mask", "overlay", "json")


def write_results(folder: Path, reading: Reading, results: Sequence[str]) -> None:
    """Write the results of a reading; the folder appears when all of them are there, and replaces an older one.

    Args:
        folder: of this image.
        reading: accepted.
        results: keys of WRITERS.
    """
    temporary = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in results:
        WRITERS[name](temporary, reading)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
