"""The entries of each image brought together: labels by data.labels, codes and mask files by OR, contradictions out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.data import LabelParams
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.rle import merge_runs, read_runs
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.mask_image import read_mask
from pneumoseg.sources.truth import (
    BLANK,
    LABEL_ONLY,
    NEGATIVE,
    NEGATIVE_LABEL,
    POSITIVE,
    REJECTED,
    UNCERTAIN,
    RejectedRow,
    Size,
    Truth,
    Truths,
)


@dataclass
class _Merged:
    """What the entries of one image say together; neither truth nor ``undecided``: nothing."""

    truth: Truth | None = None
    undecided: str = ""
    rejected: list[RejectedRow] = field(default_factory=list)
    grey_masks: int = 0


def merge_entries(entries: Iterable[Entry], sizes: Mapping[str, Size], default: Size, params: LabelParams) -> Truths:
    """Merge the rows of each image.

    A known mask decides where the label is uncertain or blank; where a sure label contradicts it, all rows of the image
    are rejected, as they are where labels contradict each other or one row cannot be used.

    Args:
        entries: in any order; those without label, code and mask say nothing and are no rows.
        sizes: of each known image; its codes and mask files must fit. Mask files of others are not looked at.
        default: size against which codes of other images are checked.
        params: section data.labels.
    """
    by_image: dict[str, list[Entry]] = defaultdict(list)
    rows: list[str] = []
    rejected: list[RejectedRow] = []
    for entry in entries:
        image_id = entry.known.image_id or ""
        if entry.fault or entry.label or entry.code or entry.mask:
            rows.append(image_id)
            if image_id:
                by_image[image_id].append(entry)
            else:
                rejected.append(RejectedRow(entry.line, "", entry.fault or "no image id"))

    def merge(image_id: str) -> _Merged:
        return _merge(image_id, by_image[image_id], sizes.get(image_id), default, params)

    names = sorted(by_image)
    found = dict(zip(names, map_threads(merge, names, None, "annotations"), strict=True))
    said = {(image_id, e.label, e.code, e.mask) for image_id, group in by_image.items() for e in group}
    return Truths(
        {image_id: merged.truth for image_id, merged in found.items() if merged.truth is not None},
        rows,
        sorted([*rejected, *(row for merged in found.values() for row in merged.rejected)]),
        sum(map(len, by_image.values())) - len(said),
        {image_id: merged.undecided for image_id, merged in found.items() if merged.undecided},
        sum(merged.grey_masks for merged in found.values()),
    )


def _merge(image_id: str, entries: Sequence[Entry], size: Size | None, default: Size, params: LabelParams) -> _Merged:
    merged = _Merged()
    bad: list[tuple[int, str]] = []
    parts: list[NDArray[np.int64]] = []
    for entry in entries:
        if entry.fault:
            bad.append((entry.line, entry.fault))
            continue
        try:
            if entry.code:
                pixels = size or default
                parts.append(read_runs(entry.code, pixels.rows * pixels.columns))
            if entry.mask is not None and size is not None:
                runs, grey = read_mask(entry.mask, size)
                parts.append(runs)
                merged.grey_masks += grey
        except DataError as error:
            bad.append((entry.line, str(error)))
    label, doubt = _label(entries)
    if not bad and not doubt:
        doubt = _contradiction(label, parts)
    if bad or doubt:
        merged.truth = REJECTED
        lines = {line for line, _ in bad}
        other = doubt or f"another row of this image was rejected, line {bad[0][0]}"
        merged.rejected = [RejectedRow(line, image_id, reason) for line, reason in bad]
        merged.rejected += [RejectedRow(e.line, image_id, other) for e in entries if e.line not in lines]
        return merged
    every = np.concatenate(parts) if parts else np.empty((0, 2), np.int64)
    if len(every):
        runs = merge_runs(every)
        overlapping = int((every[:, 1] - every[:, 0]).sum()) > int((runs[:, 1] - runs[:, 0]).sum())
        merged.truth = Truth(True, runs, sum(len(part) > 0 for part in parts), overlapping)
    elif parts and label != POSITIVE:
        merged.truth = NEGATIVE
    else:
        _by_label(merged, label, params)
    return merged


def _label(entries: Sequence[Entry]) -> tuple[str | None, str]:
    """The label of an image, and why there is none: rows that contradict each other."""
    labels = {entry.label: entry.line for entry in reversed(entries) if entry.label is not None}
    if len(labels) <= 1:
        return next(iter(labels), None), ""
    (second, line), (first, other) = list(labels.items())[-2:]
    return None, f"{first} in line {other} contradicts {second} in line {line}"


def _contradiction(label: str | None, parts: Sequence[NDArray[np.int64]]) -> str:
    marked, empty = [part for part in parts if len(part)], [part for part in parts if not len(part)]
    if marked and empty:
        return "a row without a mask contradicts one with a mask"
    if marked and label == NEGATIVE_LABEL:
        return "a mask for a negative label"
    if empty and label == POSITIVE:
        return "an empty mask for a positive label"
    return ""


def _by_label(merged: _Merged, label: str | None, params: LabelParams) -> None:
    """Where no mask is known."""
    if label == UNCERTAIN and params.uncertain != "ignore":
        label = POSITIVE if params.uncertain == "ones" else NEGATIVE_LABEL
    if label == BLANK and params.blank == "negative":
        label = NEGATIVE_LABEL
    if label in (UNCERTAIN, BLANK):
        merged.undecided = label
    elif label is not None:
        merged.truth = LABEL_ONLY if label == POSITIVE else NEGATIVE
