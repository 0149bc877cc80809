"""The score of one annotation table against another, computed on runs without making a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.metric import all_metrics
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import EMPTY, RleError, read_runs
from pneumoseg.sources.rle_table import read_rows

#: Runs by image: (N, 2) int64, first pixel and pixel after the last, counted down the columns; they may overlap.
Runs = Mapping[str, NDArray[np.int64]]
# Of many mistakes so many are named.
_NAMED = 20


@dataclass(frozen=True)
class Score:
    """The figures by name, the number of images, and the ids of one table that the other lacks."""

    figures: dict[str, float]
    n: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def read_masks(path: Path, image_px: int, empty_code: str = "") -> Runs:
    """Read the runs of every image of a table; several rows of an image add up (OR).

    Args:
        path: CSV with ImageId and EncodedPixels, as the pipeline reads annotations.
        image_px: rows x columns of an image.
        empty_code: as in read_rows.

    Raises:
        DataError: names each line that is malformed, whose runs go past the image, or where an image is called empty
            in one row and marked in another.
    """
    table = read_rows(path, empty_code)
    found: dict[str, list[NDArray[np.int64]]] = {}
    first: dict[str, tuple[int, bool]] = {}
    mistakes = [(row.line, row.reason) for row in table.rejected]
    for row in table.rows:
        try:
            runs = read_runs(row.code, image_px)
        except RleError as error:
            mistakes.append((row.line, str(error)))
            continue
        line, was_marked = first.setdefault(row.image_id, (row.line, len(runs) > 0))
        if was_marked != (len(runs) > 0):
            mistakes.append((row.line, f"{row.image_id} has both {EMPTY} and a mask, see line {line}"))
        found.setdefault(row.image_id, []).append(runs)
    if mistakes:
        named = [f"{path}: line {line}: {reason}" for line, reason in sorted(mistakes)]
        more = [f"{path}: and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
        raise DataError("\n".join(named[:_NAMED] + more))
    if not found:
        raise DataError(f"{path}: it has no row")
    return {image_id: np.concatenate(parts) for image_id, parts in found.items()}


def covered_px(image: NDArray[np.int64], runs: NDArray[np.int64], images: int, image_px: int) -> NDArray[np.int64]:
    """Pixels of each image that any of its runs covers.

    All images are laid one after the other on one axis. There the runs are sorted by start, and each adds what lies
    beyond the furthest end so far.

    Args:
        image: (N,) image of each run, 0 to images - 1.
        runs: (N, 2) first pixel and pixel after the last.
        images: how many.
        image_px: pixels of an image.

    Returns:
        (images,) int64.
    """
    starts, ends = (runs + image[:, None] * image_px).T
    order = np.argsort(starts, kind="stable")
    starts, ends, owner = starts[order], ends[order], image[order]
    reach = np.concatenate([[0], np.maximum.accumulate(ends)])[:-1]
    new = np.maximum(ends - np.maximum(starts, reach), 0)
    total = np.zeros(images, np.int64)
    np.add.at(total, owner, new)
    return total


def score_masks(truth: Runs, submitted: Runs, image_px: int, allow_missing: bool = False) -> Score:
    """Score a submission.

    Args:
        truth: runs of every image that counts.
        submitted: runs of every image of the submission.
        image_px: pixels of an image.
        allow_missing: take a missing id as an empty prediction and leave out an unknown one.

    Returns:
        The figures that say what a decision rule is worth (Metric.of_rule), NaN where the truth does not give one.

    Raises:
        DataError: ids are missing or unknown, and that is not allowed.
    """
    ids = sorted(truth)
    missing, unknown = tuple(sorted(truth.keys() - submitted.keys())), tuple(sorted(submitted.keys() - truth.keys()))
    if (missing or unknown) and not allow_missing:
        raise DataError("\n".join(_complaints(missing, unknown)))
    nothing = np.empty((0, 2), np.int64)
    parts = [[table.get(image_id, nothing) for image_id in ids] for table in (truth, submitted)]
    owners = [np.repeat(np.arange(len(ids)), [len(runs) for runs in part]) for part in parts]
    runs = [np.concatenate(part) for part in parts]
    true_px, marked_px = (covered_px(owner, part, len(ids), image_px) for owner, part in zip(owners, runs, strict=True))
    either_px = covered_px(np.concatenate(owners), np.concatenate(runs), len(ids), image_px)
    scores = dice(true_px + marked_px - either_px, marked_px, true_px)
    rows = pd.DataFrame({"pneumothorax": true_px > 0, "called": marked_px > 0, "dice": scores})
    figures = {metric.name: metric.of(rows).value for metric in all_metrics() if metric.of_rule}
    return Score(figures, len(ids), missing, unknown)


def _complaints(missing: tuple[str, ...], unknown: tuple[str, ...]) -> list[str]:
    lines = []
    for ids, what in ((missing, "missing from the submission"), (unknown, "unknown: not in the truth")):
        if ids:
            shown = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
            lines.append(f"{len(ids)} image{'s' if len(ids) > 1 else ''} {what}: {shown}")
    return [*lines, "give every image of the truth once, or use --allow-missing"]
