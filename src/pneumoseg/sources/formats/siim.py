"""SIIM-ACR Pneumothorax: DICOM files, nested in any way, and a table of relative run-length codes by SOPInstanceUID.

The phantoms have this layout too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pneumoseg.config.masks import MasksParams
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.candidates import find_candidates
from pneumoseg.sources.label_table import advice, only_table
from pneumoseg.sources.rle_grouping import group_rows
from pneumoseg.sources.rle_table import read_rows
from pneumoseg.sources.source import DataSet, Item
from pneumoseg.sources.truth import Size, Truths


class Siim:
    """Everything that is known of an image besides its pixels stands in its DICOM header."""

    columns = ("ImageId", "EncodedPixels")

    def images(self, data: DataSet) -> Sequence[Item]:
        """Files that may be DICOM, by their names."""
        return [Item(path) for path in find_candidates(data.root)]

    def truth(self, data: DataSet, sizes: Mapping[str, Size], params: MasksParams) -> Truths:
        """Rows of one image merged by OR; codes of images without a file are checked at masks.table_size_px."""
        table = only_table(data.annotations, ("stage_2_train.csv", "train-rle.csv"))
        try:
            rows = read_rows(table)
        except DataError as error:
            raise DataError(f"{error}{advice(table)}") from None
        return group_rows(rows, sizes, Size(params.table_size_px, params.table_size_px))


SOURCES.register("siim", Siim())
