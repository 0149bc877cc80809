"""MIMIC-CXR-JPG 2.x, and MIMIC-CXR's DICOM files with its tables: labels of each study, no masks.

Johnson et al., Scientific Data 2019. Tables, gzipped or not: metadata says which images a study has, chexpert (by
CheXpert's labeller; where that is not there, negbio) what its report says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.label_table import find_tables, rows_of
from pneumoseg.sources.labels import label_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource

logger = logging.getLogger(__name__)


class Mimic(TabledSource):
    """No age, no sex; a study that the labels leave out is not annotated."""

    columns = ("dicom_id", "subject_id", "study_id", "ViewPosition")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image of metadata."""
        if not data.annotations.is_dir():
            raise DataError(f"data.annotations = {data.annotations}: give the folder that holds mimic-cxr-*.csv.gz")
        table = find_tables(data.annotations, ("mimic-cxr-*-metadata.csv*",))[0]
        labels = _labels(data.annotations)
        for row in rows_of(table, self.columns):
            image_id, study = row["dicom_id"], (row["subject_id"], row["study_id"])
            if not all((image_id, *study)):
                yield Entry(row.line, "", NOTHING, fault="no dicom_id, subject_id or study_id")
                continue
            known = Known(
                image_id=image_id,
                patient=row["subject_id"],
                study=row["study_id"],
                view="LATERAL" if row["ViewPosition"] in ("LL", "RL") else row["ViewPosition"] or None,
            )
            label = labels.get(study, "")
            fault = "Pneumothorax of its study is none of 1, 0, -1 and blank" if label is None else ""
            yield Entry(row.line, image_id, known, label or None, fault=fault)


def _labels(folder: Path) -> dict[tuple[str, str], str | None]:
    """Of each patient and study; None where the cell is no label."""
    table = find_tables(folder, ("mimic-cxr-*-chexpert.csv*", "mimic-cxr-*-negbio.csv*"))[0]
    if "negbio" in table.name:
        logger.warning("%s has no table of CheXpert's labeller; labels are those of %s", folder, table.name)
    found: dict[tuple[str, str], str | None] = {}
    for row in rows_of(table, ("subject_id", "study_id", "Pneumothorax")):
        found[row["subject_id"], row["study_id"]] = label_of(row["Pneumothorax"])
    return found


SOURCES.register("mimic", Mimic())
