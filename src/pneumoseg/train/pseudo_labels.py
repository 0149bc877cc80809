"""Pseudo-labels: probability maps of an earlier model as masks of images without annotation (Lee, ICML workshop 2013).

Only images about which that model was sure join the training pool.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.augment import NONE
from pneumoseg.config.semisupervised import PseudoLabelParams
from pneumoseg.rule.decision import level_of, reaches_area
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import digest_bytes, digest_files, read_png
from pneumoseg.shared.tables import MANIFEST

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabels:
    """Images that join the pool, and where their masks come from.

    Attributes:
        rows: to add to the manifest: image_id, pneumothorax, augmentation none, copy 0.
        maps: of the positives, by image id.
        threshold: above which a pixel is lesion; None: the map itself is the soft mask.
        unsure: images with a map that is neither surely positive nor surely negative.
        digest: of the maps used and of how they are read; empty without any.
    """

    rows: pd.DataFrame
    maps: dict[str, Path]
    threshold: float | None
    unsure: int
    digest: str

    def mask(self, image_id: str) -> NDArray[np.uint8]:
        """The mask of a positive, (rows, columns) uint8, 0 to 255."""
        levels: NDArray[np.uint8] = read_png(self.maps[image_id])
        if self.threshold is None:
            return levels
        return np.where(levels > level_of(self.threshold), 255, 0).astype(np.uint8)


def no_pseudo_labels() -> PseudoLabels:
    """Nothing joins the pool."""
    return PseudoLabels(pd.DataFrame(columns=list(MANIFEST)), {}, None, 0, "")


def load_pseudo_labels(params: PseudoLabelParams, fold: int, image_ids: Sequence[str]) -> PseudoLabels:
    """Choose the images of a folder of maps about which their model was sure.

    Args:
        params: section train.pseudo_labels.
        fold: the fold that is left out; stands for ``{fold}`` in the folder's name.
        image_ids: images without annotation that this fold may learn from; maps of others are left out.

    Raises:
        ParameterError: the folder is not there, or its name has another field than {fold}.
        DataError: no map belongs to one of the images, no image is sure, or a map is damaged.
    """
    if params.folder is None:
        return no_pseudo_labels()
    try:
        folder = Path(params.folder.format(fold=fold))
    except (KeyError, IndexError, ValueError):
        raise ParameterError(
            f"train.pseudo_labels.folder = {params.folder}: the only field that it may hold is {{fold}}"
        ) from None
    if not folder.is_dir():
        raise ParameterError(f"train.pseudo_labels.folder = {params.folder}: {folder} is not a folder")
    paths = {path.stem: path for path in sorted(folder.glob("*.png"))}
    usable = [image_id for image_id in sorted(image_ids) if image_id in paths]
    if not usable:
        raise DataError(
            f"{folder}: none of its {len(paths)} maps belongs to one of the {len(image_ids)} images without annotation "
            f"that fold {fold} may learn from (data/splits/unlabelled_fold{fold}.csv)"
        )
    labels = {image_id: _label(read_png(paths[image_id]), params) for image_id in usable}
    sure = {image_id: label for image_id, label in labels.items() if label is not None}
    if not sure:
        raise DataError(f"{folder}: no map is sure; lower train.pseudo_labels.positive_above or raise negative_below")
    positives = [image_id for image_id, label in sure.items() if label]
    logger.info("pseudo-labels: %d positive, %d negative, %d unsure and %d of other images left out", len(positives),
                len(sure) - len(positives), len(usable) - len(sure), len(paths) - len(usable))  # fmt: skip
    rows = pd.DataFrame([(image_id, int(label), NONE, 0) for image_id, label in sure.items()], columns=list(MANIFEST))
    digest = digest_bytes(
        digest_files([paths[image_id] for image_id in sure], folder).encode(), params.model_dump_json().encode()
    )
    threshold = params.threshold if params.targets == "hard" else None
    return PseudoLabels(
        rows, {image_id: paths[image_id] for image_id in positives}, threshold, len(usable) - len(sure), digest
    )


def _label(levels: NDArray[np.uint8], params: PseudoLabelParams) -> bool | None:
    """Positive, negative, or None where the map is not sure."""
    marked = np.count_nonzero(levels > level_of(params.positive_above))
    if reaches_area(marked, params.min_area_px_at_1024, levels.size):
        return True
    return None if (levels > level_of(params.negative_below)).any() else False
