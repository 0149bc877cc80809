"""Indiana University's chest radiographs (Open-i), as PNG files with two tables: projections and reports; no masks.

Demner-Fushman et al., JAMIA 2016. Every report is of another patient, so uid is study and patient.
"""

from __future__ import annotations

from collections.abc import Iterator

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import legal_ids, without_suffix
from pneumoseg.sources.label_table import only_table, rows_of
from pneumoseg.sources.labels import label_of_findings
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource


class Indiana(TabledSource):
    """Problems, of the report, is the label; projections says frontal or lateral, not AP or PA."""

    columns = ("uid", "filename", "projection")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image of projections."""
        if not data.annotations.is_dir():
            raise DataError(
                f"data.annotations = {data.annotations}: give the folder that holds indiana_projections.csv and "
                "indiana_reports.csv"
            )
        reports = only_table(data.annotations, ("indiana_reports.csv",))
        problems = {row["uid"]: row["Problems"] for row in rows_of(reports, ("uid", "Problems"), multiline=True)}
        rows = list(rows_of(only_table(data.annotations, ("indiana_projections.csv",)), self.columns))
        ids = legal_ids(_plain(row["filename"]) for row in rows if row["filename"])
        for row in rows:
            uid = row["uid"]
            if not uid or not row["filename"]:
                yield Entry(row.line, "", NOTHING, fault="no uid or filename")
                continue
            view = row["projection"].upper() or None
            known = Known(image_id=ids[_plain(row["filename"])], patient=f"CXR{uid}", study=uid, view=view)
            label = label_of_findings(problems[uid], ";") if uid in problems else None
            yield Entry(row.line, row["filename"], known, label)


def _plain(name: str) -> str:
    return without_suffix(without_suffix(name))


SOURCES.register("indiana", Indiana())
