"""What one fold is trained and validated on, read from the files of a split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoseg.config.train import TrainParams
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, digest_files
from pneumoseg.shared.tables import FOLDS, MANIFEST, UNLABELLED, read_table
from pneumoseg.train.pseudo_labels import PseudoLabels, load_pseudo_labels


@dataclass(frozen=True)
class FoldData:
    """The training pool and the validation images of a fold, and the digest of all files that they stand for.

    ``manifest`` includes the images that pseudo-labels add; ``unlabelled_ids`` are for the mean teacher, none without.
    """

    fold: int
    images: Path
    masks: Path
    manifest: pd.DataFrame
    validation_ids: tuple[str, ...]
    unlabelled_ids: tuple[str, ...]
    pseudo: PseudoLabels
    digest: str

    @property
    def image_ids(self) -> list[str]:
        """Every image of the fold once, sorted."""
        return sorted({*self.manifest["image_id"], *self.validation_ids, *self.unlabelled_ids})


def load_fold(
    splits: Path, images: Path, masks: Path, fold: int, weights: Path | None, params: TrainParams
) -> FoldData:
    """Read what fold ``fold`` is trained and validated on; ``weights`` counts in its digest where it is a file.

    Raises:
        DataError: there is no training image with pneumothorax, no validation image, no image without annotation where
            a mean teacher needs some, or a file is missing.
    """
    manifest_path = splits / f"train_fold{fold}.csv"
    manifest = read_table(manifest_path, MANIFEST)
    folds = read_table(splits / "folds.csv", FOLDS)
    validation_ids = tuple(sorted(folds.loc[folds["fold"] == str(fold), "image_id"]))
    if not (manifest["pneumothorax"] == 1).any():
        raise DataError(f"{manifest_path}: no image with pneumothorax to learn from; lower split.folds or add images")
    if not validation_ids:
        raise DataError(f"{splits / 'folds.csv'}: no image in fold {fold}; lower split.folds or add images")
    free = tuple(read_table(splits / f"unlabelled_fold{fold}.csv", UNLABELLED)["image_id"])
    teaching = free if params.mean_teacher.images_per_step else ()
    if params.mean_teacher.images_per_step and not free:
        raise DataError(
            f"{splits / f'unlabelled_fold{fold}.csv'}: no image without annotation for the mean teacher; put some into "
            "data.root, or set train.mean_teacher.images_per_step to 0"
        )
    pseudo = load_pseudo_labels(params.pseudo_labels, fold, free)
    if len(pseudo.rows):
        manifest = pd.concat([manifest, pseudo.rows], ignore_index=True).astype(manifest.dtypes.to_dict())
    ids = sorted({*manifest["image_id"], *validation_ids, *teaching})
    digest = digest_bytes(
        _digest_images(ids, images, masks).encode(),
        digest_files([manifest_path, splits / "folds.csv"], splits).encode(),
        (digest_files([weights], weights.parent) if weights is not None and weights.is_file() else "").encode(),
        pseudo.digest.encode(),
    )
    return FoldData(fold, images, masks, manifest, validation_ids, teaching, pseudo, digest)


def _digest_images(ids: list[str], images: Path, masks: Path) -> str:
    paths = [images / f"{image_id}.png" for image_id in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: not there ({len(missing)} images missing); run dvc repro extract")
    paths += [path for path in (masks / f"{image_id}.png" for image_id in ids) if path.is_file()]
    return digest_files(paths, Path(os.path.commonpath([images.parent, masks.parent])))
