"""Tiny folders in the published layouts, written here, and what a source makes of a folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pandas as pd

from pneumoseg.config import Params
from pneumoseg.config.data import DataParams
from pneumoseg.extract import extraction
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.shared.files import read_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, REJECTED, read_table

SIDE = 40


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> Path:
    """By its suffix: PNG or JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@dataclass(frozen=True)
class Read:
    """The tables after extract and masks, by image id."""

    layout: Layout
    metadata: pd.DataFrame
    annotations: pd.DataFrame
    rejected: pd.DataFrame
    rejected_rows: pd.DataFrame
    extract: Mapping[str, Any]
    masks: Mapping[str, Any]

    def status(self) -> dict[str, str]:
        return dict(self.annotations["status"])


def read_set(folder: Path, name: str, root: Path, annotations: Path | None = None, **data: Any) -> Read:
    """Extract and masks in this process; whatever is refused is told by tables alone."""
    layout = Layout(folder)
    params = Params()
    values = {"format": name, "root": str(root), "annotations": str(annotations or root), **data}
    section = DataParams.model_validate_json(json.dumps(values))
    with_limits = {"max_rejected_fraction": 1.0}
    # In this process: a worker of its own takes seconds to start.
    with mock.patch.object(extraction, "run_all", lambda work, items, *_: [work(item) for item in items]):
        extraction.extract(layout, section, params.extract.model_copy(update=with_limits), 1)
    write_masks(layout, section, params.masks.model_copy(update=with_limits), 0)
    return Read(
        layout,
        read_table(layout.metadata, METADATA).set_index("image_id"),
        read_table(layout.annotations, ANNOTATIONS).set_index("image_id"),
        read_table(layout.rejected, REJECTED),
        pd.read_csv(layout.rejected_annotations, keep_default_na=False),
        read_json(layout.extract_counts),
        read_json(layout.masks_counts),
    )


def square(side: int = SIDE, at: int = 5, size: int = 10, value: int = 255) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[at : at + size, at : at + size] = value
    return mask


def write_masked_folder(root: Path, count: int = 4) -> Path:
    """images/<n>.png, masks/<n>.png of every second, and a table; gives the table."""
    rows = ["file,label,mask,patient"]
    for number in range(count):
        write_png(root / f"images/{number}.png", picture(number))
        if number % 2 == 0:
            write_png(root / f"masks/{number}.png", square())
        rows.append(f"images/{number}.png,{int(number % 2 == 0)},{f'masks/{number}.png' * (number % 2 == 0)},p{number}")
    return write_text(root / "table.csv", "\n".join(rows) + "\n")
