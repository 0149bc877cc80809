"""What one fold is trained and validated on, read from the files of a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoseg.config import Params
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.family import Family
from pneumoseg.networks.weights import weights_path
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, digest_files
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, UNLABELLED, read_table
from pneumoseg.train.pseudo_labels import PseudoLabels, load_pseudo_labels


@dataclass(frozen=True)
class FoldData:
    """The training pool and the validation images of a fold, and the digest of all files that they stand for.

    Attributes:
        layout: of the files.
        fold: the fold that is left out for validation.
        manifest: the training pool, with the images that pseudo-labels add.
        validation_ids: images of the fold.
        unlabelled_ids: for the mean teacher; none without.
        unknown_masks: images labelled positive whose mask is not known.
        pseudo: images that an earlier model labelled.
        digest: of files and labels.
    """

    layout: Layout
    fold: int
    manifest: pd.DataFrame
    validation_ids: tuple[str, ...]
    unlabelled_ids: tuple[str, ...]
    unknown_masks: frozenset[str]
    pseudo: PseudoLabels
    digest: str

    @property
    def image_ids(self) -> list[str]:
        """Every image of the fold once, sorted."""
        return sorted({*self.manifest["image_id"], *self.validation_ids, *self.unlabelled_ids})


def load_fold(layout: Layout, fold: int, params: Params) -> FoldData:
    """Read what fold ``fold`` is trained and validated on; model.weights counts in its digest where it is a file.

    Raises:
        DataError: there is no training image with pneumothorax, no validation image, no image without annotation where
            a mean teacher needs some, no known mask for a network that gives maps only, or a file is missing.
    """
    manifest_path = layout.splits / f"train_fold{fold}.csv"
    manifest = read_table(manifest_path, MANIFEST)
    folds = read_table(layout.folds, FOLDS)
    validation_ids = tuple(sorted(folds.loc[folds["fold"] == str(fold), "image_id"]))
    if not (manifest["pneumothorax"] == 1).any():
        raise DataError(f"{manifest_path}: no image with pneumothorax to learn from; lower split.folds or add images")
    if not validation_ids:
        raise DataError(f"{layout.folds}: no image in fold {fold}; lower split.folds or add images")
    free_path = layout.splits / f"unlabelled_fold{fold}.csv"
    free = tuple(read_table(free_path, UNLABELLED)["image_id"])
    wanted = params.train.mean_teacher.images_per_step
    if wanted and not free:
        raise DataError(
            f"{free_path}: no image without annotation for the mean teacher; put some into data.root, or set "
            "train.mean_teacher.images_per_step to 0"
        )
    pseudo = load_pseudo_labels(params.train.pseudo_labels, fold, free)
    if len(pseudo.rows):
        manifest = pd.concat([manifest, pseudo.rows], ignore_index=True).astype(manifest.dtypes.to_dict())
    ids = {*manifest["image_id"], *validation_ids}
    annotations = read_table(layout.annotations, ANNOTATIONS)
    unknown = ids.intersection(annotations.loc[annotations["mask_known"] == 0, "image_id"])
    _check_learnable(params.model, manifest, unknown, manifest_path)
    teaching = free if wanted else ()
    weights = weights_path(params.model.weights)
    digest = digest_bytes(
        _digest_images(sorted(ids.union(teaching)), layout).encode(),
        digest_files([manifest_path, layout.folds], layout.splits).encode(),
        (digest_files([weights], weights.parent) if weights is not None and weights.is_file() else "").encode(),
        pseudo.digest.encode(),
        repr(sorted(unknown)).encode(),
    )
    return FoldData(layout, fold, manifest, validation_ids, teaching, frozenset(unknown), pseudo, digest)


def _check_learnable(model: ModelParams, manifest: pd.DataFrame, unknown: set[str], path: Path) -> None:
    """Refuse what would learn to call every image empty: maps alone, from negatives and masks that are not known."""
    family: Family = FAMILIES[model.architecture]
    if not family.gives_map or family.gives_image(model):
        return
    if unknown.issuperset(manifest.loc[manifest["pneumothorax"] == 1, "image_id"]):
        raise DataError(
            f"{path}: no image with pneumothorax has a known mask, and without one a map learns to be empty; set "
            f"model.image_head.enabled to true, which learns from the labels, take another model.architecture than "
            f"{model.architecture}, or add masks"
        )


def _digest_images(ids: list[str], layout: Layout) -> str:
    paths = [layout.images / f"{image_id}.png" for image_id in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: not there ({len(missing)} images missing); run dvc repro extract")
    paths += [path for path in (layout.masks / f"{image_id}.png" for image_id in ids) if path.is_file()]
    return digest_files(paths, layout.data)
