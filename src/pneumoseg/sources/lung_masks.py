"""Lung masks that lie beside a data set: a folder with one or two files an image, or a table as CheXmask has it."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import draw_runs, merge_runs
from pneumoseg.sources.mask_image import read_mask
from pneumoseg.sources.truth import Size

#: Below this agreement with its own reverse check CheXmask's authors advise to leave a mask out.
LEAST_QUALITY = 0.7
_SIDES = ("Left Lung", "Right Lung")
_QUALITY = "Dice RCA (Mean)"
_ENDINGS = re.compile(r"[_-]?(left|right|lungs?|mask|l|r)$", re.IGNORECASE)
_RULES = {side: re.compile(rf"(^|[_-]){side}", re.IGNORECASE) for side in ("left", "right")}
_IMAGE = re.compile(r"\.(png|jpe?g|dcm)$", re.IGNORECASE)


class LungMask(NamedTuple):
    """The lungs of an image, or why its mask cannot be used.

    Attributes:
        image_id: of the image.
        source: the file, without its folder, or the line of the table.
        mask: (rows, columns) bool; None where it cannot be used.
        reason: why not.
    """

    image_id: str
    source: str
    mask: NDArray[np.bool_] | None
    reason: str = ""


def lung_masks(path: Path, sizes: Mapping[str, Size]) -> Iterator[LungMask]:
    """The masks of those images that are there.

    Args:
        path: a folder of PNG or JPEG files named by image id, each of both lungs or, with left or right in its name or
            in its folder's, of one; or a table of CheXmask (.csv, .csv.gz).
        sizes: of the images.

    Raises:
        DataError: it is neither, or the table lacks a column.
    """
    if path.is_dir():
        return _of_folder(path, sizes)
    if path.is_file():
        return _of_table(path, sizes)
    raise DataError(f"data.lungs = {path}: neither a folder of masks nor a table of CheXmask")


def _of_folder(folder: Path, sizes: Mapping[str, Size]) -> Iterator[LungMask]:
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        name = _IMAGE.sub("", path.name)
        if name != path.name and path.is_file():
            while name not in sizes and (shorter := _ENDINGS.sub("", name)) not in ("", name):
                name = shorter
            files[name].append(path)
    for image_id in sorted(files.keys() & sizes.keys()):
        yield _united(image_id, files[image_id], sizes[image_id])


def _united(image_id: str, paths: list[Path], size: Size) -> LungMask:
    source = ", ".join(path.name for path in paths)
    sides: dict[str, list[NDArray[np.int64]]] = {"left": [], "right": [], "both": []}
    for path in paths:
        try:
            runs, _ = read_mask(path, size)
        except DataError as error:
            return LungMask(image_id, path.name, None, str(error))
        if not len(runs):
            return LungMask(image_id, path.name, None, "an empty mask")
        names = (path.parent.name, path.stem.removeprefix(image_id))
        told = [side for side, rule in _RULES.items() if any(map(rule.search, names))]
        sides[told[0] if len(told) == 1 else "both"].append(runs)
    drawn = {side: draw_runs(merge_runs(np.concatenate(runs)), *size) for side, runs in sides.items() if runs}
    reason = _mirrored(drawn["left"], drawn["right"]) if {"left", "right"} <= drawn.keys() else ""
    return LungMask(image_id, source, None if reason else np.any(list(drawn.values()), axis=0), reason)


def _of_table(path: Path, sizes: Mapping[str, Size]) -> Iterator[LungMask]:
    """Rows of image id first, then codes of absolute, 1-based starts along the rows: not as SIIM has them."""
    csv.field_size_limit(2**30)
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        missing = [name for name in (*_SIDES, "Height", "Width") if name not in names]
        if missing:
            raise DataError(f"data.lungs = {path}: no table of CheXmask, it lacks the column {missing[0]}")
        for row in rows:
            image_id = _IMAGE.sub("", row[names[0]].strip())
            if image_id in sizes:
                yield _of_row(image_id, f"{path.name}, line {rows.line_num}", row, sizes[image_id])


def _of_row(image_id: str, source: str, row: Mapping[str, str], size: Size) -> LungMask:
    try:
        drawn = Size(int(float(row["Height"])), int(float(row["Width"])))
        if drawn != size:
            shape = f"{drawn.rows} x {drawn.columns}"
            return LungMask(
                image_id, source, None, f"a mask of {shape} pixels for an image of {size.rows} x {size.columns}"
            )
        if row.get(_QUALITY) and float(row[_QUALITY]) < LEAST_QUALITY:
            return LungMask(image_id, source, None, f"{_QUALITY} {float(row[_QUALITY]):.2f} is below {LEAST_QUALITY}")
        left, right = (_decode(row[side], drawn) for side in _SIDES)
    except (ValueError, TypeError, IndexError):
        return LungMask(image_id, source, None, "a row that is no mask of CheXmask")
    reason = "an empty mask" if not left.any() or not right.any() else _mirrored(left, right)
    return LungMask(image_id, source, None if reason else left | right, reason)


def _decode(code: str, size: Size) -> NDArray[np.bool_]:
    pairs = np.array(code.split(), np.int64).reshape(-1, 2)
    runs = np.stack([pairs[:, 0] - 1, pairs[:, 0] - 1 + pairs[:, 1]], axis=1)
    if len(runs) and (runs[:, 0].min() < 0 or runs[:, 1].max() > size.rows * size.columns):
        raise ValueError("a run past the image")
    # Along the rows: the runs of the transposed image.
    return draw_runs(merge_runs(runs), size.columns, size.rows).T


def _mirrored(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> str:
    """The patient's left lung lies on the right of a radiograph."""
    places = [float(np.nonzero(one.any(axis=0))[0].mean()) for one in (left, right)]
    return "" if places[0] > places[1] else "the left lung lies left of the right one: mask or image is mirrored"
