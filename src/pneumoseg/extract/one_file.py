"""What a worker does with one file of a source. Kept apart from the tables, so that a worker need not load pandas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.image_file import Row
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import Refusal
from pneumoseg.shared.files import write_png
from pneumoseg.sources.source import Item


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a row of metadata.csv (and a PNG), or the kind and the reason of its refusal."""

    source: str
    image_id: str
    row: Row | None = None
    flags: tuple[str, ...] = ()
    kind: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Job:
    """What is the same for all files; paths are absolute, since the workers of a cluster have folders of their own."""

    root: Path
    images: Path
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
    return Outcome(source, image_id, {**radiograph.row, "source": source}, radiograph.flags)


def crashed(job: Job, item: Item) -> Outcome:
    """The outcome of a file on which a process died twice, the second time with nothing else under way."""
    return Outcome(_source(job, item), "", kind="decoder_crash", reason="the process that decoded it died, twice")


def _source(job: Job, item: Item) -> str:
    """The path relative to data.root with slashes; what cannot be printed is escaped, as in Python."""
    name = item.name or (item.file.relative_to(job.root).as_posix() if isinstance(item.file, Path) else "")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)
