"""VinDr-CXR: DICOM files ``<id>.dicom`` and a table in which each of three readers has rows; no pneumothorax masks.

Nguyen et al., Scientific Data 2022. The competition's train.csv has a row for each finding of a reader (class_name);
PhysioNet's image_labels_train.csv one for each reader, image_labels_test.csv one for each image, with a column for each
finding. Readers who disagree leave the label uncertain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.shared.tables import IMAGE_ID
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.label_table import find_tables, header_of, rows_of
from pneumoseg.sources.labels import label_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource
from pneumoseg.sources.truth import NEGATIVE_LABEL, POSITIVE, UNCERTAIN

_TABLES = ("train.csv", "image_labels_train.csv", "image_labels_test.csv")


class Vindr(TabledSource):
    """No patients; neither the id nor, often, a view or a modality stands in the files."""

    columns = ("image_id", "class_name", "rad_id")

    def stray(self, path: str) -> Known:
        """A radiograph, as all of them are."""
        del path
        return Known(modality="DX")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image, at the line of its first row."""
        for table in find_tables(data.annotations, _TABLES, every=True):
            votes: dict[str, dict[str, bool]] = defaultdict(dict)
            lines: dict[str, int] = {}
            for line, image_id, reader, found in _votes(table):
                if not IMAGE_ID.fullmatch(image_id):
                    yield Entry(line, "", NOTHING, fault="image_id is missing or no id")
                    continue
                lines.setdefault(image_id, line)
                votes[image_id][reader] = votes[image_id].get(reader, False) or found
            for image_id, readers in votes.items():
                said = set(readers.values())
                label = UNCERTAIN if len(said) > 1 else POSITIVE if True in said else NEGATIVE_LABEL
                yield Entry(lines[image_id], image_id, Known(image_id=image_id, modality="DX"), label)


def _votes(table: Path) -> Iterator[tuple[int, str, str, bool]]:
    """Line, image, reader, and whether this row says pneumothorax."""
    names = [name.casefold() for name in header_of(table)]
    by_class = "class_name" in names
    if not by_class and "pneumothorax" not in names:
        raise DataError(f"{table}: neither a column class_name nor Pneumothorax; it has {', '.join(names[:12])}")
    for row in rows_of(table, ("image_id",)):
        label = row["class_name"] if by_class else row["Pneumothorax"]
        yield row.line, row["image_id"], row["rad_id"], label_of(label) == POSITIVE


SOURCES.register("vindr", Vindr())
