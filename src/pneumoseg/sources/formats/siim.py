"""SIIM-ACR Pneumothorax: DICOM files, nested in any way, and a table of relative run-length codes by SOPInstanceUID.

The phantoms have this layout too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pneumoseg.config.masks import MasksParams
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.candidates import find_candidates
from pneumoseg.sources.rle_grouping import group_rows
from pneumoseg.sources.rle_table import read_rows
from pneumoseg.sources.source import Item
from pneumoseg.sources.truth import Size, Truths


class Siim:
    """Everything that is known of an image besides its pixels stands in its DICOM header."""

    def images(self, root: Path, annotations: Path) -> Sequence[Item]:
        """Files that may be DICOM, by their names."""
        del annotations
        return [Item(path) for path in find_candidates(root)]

    def truth(self, annotations: Path, sizes: Mapping[str, Size], params: MasksParams) -> Truths:
        """Rows of one image merged by OR; codes of images without a file are checked at masks.table_size_px."""
        return group_rows(read_rows(annotations), sizes, Size(params.table_size_px, params.table_size_px))


SOURCES.register("siim", Siim())
