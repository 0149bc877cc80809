"""What one fold is trained and validated on, read from the files of a split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from pneumoseg.config import Params
from pneumoseg.networks.family import Family, learns_labels
from pneumoseg.networks.lungs import LungFinder, lung_finder
from pneumoseg.networks.weights import weights_path
from pneumoseg.rule.crop import Box
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, digest_files
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.studies import read_laterals
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, UNLABELLED, read_table
from pneumoseg.train.lung_boxes import find_boxes, tell_boxes
from pneumoseg.train.pseudo_labels import PseudoLabels, load_pseudo_labels

logger = logging.getLogger(__name__)

WHOLE = Box()


@dataclass(frozen=True)
class FoldData:
    """The training pool and the validation images of a fold, and the digest of all files that they stand for.

    Attributes:
        layout: of the files.
        fold: the fold that is left out for validation.
        manifest: the training pool, with the images that pseudo-labels add.
        validation_ids: images of the fold.
        unlabelled_ids: for the mean teacher; none without.
        unknown_masks: labelled images of both whose mask is not known.
        pseudo: images that an earlier model labelled.
        digest: of files and labels.
        lungs: who finds the lungs; None: the whole image is seen.
        boxes: of each image, what of it is seen; none without ``lungs``.
        laterals: the view from the side of each image whose study has one; None: the family takes one image.
    """

    layout: Layout
    fold: int
    manifest: pd.DataFrame
    validation_ids: tuple[str, ...]
    unlabelled_ids: tuple[str, ...]
    unknown_masks: frozenset[str]
    pseudo: PseudoLabels
    digest: str
    laterals: Mapping[str, str] | None = None
    lungs: LungFinder | None = None
    boxes: Mapping[str, Box] = field(default_factory=dict)

    def box(self, image_id: str) -> Box:
        """What of an image is seen."""
        return self.boxes.get(image_id, WHOLE)

    @property
    def image_ids(self) -> list[str]:
        """Every image of the fold once, sorted."""
        views = (self.laterals or {}).values()
        return sorted({*self.manifest["image_id"], *self.validation_ids, *self.unlabelled_ids, *views})

    @cached_property
    def outlined(self) -> bool:
        """Whether masks can be judged on the validation images: not where all of their positives have a label alone."""
        unknown = self.unknown_masks.intersection(self.validation_ids)
        return not unknown or any(self.layout.mask(image_id).is_file() for image_id in self.validation_ids)

    @cached_property
    def label_only(self) -> dict[str, bool]:
        """The label of each image of the training pool whose mask is not known."""
        rows = self.manifest[self.manifest["image_id"].isin(self.unknown_masks)]
        return dict(zip(rows["image_id"], (rows["pneumothorax"] == 1).tolist(), strict=True))


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
    unknown = _unknown_masks(layout, ids)
    manifest = _learnable(params, manifest, unknown, manifest_path)
    teaching = free if wanted else ()
    laterals = _laterals(layout, params, ids, set(manifest["image_id"]))
    weights = weights_path(params.model.weights)
    digest = digest_bytes(
        _digest_images(sorted(ids.union(teaching, (laterals or {}).values())), layout).encode(),
        digest_files([manifest_path, layout.folds], layout.splits).encode(),
        (digest_files([weights], weights.parent) if weights is not None and weights.is_file() else "").encode(),
        pseudo.digest.encode(),
        repr(sorted(unknown)).encode(),
        (repr(sorted(laterals.items())) if laterals else "").encode(),
    )
    fold_data = FoldData(layout, fold, manifest, validation_ids, teaching, frozenset(unknown), pseudo, digest, laterals)
    finder = lung_finder(params.model.lungs)
    if finder is None:
        return fold_data
    boxes = find_boxes(finder, fold_data.image_ids, layout)
    tell_boxes(boxes)
    seen = digest_bytes(digest.encode(), repr(sorted(boxes.items())).encode())
    return replace(fold_data, lungs=finder, boxes=boxes, digest=seen)


def _laterals(layout: Layout, params: Params, ids: set[str], learnt: set[str]) -> dict[str, str] | None:
    """The views from the side of the images of a fold; None where the family takes one image.

    Raises:
        DataError: no study that is learnt from has one.
    """
    if not getattr(FAMILIES[params.model.architecture], "takes_lateral", False):
        return None
    found: dict[str, str] = {}
    for name in {image_id.rpartition("/")[0] for image_id in ids}:
        prefix = f"{name}/" if name else ""
        pairs = read_laterals((layout.more(name) if name else layout).metadata)
        found |= {f"{prefix}{image}": f"{prefix}{lateral}" for image, lateral in pairs.items()}
    found = {image: lateral for image, lateral in found.items() if image in ids}
    if not learnt & found.keys():
        raise DataError(
            f"{layout.metadata}: no study of the training pool has a view from the side, without which "
            f"model.architecture = {params.model.architecture} has nothing to fuse; take classifier, add studies with "
            "both views, or for the phantoms set phantom.lateral_share above 0"
        )
    logger.info(
        "%d of %d images have a view from the side; the others are answered from the front", len(found), len(ids)
    )
    return found


def _unknown_masks(layout: Layout, ids: set[str]) -> set[str]:
    """Those of the ids whose mask is not known, of the main set or of one of data.more."""
    unknown: set[str] = set()
    for name in {image_id.rpartition("/")[0] for image_id in ids}:
        annotations = read_table((layout.more(name) if name else layout).annotations, ANNOTATIONS)
        found = annotations.loc[annotations["mask_known"] == 0, "image_id"]
        unknown.update(f"{name}/{image_id}" if name else image_id for image_id in found)
    return ids & unknown


def _learnable(params: Params, manifest: pd.DataFrame, unknown: set[str], path: Path) -> pd.DataFrame:
    """The rows that can teach: where a network gives maps alone, those whose mask is known.

    Raises:
        DataError: maps alone would be learnt from negatives only, or train.label_only_share has nothing to take.
    """
    model, share = params.model, params.train.label_only_share
    label_only = manifest["image_id"].isin(unknown)
    if share is not None and (not label_only.any() or not (manifest.loc[~label_only, "pneumothorax"] == 1).any()):
        lacking = "no image with pneumothorax has a known mask" if label_only.any() else "every image has a known mask"
        raise DataError(
            f"{path}: {lacking}, but train.label_only_share = {share} mixes those that have one with those that have "
            "a label alone; set it to null, or add what is lacking"
        )
    family: Family = FAMILIES[model.architecture]
    if not label_only.any() or not family.gives_map or learns_labels(family, model):
        return manifest
    with_head = "" if family.gives_image(model) else "set model.image_head.enabled to true, which learns from labels, "
    if unknown.issuperset(manifest.loc[manifest["pneumothorax"] == 1, "image_id"]):
        raise DataError(
            f"{path}: no image with pneumothorax has a known mask, and without one a map learns to be empty; "
            f"{with_head}take another model.architecture than {model.architecture}, or add masks"
        )
    left_out = manifest.loc[label_only, "image_id"].nunique()
    logger.warning("%d images without a known mask teach nothing to a %s without image head and are left out%s",
                   left_out, model.architecture, with_head and "; with one it learns from their labels")  # fmt: skip
    return manifest[~label_only].reset_index(drop=True)


def _digest_images(ids: list[str], layout: Layout) -> str:
    paths = [layout.image(image_id) for image_id in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: not there ({len(missing)} images missing); run dvc repro extract")
    paths += [path for path in map(layout.mask, ids) if path.is_file()]
    return digest_files(paths, layout.data)
