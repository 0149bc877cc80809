"""NIH ChestX-ray14 and its 5 % sample: PNG files and a table of findings mined from reports; no masks.

Wang et al., ChestX-ray8, CVPR 2017. SIIM-ACR's radiographs are a part of it. The commas inside the brackets of the
header make eleven names of nine, and rows have eleven cells, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import without_suffix
from pneumoseg.sources.label_table import Row, find_tables, rows_of
from pneumoseg.sources.labels import label_of_findings
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource, age_of, sex_of

_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
_NAME = re.compile(r"(\d{8})_\d{3}")


class Nih(TabledSource):
    """The first eight digits of a file's name are the patient; the table's Patient ID has lost their zeros."""

    columns = ("Image Index", "Finding Labels", "Patient ID")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image."""
        for table in find_tables(data.annotations, _TABLES)[:1]:
            for row in rows_of(table, self.columns):
                name = row["Image Index"]
                if not _NAME.fullmatch(without_suffix(name)):
                    yield Entry(row.line, "", NOTHING, fault="Image Index is no name such as 00000001_000.png")
                    continue
                known = Known(
                    image_id=without_suffix(name),
                    patient=name[:8],
                    study=without_suffix(name),
                    sex=sex_of(row["Patient Gender"]),
                    view=row["View Position"] or None,
                    age_years=age_of(row["Patient Age"]),
                    extent_mm=_extent(row),
                )
                yield Entry(row.line, name, known, label_of_findings(row["Finding Labels"], "|"))

    def stray(self, path: str) -> Known:
        """The patient stands in the name."""
        match = _NAME.fullmatch(without_suffix(path.rpartition("/")[2]))
        return Known(patient=match[1], study=match[0]) if match else NOTHING


def _extent(row: Row) -> tuple[float, float] | None:
    """Height and width: the PNG is a copy of 1024 pixels a side, size and spacing in the table are the original's."""
    names = (
        ("Height]", "OriginalImageHeight", "y]", "OriginalImagePixelSpacing_y"),
        ("OriginalImage[Width", "OriginalImageWidth", "OriginalImagePixelSpacing[x", "OriginalImagePixelSpacing_x"),
    )
    try:
        height, width = (float(row[a] or row[b]) * float(row[c] or row[d]) for a, b, c, d in names)
    except ValueError:
        return None
    return height, width


SOURCES.register("nih", Nih())
