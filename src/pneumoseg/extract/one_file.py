"""What a worker does with one file of a source. Kept apart from the tables, so that a worker need not load pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.image_file import Row
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import write_png
from pneumoseg.shared.rle import draw_runs, merge_runs
from pneumoseg.sources.mask_image import read_mask
from pneumoseg.sources.source import Item
from pneumoseg.sources.truth import Size


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a row of metadata.csv (and a PNG), or the kind and the reason of its refusal.

    ``beside`` holds the refusals of other files of a kept image.
    """

    source: str
    image_id: str
    row: Row | None = None
    flags: tuple[str, ...] = ()
    kind: str = ""
    reason: str = ""
    beside: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Job:
    """What is the same for all files; paths are absolute, since the workers of a cluster have folders of their own."""

    root: Path
    images: Path
    lungs: Path
    params: ExtractParams
    key: bytes


def extract_one(job: Job, item: Item) -> Outcome:
    """Read one file and write its PNG, or tell why not."""
    source = _source(job, item)
    try:
        radiograph = read_radiograph(item.file, job.params, job.key, item.known)
    except Refusal as refusal:
        return Outcome(source, refusal.image_id, kind=refusal.kind, reason=refusal.reason)
    image_id = str(radiograph.row["image_id"])
    write_png(job.images / f"{image_id}.png", radiograph.pixels)
    size = Size(*(int(radiograph.row[name] or 0) for name in ("rows", "columns")))
    refused, cut = _write_lungs(job, image_id, item.known.lungs or (), size)
    flags = (*radiograph.flags, *(["lungs_cut"] if cut else []))
    return Outcome(source, image_id, {**radiograph.row, "source": source}, flags, beside=refused)


def _write_lungs(job: Job, image_id: str, files: Sequence[Path], size: Size) -> tuple[tuple[Outcome, ...], bool]:
    """Unite the masks of an image's lungs; without one of them, half a chest would pass for the whole: none is written.

    Returns:
        Those that cannot be used, and whether one was cut at half.
    """
    parts, refused, cut = [], [], False
    for file in files:
        try:
            runs, grey = read_mask(file, size)
        except DataError as error:
            reason = str(error)
        else:
            parts.append(runs)
            cut |= grey
            reason = "" if len(runs) else "an empty mask"
        if reason:
            inside = file.is_relative_to(job.root)
            source = _printable(file.relative_to(job.root).as_posix() if inside else file.name)
            refused.append(Outcome(source, image_id, kind="lung_mask", reason=f"lungs: {reason}"))
    if not parts or refused:
        return tuple(refused), False
    mask = draw_runs(merge_runs(np.concatenate(parts)), *size)
    write_png(job.lungs / f"{image_id}.png", mask.view(np.uint8) * np.uint8(255))
    return (), cut


def crashed(job: Job, item: Item) -> Outcome:
    """The outcome of a file on which a process died twice, the second time with nothing else under way."""
    return Outcome(_source(job, item), "", kind="decoder_crash", reason="the process that decoded it died, twice")


def _source(job: Job, item: Item) -> str:
    """The path relative to data.root with slashes."""
    return _printable(item.name or (item.file.relative_to(job.root).as_posix() if isinstance(item.file, Path) else ""))


def _printable(name: str) -> str:
    """A name in which what cannot be printed is escaped, as in Python."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
