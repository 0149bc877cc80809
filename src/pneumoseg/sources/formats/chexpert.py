"""CheXpert 1.0, also the small one: JPG files below train and valid, a table of each; no masks.

Irvin et al., AAAI 2019. The label is the study's, 1, 0, -1 (uncertain) or blank (not mentioned).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.registry import SOURCES
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.image_ids import legal_ids
from pneumoseg.sources.label_table import Row, find_tables, rows_of
from pneumoseg.sources.labels import label_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource, age_of, sex_of

_PATH = re.compile(r"(?:.*/)?((?:train|valid|test)/(patient\d+)/(study\d+)/(view\d+_(?:frontal|lateral)))\.(?:jpg|png)")


class Chexpert(TabledSource):
    """Age 0 means unknown, 90 is 90 or more; the prefix of Path depends on the copy."""

    columns = ("Path", "Frontal/Lateral", "AP/PA", "Pneumothorax")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image of all tables."""
        tables = find_tables(data.annotations, ("train.csv", "valid.csv", "test.csv"), every=True)
        rows = [(table, row) for table in tables for row in rows_of(table, self.columns)]
        paths = [match for _, row in rows if (match := _PATH.fullmatch(row["Path"]))]
        # The same patient in train and valid would be an error of the copy: then a digest tells the images apart.
        ids = legal_ids("/".join(match.group(2, 3, 4)) for match in paths)
        for table, row in rows:
            where = f"{table.name}: " if len(tables) > 1 else ""
            match = _PATH.fullmatch(row["Path"])
            label = label_of(row["Pneumothorax"])
            if match is None:
                fault = f"{where}Path is not such as train/patient00001/study1/view1_frontal.jpg"
                yield Entry(row.line, "", NOTHING, fault=fault)
                continue
            known = Known(
                image_id=ids["/".join(match.group(2, 3, 4))],
                patient=match[2],
                study=f"{match[2]}/{match[3]}",
                sex=sex_of(row["Sex"]),
                view=_view(row),
                age_years=age_of(row["Age"]) or None,
            )
            fault = "" if label else f"{where}Pneumothorax is none of 1, 0, -1 and blank"
            yield Entry(row.line, match[1], known, label, fault=fault)

    def stray(self, path: str) -> Known:
        """Patient and study stand in the path."""
        match = _PATH.fullmatch(path)
        return Known(patient=match[2], study=f"{match[2]}/{match[3]}") if match else NOTHING


def _view(row: Row) -> str | None:
    """AP or PA; a few frontal images are called LL or RL by mistake."""
    if row["Frontal/Lateral"].casefold() == "lateral":
        return "LATERAL"
    return row["AP/PA"] if row["AP/PA"] in ("AP", "PA") else "FRONTAL"


SOURCES.register("chexpert", Chexpert())
