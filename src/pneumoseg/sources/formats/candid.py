"""CANDID-PTX: DICOM files without suffix, named by SOPInstanceUID, and a table of masks in SIIM's run-length code.

Feng et al., Radiology: Artificial Intelligence 2021. Reports may hold commas, quotation marks and line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.registry import SOURCES
from pneumoseg.shared.rle import EMPTY
from pneumoseg.shared.tables import IMAGE_ID
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.label_table import only_table, rows_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource
from pneumoseg.sources.truth import BLANK, NEGATIVE_LABEL

_FILE_NAME = re.compile(r"(P\w*?\d+)_.*")


class Candid(TabledSource):
    """A patient stands at the beginning of filename; an image may have several rows."""

    columns = ("SOPInstanceUID", "filename", "EncodedPixels")
    ids_in_files = True

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each row."""
        table = only_table(data.annotations, ("Pneumothorax_reports.csv",))
        for row in rows_of(table, self.columns, multiline=True):
            image_id, code = row["SOPInstanceUID"], row["EncodedPixels"]
            if not IMAGE_ID.fullmatch(image_id):
                yield Entry(row.line, "", NOTHING, fault="SOPInstanceUID is missing or no id")
                continue
            match = _FILE_NAME.fullmatch(row["filename"])
            known = Known(image_id=image_id, patient=match[1] if match else None)
            label = NEGATIVE_LABEL if code == EMPTY else None if code else BLANK
            yield Entry(row.line, image_id, known, label, code="" if label else code)


SOURCES.register("candid", Candid())
