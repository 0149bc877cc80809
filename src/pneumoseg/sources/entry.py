"""One row of a published table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pneumoseg.radiographs.image_file import Known


@dataclass(frozen=True)
class Entry:
    """What one row of a table says of an image.

    Attributes:
        line: of the row in its file.
        file: its name or the end of its path, with slashes, with or without suffix.
        known: with the image id, unless ``fault`` says why there is none.
        label: POSITIVE, NEGATIVE_LABEL, UNCERTAIN or BLANK; None where the row says nothing about pneumothorax.
        code: run-length code as of rle.read_runs; empty where there is none.
        mask: image file of its mask.
        fault: why the row cannot be used; empty where it can. It quotes nothing that may name a person.
    """

    line: int
    file: str
    known: Known
    label: str | None = None
    code: str = ""
    mask: Path | None = None
    fault: str = ""
