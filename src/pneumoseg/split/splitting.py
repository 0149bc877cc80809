"""The stage split: from tables of images and annotations to folds, manifests, their figures and a contact sheet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pneumoseg.config.augment import AugmentParams
from pneumoseg.config.split import SplitParams
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.leftovers import remove_stale_folds
from pneumoseg.shared.tables import (
    ANNOTATIONS,
    FOLDS,
    MANIFEST,
    METADATA,
    UNLABELLED,
    Columns,
    laterals,
    read_table,
    write_table,
)
from pneumoseg.split.contact_sheet import choose_example, write_contact_sheet
from pneumoseg.split.folds import EXCLUDED, TEST, make_folds, read_test_list
from pneumoseg.split.manifest import training_manifest
from pneumoseg.split.materialized import materialize
from pneumoseg.split.more_sets import find_more
from pneumoseg.split.patients import Patients, find_patients
from pneumoseg.split.split_figures import (
    area_px,
    count_patients,
    describe_manifest,
    describe_parts,
    find_warnings,
    leak,
)

EXCLUDED_TABLE: Columns = {"image_id": "text", "patient": "text", "reason": "text"}

logger = logging.getLogger(__name__)


def split(
    layout: Layout,
    params: SplitParams,
    augment_params: AugmentParams,
    workers: int | None,
    more: Sequence[str] = (),
) -> None:
    """Divide the annotated images and write folds.csv, excluded.csv, train_fold<k>.csv and augmentations.png.

    Beside each manifest, unlabelled_fold<k>.csv lists the images without annotation that a network of this fold may
    learn from. Models and curves of folds that are no longer trained are removed. Images of data.more are in manifests
    alone, under the name <set>/<image id>.

    Args:
        layout: images, masks, metadata and annotations are read; splits and split_counts are written.
        params: section split.
        augment_params: section augment.
        workers: processes that write materialised pairs; changes no file.
        more: names of data.more.

    Raises:
        DataError: a table is missing or contradicts another, or too few patients for so many folds.
    """
    table, patients = load_images(layout, params)
    sideways = laterals(read_table(layout.annotations, ANNOTATIONS))
    frontal = {image: patient for image, patient in patients.of_image.items() if image not in sideways}
    known = patients.of_image.keys()
    listed = None
    if params.test_list is not None:
        listed = read_test_list(layout.root / params.test_list, set(table["image_id"]), set(known))
    table["fold"] = make_folds(table, params, listed)
    by_image = make_folds(table.assign(patient=table["image_id"]), params, listed)
    beside = find_more(layout, more, patients.of_image, _map_path(layout, params)) if more else None
    pools = {fold: _pool(table, fold) for fold in range(params.folds)}
    if beside is not None:
        pools = {fold: pd.concat([pool, beside.pool(table, fold)]) for fold, pool in pools.items()}
    manifests = {fold: training_manifest(pool, params, fold) for fold, pool in pools.items()}
    warnings = find_warnings(table, patients, manifests, params)
    warnings += [] if beside is None else beside.warnings(table, params.folds)
    for warning in warnings:
        logger.warning("warning: %s", warning)

    out = fresh_dir(layout.splits)
    remove_stale_folds(layout, params.train_folds)
    inside = table["fold"] != EXCLUDED
    told = table[~table["image_id"].isin(patients.unknown)]  # of the others nobody knows what they share
    write_table(out / "folds.csv", table.loc[inside, list(FOLDS)], FOLDS)
    excluded = table.loc[~inside, ["image_id", "patient"]].assign(reason="patient is in split.test_list")
    write_table(out / "excluded.csv", excluded, EXCLUDED_TABLE)
    for fold, manifest in manifests.items():
        write_table(out / f"train_fold{fold}.csv", manifest, MANIFEST)
        write_table(out / f"unlabelled_fold{fold}.csv", unlabelled_pool(frontal, table, fold), UNLABELLED)
    _write_pictures(layout, table, manifests, params, augment_params, workers)
    content = {
        "images": len(table),
        "positives": int(table["pneumothorax"].sum()),
        "prevalence": float(table["pneumothorax"].mean()),
        "label_only": int(table["mask_known"].eq(0).sum()),
        "unannotated": len(known) - len(table),
        "excluded": int((~inside).sum()),
        "phantoms": int(table["phantom"].eq(1).sum()),
        **count_patients(table),
        "patient_source": "metadata" if params.patient_map is None else "split.patient_map",
        "patient_map_sha256": patients.map_sha256,
        "patient_map_rows_unused": patients.map_rows_unused,
        "images_without_patient": len(patients.unknown),
        "parts": describe_parts(table),
        "leak": {"this_split": leak(told, told["fold"]), "plain_image_split": leak(told, by_image[told.index])},
        "manifests": {f"fold{fold}": describe_manifest(manifest) for fold, manifest in manifests.items()},
        **({} if beside is None else {"more": beside.describe(table, params.folds)}),
        "warnings": warnings,
    }
    write_json(layout.split_counts, content)


def _map_path(layout: Layout, params: SplitParams) -> Path | None:
    return None if params.patient_map is None else layout.root / params.patient_map


def load_images(layout: Layout, params: SplitParams) -> tuple[pd.DataFrame, Patients]:
    """The annotated images, sorted by id, with patient, label, area and view; and where the patients are known from.

    Raises:
        DataError: an id stands twice, an annotation has no image, or nothing is annotated.
    """
    described, labelled = read_table(layout.metadata, METADATA), read_table(layout.annotations, ANNOTATIONS)
    for path, frame in ((layout.metadata, described), (layout.annotations, labelled)):
        twice = frame.loc[frame["image_id"].duplicated(), "image_id"]
        if len(twice):
            raise DataError(f"{path}: image {twice.iloc[0]} has two rows; run the stage that writes it (dvc repro)")
    lost = sorted(set(labelled["image_id"]) - set(described["image_id"]))
    if lost:
        raise DataError(f"{layout.annotations}: image {lost[0]} is not in {layout.metadata}; run dvc repro masks")
    labelled = labelled[labelled["annotated"] == 1]
    if labelled.empty or labelled["pneumothorax"].isna().any():
        raise DataError(f"{layout.annotations}: no annotated image, or one without a label; check data.annotations")
    columns = ["image_id", "study_id", "sex", "age_years", "view_position", "phantom"]
    table = labelled.merge(described[columns], on="image_id")
    patients = find_patients(described, _map_path(layout, params), set(table["image_id"]))
    table = table.sort_values("image_id", ignore_index=True)
    table["patient"] = table["image_id"].map(patients.of_image)
    table["pneumothorax"] = table["pneumothorax"].astype("int64")
    return table.assign(area_px=area_px(table)), patients


def unlabelled_pool(everybody: Mapping[str, str], table: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Images without annotation, but none of a patient whose images judge this fold or test it.

    Args:
        everybody: the patient of every image of data/metadata.csv, those from the side left out.
        table: the annotated images with their fold.
        fold: the fold that is left out.

    Returns:
        image_id, sorted.
    """
    judged = {everybody[image] for image in table.loc[table["fold"].isin([TEST, str(fold)]), "image_id"]}
    free = everybody.keys() - set(table["image_id"])
    return pd.DataFrame({"image_id": sorted(image for image in free if everybody[image] not in judged)}, dtype="str")


def _pool(table: pd.DataFrame, fold: int) -> pd.DataFrame:
    return table[~table["fold"].isin([TEST, EXCLUDED, str(fold)])]


def _write_pictures(
    layout: Layout,
    table: pd.DataFrame,
    manifests: dict[int, pd.DataFrame],
    params: SplitParams,
    augment_params: AugmentParams,
    workers: int | None,
) -> None:
    example = choose_example(_pool(table, params.train_folds[0]))
    phantom = bool(table.set_index("image_id")["phantom"].eq(1)[example])
    write_contact_sheet(layout, example, augment_params, params.seed, phantom)
    if not params.materialize:
        return
    for fold in params.train_folds:
        materialize(layout, fold, manifests[fold], augment_params, params.seed, workers)
