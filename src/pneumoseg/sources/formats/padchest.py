"""PadChest: 16-bit PNG files and a table of labels of reports, a quarter of them by hand; no masks.

Bustos et al., Medical Image Analysis 2020. ImageDir is sometimes wrong, so files are found by name alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import legal_ids, without_suffix
from pneumoseg.sources.label_table import Row, find_tables, rows_of
from pneumoseg.sources.labels import label_of_findings
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource, sex_of

_VIEWS = {"L": "LATERAL", "AP_horizontal": "AP"}


class Padchest(TabledSource):
    """The age is the year of the study less that of birth."""

    columns = ("ImageID", "StudyID", "PatientID", "Projection", "Labels")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image."""
        table = find_tables(data.annotations, ("PADCHEST_chest_x_ray_images_labels*.csv*",))[0]
        rows = list(rows_of(table, self.columns, multiline=True))
        ids = legal_ids(without_suffix(row["ImageID"]) for row in rows if row["ImageID"])
        for row in rows:
            if not row["ImageID"]:
                yield Entry(row.line, "", NOTHING, fault="no ImageID")
                continue
            known = Known(
                image_id=ids[without_suffix(row["ImageID"])],
                patient=row["PatientID"] or None,
                study=row["StudyID"] or None,
                sex=sex_of(row["PatientSex_DICOM"]),
                view=_VIEWS.get(row["Projection"], row["Projection"]) or None,
                age_years=_age(row),
            )
            yield Entry(row.line, row["ImageID"], known, label_of_findings(row["Labels"].strip("[]"), ","))


def _age(row: Row) -> float | None:
    birth, study = row["PatientBirth"], row["StudyDate_DICOM"][:4]
    if not birth or not study:
        return None
    try:
        return float(study) - float(birth)
    except ValueError:
        return math.nan


SOURCES.register("padchest", Padchest())
