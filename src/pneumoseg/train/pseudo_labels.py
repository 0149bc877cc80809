"""Pseudo-labels: probability maps of an earlier model as masks of images without annotation (Lee, ICML workshop 2013).

Only images about which that model was sure join the training pool; where there are weak labels (of a report, say), only
those of which the label says the same: judged by the masks of SIIM-ACR, 42 of 100 images that text mining calls
positive in NIH ChestX-ray14 are not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from pneumoseg.shared.tables import MANIFEST, Columns, read_table

logger = logging.getLogger(__name__)

#: Of train.pseudo_labels.weak_labels; label: 1, 0, or -1 or empty where it is not known.
WEAK_LABELS: Columns = {"image_id": "text", "label": "integer"}
#: Why an image with a map stays out: the map is neither surely positive nor surely negative; there is no weak label; or
#: it says the contrary.
RULES = ("unsure", "no_weak_label", "map_positive_label_negative", "map_negative_label_positive")


@dataclass(frozen=True)
class PseudoLabels:
    """Images that join the pool, and where their masks come from.

    Attributes:
        rows: to add to the manifest: image_id, pneumothorax, augmentation none, copy 0.
        maps: of the positives, by image id.
        threshold: above which a pixel is lesion; None: the map itself is the soft mask.
        dropped: how many images with a map each of RULES keeps out; without weak labels the first alone.
        digest: of the maps and labels used and of how they are read; empty without any.
    """

    rows: pd.DataFrame
    maps: dict[str, Path]
    threshold: float | None
    dropped: Mapping[str, int]
    digest: str

    def mask(self, image_id: str) -> NDArray[np.uint8]:
        """The mask of a positive, (rows, columns) uint8, 0 to 255."""
        levels: NDArray[np.uint8] = read_png(self.maps[image_id])
        if self.threshold is None:
            return levels
        return np.where(levels > level_of(self.threshold), 255, 0).astype(np.uint8)


def no_pseudo_labels() -> PseudoLabels:
    """Nothing joins the pool."""
    return PseudoLabels(pd.DataFrame(columns=list(MANIFEST)), {}, None, {}, "")


def load_pseudo_labels(params: PseudoLabelParams, fold: int, image_ids: Sequence[str]) -> PseudoLabels:
    """Choose the images of a folder of maps about which their model was sure.

    Args:
        params: section train.pseudo_labels.
        fold: the fold that is left out; stands for ``{fold}`` in the folder's name.
        image_ids: images without annotation that this fold may learn from; maps of others are left out.

    Raises:
        ParameterError: the folder is not there, or its name has another field than {fold}.
        DataError: no map belongs to one of the images, no image is sure, or a map or the weak labels are damaged.
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
    weak = None if params.weak_labels is None else _weak_labels(Path(params.weak_labels), usable)
    said = {image_id: _label(read_png(paths[image_id]), params) for image_id in usable}
    reasons = {image_id: _reason(label, image_id, weak) for image_id, label in said.items()}
    dropped = {
        rule: count for rule, count in _counted(reasons.values()).items() if weak is not None or rule == "unsure"
    }
    sure = {image_id: label for image_id, label in said.items() if not reasons[image_id]}
    told = ", ".join(f"{count} {rule}" for rule, count in dropped.items())
    if not sure:
        raise DataError(
            f"{folder}: no map is sure{'' if weak is None else ' and of the same opinion as its weak label'} ({told}); "
            "lower train.pseudo_labels.positive_above or raise negative_below"
        )
    positives = [image_id for image_id, label in sure.items() if label]
    logger.info("pseudo-labels: %d positive, %d negative; left out: %s, %d of other images", len(positives),
                len(sure) - len(positives), told, len(paths) - len(usable))  # fmt: skip
    rows = pd.DataFrame([(image_id, int(bool(label)), NONE, 0) for image_id, label in sure.items()],
                        columns=list(MANIFEST))  # fmt: skip
    digest = digest_bytes(
        digest_files([paths[image_id] for image_id in sure], folder).encode(), params.model_dump_json().encode()
    )
    threshold = params.threshold if params.targets == "hard" else None
    return PseudoLabels(rows, {image_id: paths[image_id] for image_id in positives}, threshold, dropped, digest)


def _weak_labels(path: Path, image_ids: Iterable[str]) -> dict[str, bool]:
    """The label of each image of the table that has one.

    Raises:
        DataError: the table is missing or no such table, says two things of an image, or nothing of the images.
    """
    table = read_table(path, WEAK_LABELS)
    wrong = table.loc[~table["label"].isin([-1, 0, 1]) & table["label"].notna()]
    if len(wrong):
        first = wrong.iloc[0]
        raise DataError(f"{path}: {first['image_id']} has label {first['label']}; give 1, 0, or -1 (not known)")
    table = table[table["label"].isin([0, 1])].drop_duplicates(["image_id", "label"])
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} has label 0 and 1; keep one, or give -1 (not known)")
    labels = dict(zip(table["image_id"], table["label"] == 1, strict=True))
    if labels.keys().isdisjoint(image_ids):
        raise DataError(f"{path}: train.pseudo_labels.weak_labels has no label of an image with a map; correct the ids")
    return labels


def _reason(label: bool | None, image_id: str, weak: Mapping[str, bool] | None) -> str:
    """Of RULES why an image stays out; empty where it joins."""
    if label is None:
        return "unsure"
    if weak is None or weak.get(image_id) == label:
        return ""
    if image_id not in weak:
        return "no_weak_label"
    return "map_positive_label_negative" if label else "map_negative_label_positive"


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    counts = Counter(reasons)
    return {rule: counts[rule] for rule in RULES}


def _label(levels: NDArray[np.uint8], params: PseudoLabelParams) -> bool | None:
    """Positive, negative, or None where the map is not sure."""
    marked = np.count_nonzero(levels > level_of(params.positive_above))
    if reaches_area(marked, params.min_area_px_at_1024, levels.size):
        return True
    return None if (levels > level_of(params.negative_below)).any() else False
