"""metrics/split.json: the parts, what leaks between them, and what the manifests hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.split import SplitParams
from pneumoseg.split.folds import EXCLUDED, TEST
from pneumoseg.split.manifest import label_given_away
from pneumoseg.split.patients import Patients, doubtful_patients


def describe_parts(images: pd.DataFrame) -> dict[str, Any]:
    """Size, labels and patients of the test set and of each fold; area is that of positives' masks.

    Args:
        images: with columns fold, patient, pneumothorax, area_px.
    """
    found = {}
    folds = set(images["fold"]) - {EXCLUDED}
    for name in sorted(folds, key=lambda fold: (fold != TEST, len(fold), fold)):
        part = images[images["fold"] == name]
        positives = part[part["pneumothorax"] == 1]
        found[name if name == TEST else f"fold{name}"] = {
            "images": len(part),
            "positives": len(positives),
            "prevalence": len(positives) / len(part),
            "patients": part["patient"].nunique(),
            "mask_area_median_px": positives["area_px"].median(),
        }
    return found


def leak(images: pd.DataFrame, fold: pd.Series[str]) -> dict[str, float]:
    """Shares of images, and of positives, whose patient also has images in another part (fold or test set).

    NaN where there is no such image.

    Args:
        images: whose patient is known, with columns patient and pneumothorax.
        fold: the part of each image; images of no part are left out.
    """
    inside = images.assign(fold=fold)[fold != EXCLUDED]
    shared = inside.groupby("patient")["fold"].transform("nunique") > 1
    return {"images": float(shared.mean()), "positives": float(shared[inside["pneumothorax"] == 1].mean())}


def describe_manifest(manifest: pd.DataFrame) -> dict[str, Any]:
    """Label shares of a manifest before (copy 0) and after balancing, and its augmentations for each label."""
    positive = manifest["pneumothorax"] == 1
    originals = manifest["copy"] == 0
    information, area = label_given_away(manifest)
    shares = {
        label: manifest.loc[chosen, "augmentation"].value_counts(normalize=True)
        for label, chosen in (("positives", positive), ("negatives", ~positive))
    }
    return {
        "images": int(originals.sum()),
        "positives": int((originals & positive).sum()),
        "negatives": int((~positive).sum()),
        "copies": int((~originals).sum()),
        "prevalence": float(positive[originals].mean()),
        "positive_share": float(positive.mean()),
        "label_information_of_augmentation_bits": information,
        "label_auc_of_augmentation": area,
        # A list, which dvc metrics show passes over: it would fill the table.
        "augmentations": [
            {"name": name, **{label: float(share.get(name, 0.0)) for label, share in shares.items()}}
            for name in sorted(set(manifest["augmentation"]))
        ],
    }


def find_warnings(
    images: pd.DataFrame, patients: Patients, manifests: dict[int, pd.DataFrame], params: SplitParams
) -> list[str]:
    """What a person should know before trusting the split."""
    found = []
    known = images.loc[~images["image_id"].isin(patients.unknown), "patient"]
    if len(known) and not known.duplicated().any():
        remedy = "give split.patient_map" if params.patient_map is None else "check split.patient_map"
        found.append(
            f"every patient has one image, so that grouping by patient protects nothing; if ids are fresh for each "
            f"file, as in the SIIM-ACR data, {remedy}"
        )
    remedy = "give split.patient_map" if params.patient_map is None else "complete split.patient_map"
    if patients.images_of_several:
        found.append(
            f"annotated images whose PatientID stands for several people, with both sexes or ages that one patient "
            f"cannot have: {patients.images_of_several}; their patients count as unknown"
        )
    if patients.unknown:
        found.append(
            f"annotated images without a known patient: {len(patients.unknown)} of {len(images)}; those of one study "
            "stay together, each other one counts as a patient of its own, so that patients in two parts of the split, "
            f"and intervals that are too narrow, cannot be ruled out; {remedy}"
        )
    doubtful = doubtful_patients(images)
    if len(doubtful):
        example = images.loc[images["patient"] == doubtful.index[0], "image_id"].min()
        found.append(
            f"patients with both sexes, ages far apart or very many images: {len(doubtful)}, one with "
            f"{doubtful.iloc[0]} images (such as {example}); each stays one patient, which leaks nothing; if that is a "
            f"placeholder and no patient, {remedy.replace('complete', 'correct')}"
        )
    excluded = int((images["fold"] == EXCLUDED).sum())
    if excluded:
        found.append(
            f"images that share a patient with split.test_list: {excluded}; they belong to no set (excluded.csv)"
        )
    if params.positive_share is not None:
        # No copies although the share is wanted: positives are more than that already.
        over = [fold for fold, manifest in manifests.items() if not (manifest["copy"] > 0).any()]
        over = [fold for fold in over if manifests[fold]["pneumothorax"].mean() > params.positive_share]
        if over:
            found.append(
                f"positives are more than split.positive_share = {params.positive_share} without copies in the "
                f"manifest of fold {', '.join(map(str, over))}: none were made"
            )
    return found


def count_patients(images: pd.DataFrame) -> dict[str, int]:
    """How many patients there are, the most images of one, and images that share their patient with another image."""
    sizes = images["patient"].value_counts()
    return {
        "patients": len(sizes),
        "most_images_of_a_patient": int(sizes.max()),
        "images_of_shared_patients": int(sizes[sizes > 1].sum()),
    }


def area_px(images: pd.DataFrame) -> pd.Series[float]:
    """Mask areas as plain numbers, NaN where there is none."""
    return images["area_px"].astype("float64").replace(0.0, np.nan)
