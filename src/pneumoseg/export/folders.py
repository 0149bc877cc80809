"""Plain folders of PNG files and a table: what data.format folder reads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoseg.export.samples import Sample
from pneumoseg.shared.files import write_png
from pneumoseg.shared.tables import Columns, write_table

TABLE: Columns = {"image": "text", "label": "integer", "mask": "text", "patient": "text", "fold": "text"}


def write_folders(folder: Path, samples: Sequence[Sample], folds: Sequence[str]) -> None:
    """Write images/, masks/ (0 and 255, also the empty ones) and table.csv; of a label alone there is no mask."""
    del folds
    rows = []
    (folder / "images").mkdir(parents=True)
    for sample in samples:
        image, mask = f"images/{sample.image_id}.png", f"masks/{sample.image_id}.png"
        shutil.copyfile(sample.image, folder / image)
        if sample.known:
            write_png(folder / mask, sample.picture_mask().view(np.uint8) * np.uint8(255))
        row = (image, int(sample.positive), mask if sample.known else "", sample.patient, sample.fold)
        rows.append(dict(zip(TABLE, row, strict=True)))
    write_table(folder / "table.csv", pd.DataFrame(rows), TABLE)
