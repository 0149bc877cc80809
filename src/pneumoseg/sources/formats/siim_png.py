"""SIIM-ACR as PNG, the copy in circulation: png_images, png_masks and a table of stage 1's training and test images.

Image ids are those of the DICOM files, so that other tables of the competition fit. No patient, sex, age or view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.registry import SOURCES
from pneumoseg.shared.tables import IMAGE_ID
from pneumoseg.sources.entry import Entry
from pneumoseg.sources.label_table import find_tables, rows_of
from pneumoseg.sources.labels import label_of
from pneumoseg.sources.source import DataSet
from pneumoseg.sources.tabled import TabledSource

_MASKS = "png_masks"


class SiimPng(TabledSource):
    """The mask of an image has its name, in another folder."""

    columns = ("new_filename", "ImageId", "has_pneumo")

    def entries(self, data: DataSet) -> Iterator[Entry]:
        """One for each image of both tables."""
        tables = find_tables(data.annotations, ("stage_1_train_images.csv", "stage_1_test_images.csv"), every=True)
        masks = {path.name: path for folder in _mask_folders(data.root) for path in folder.iterdir()}
        for table in tables:
            where = f"{table.name}: " if len(tables) > 1 else ""
            for row in rows_of(table, self.columns):
                name, image_id, label = row["new_filename"], row["ImageId"], label_of(row["has_pneumo"])
                if not IMAGE_ID.fullmatch(image_id) or not name:
                    yield Entry(row.line, "", NOTHING, fault=f"{where}ImageId or new_filename is missing or no id")
                    continue
                fault = "" if label else f"{where}has_pneumo is neither 1 nor 0"
                yield Entry(row.line, name, Known(image_id=image_id), label, mask=masks.get(name), fault=fault)

    def not_images(self, data: DataSet, files: Mapping[str, Path]) -> set[str]:
        """The masks."""
        del data
        return {path for path in files if _MASKS in path.split("/")}


def _mask_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"data.root = {root}: no such folder; give the folder that holds png_images and {_MASKS}")
    return [folder for folder in (root / _MASKS, *sorted(root.glob(f"*/{_MASKS}"))) if folder.is_dir()]


SOURCES.register("siim_png", SiimPng())
