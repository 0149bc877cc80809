"""Radiographs that are in two sets under other names: by their small pictures, whatever ids and files they have.

NIH ChestX-ray14, for example, holds every SIIM-ACR radiograph under another name and in another file format: neither id
nor pixels are equal, and yet a network trained on SIIM has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.shared.files import read_png
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.tables import Columns

#: similar.csv of an external set: image_id is the set's, other_image_id that of data.root.
SIMILAR: Columns = {"image_id": "text", "other_image_id": "text", "correlation": "number"}

_SIDE_PX = 64
# Among 1,100 real radiographs of SIIM-ACR no two differing ones came above 0.979 (same patient) or 0.958 (other
# patients), and among 336 phantoms none above 0.986; copies of them, encoded as JPEG of quality 30, halved in size or
# stretched in contrast, never came below 0.996.
_SAME_RADIOGRAPH = 0.995
_ROWS = 512  # of the correlation matrix at a time: 512 x 12,000 x 4 bytes = 25 MB


def find_similar(
    images: Path, image_ids: Sequence[str], others: Path, other_ids: Sequence[str], workers: int | None
) -> pd.DataFrame:
    """Find pairs of radiographs that are the same one, perhaps in another size, encoding or contrast.

    Mirrored, inverted, cropped and locally equalised copies are not found.

    Args:
        images: folder of PNG radiographs of a set.
        image_ids: which of them.
        others: folder of PNG radiographs of another set.
        other_ids: which of them.
        workers: threads; None one a core, 0 or 1 one. The result does not depend on it.

    Returns:
        A table of SIMILAR, sorted by both ids.

    Raises:
        DataError: an image is missing or damaged.
    """
    mine, theirs = sorted(image_ids), sorted(other_ids)
    first, second = (
        _pictures([folder / f"{image_id}.png" for image_id in ids], workers)
        for folder, ids in ((images, mine), (others, theirs))
    )
    rows = []
    for start in range(0, len(mine), _ROWS):
        correlation = first[start : start + _ROWS] @ second.T
        for row, column in zip(*np.nonzero(correlation >= _SAME_RADIOGRAPH), strict=True):
            rows.append((mine[start + row], theirs[column], round(float(correlation[row, column]), 4)))
    return pd.DataFrame(rows, columns=list(SIMILAR)).sort_values(["image_id", "other_image_id"], ignore_index=True)


def _pictures(paths: Sequence[Path], workers: int | None) -> NDArray[np.float32]:
    """One row a radiograph: its small picture, (N, 64 x 64) float32, so that a product of rows is their correlation."""
    rows = map_threads(lambda path: picture(read_png(path)), paths, workers, "compare")
    return np.stack(rows) if rows else np.empty((0, _SIDE_PX**2), np.float32)


def picture(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Shrink a radiograph, (H, W) uint8 or uint16, to (64 x 64,) float32 of mean 0 and length 1; uniform: zeros."""
    small = cv2.resize(np.asarray(image, np.float32), (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).ravel()
    centred = small - small.mean(dtype=np.float64)
    length = float(np.linalg.norm(centred))
    return np.asarray(centred / length if length > 1e-3 else np.zeros_like(centred), np.float32)
