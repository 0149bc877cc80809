"""The manifest's augmented images as files, for inspection and for tools that want a folder; training reads none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import AugmentParams
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, fresh_dir, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import available_cores, run_all
from pneumoseg.split.pairs import load_pair

_ManifestRow = tuple[str, str, int, int]  # image_id, augmentation, copy, pneumothorax

_FEW = 64  # rows for which starting processes costs more than it brings


def materialize(
    layout: Layout, fold: int, manifest: pd.DataFrame, augment_params: AugmentParams, seed: int, workers: int | None
) -> None:
    """Write images/<image_id>__<copy>.png and masks/<image_id>__<copy>.png for every row of a manifest.

    The recipe of the row is applied once, at the size of the image's PNG, 8 bit; augment.online is not, since it
    differs by epoch. Masks are 0 and 255, all 0 for negatives; a positive whose mask is not known has none. The draw of
    a row depends on split.seed, image, copy and recipe alone: it is one example, not the draw of any epoch of training.

    Args:
        layout: images and masks are read; both folders lie in splits/materialized/fold<k>, emptied first.
        fold: k.
        manifest: columns of tables.MANIFEST.
        augment_params: section augment.
        seed: split.seed.
        workers: processes; 0 or 1: none but this one, None: one for each core. The files are the same.

    Raises:
        DataError: an image is missing or damaged, or a process died twice on the same one.
    """
    out = fresh_dir(layout.splits / f"materialized/fold{fold}")
    (out / "images").mkdir()
    (out / "masks").mkdir()
    augmenter = Augmenter(augment_params.model_copy(update={"online": None}))
    columns = ("image_id", "augmentation", "copy", "pneumothorax")
    rows = list(zip(*(manifest[name].tolist() for name in columns), strict=True))
    task = _Task(augmenter, layout, out, seed)
    count = min(available_cores() if workers is None else workers, len(rows) // _FEW + 1)
    run_all(task, rows, _crashed, count if count > 1 else 0, "augmented pairs")


def _crashed(row: _ManifestRow) -> None:
    raise DataError(
        f"image {row[0]}: the process that augmented it ({row[1]}) died, twice; is memory short? lower runtime.workers"
    )


class _Task:
    """One row; a class and not a closure, so that it can go to another process."""

    def __init__(self, augmenter: Augmenter, layout: Layout, out: Path, seed: int) -> None:
        self._augmenter, self._layout, self._out, self._seed = augmenter, layout, out, seed

    def __call__(self, row: _ManifestRow) -> None:
        image_id, recipe, copy, positive = row
        image, mask = load_pair(self._layout, image_id, None)
        image, mask = self._augmenter(recipe, image, mask, row_seed(self._seed, image_id, recipe, copy))
        write_png(self._out / "images" / f"{image_id}__{copy}.png", image)
        if not positive or self._layout.mask(image_id).exists():
            write_png(self._out / "masks" / f"{image_id}__{copy}.png", np.where(mask > 127, 255, 0).astype(np.uint8))


def row_seed(seed: int, image_id: str, recipe: str, copy: int) -> int:
    """A seed for one row, whatever the order of rows."""
    return int(digest_bytes(str(seed).encode(), image_id.encode(), recipe.encode(), str(copy).encode())[:16], 16)
