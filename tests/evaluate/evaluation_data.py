"""Made-up predictions for tests of evaluation: blobs as lesions, noisy blobs as maps, in the pipeline's file layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pneumoseg.shared.files import fresh_dir, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, write_table


def ellipse(rng: np.random.Generator, rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
    """A random filled ellipse, (rows, columns) bool."""
    mask = np.zeros((rows, columns), np.uint8)
    center = int(rng.integers(columns // 5, columns * 4 // 5)), int(rng.integers(rows // 5, rows * 4 // 5))
    width, height = rng.integers(2, 12) / 100 * columns * scale, rng.integers(2, 18) / 100 * rows * scale
    cv2.ellipse(mask, center, (int(max(1, width)), int(max(1, height))), float(rng.integers(0, 180)), 0, 360, 1, -1)
    return mask > 0


def made_up_map(rng: np.random.Generator, truth: np.ndarray, skill: float) -> np.ndarray:
    """A uint8 map: a blurred, damped copy of the truth and a false blob."""
    rows, columns = truth.shape
    false_blob = ellipse(rng, rows, columns, 0.4) * rng.uniform(0, 0.75 - 0.3 * skill)
    values = truth * rng.uniform(0.4 * skill, 1.0) + false_blob
    blurred = cv2.GaussianBlur(values.astype(np.float32), (0, 0), columns / 60)
    return np.rint(np.clip(blurred, 0, 1) * 255).astype(np.uint8)


def make_project(
    root: Path,
    images: int = 60,
    size: tuple[int, int] = (96, 80),
    prevalence: float = 0.4,
    skill: float = 0.8,
    seed: int = 0,
    phantom: int = 1,
    maps: bool = True,
    masks_known: bool | None = True,
) -> Layout:
    """Write a project: two folds (the first one predicted), a test set, unlabelled images; two images a patient.

    Without ``masks_known`` every second positive image is known by its label alone, with None each.
    """
    project = Layout(root)
    rng = np.random.default_rng(seed)
    rows, columns = size
    fresh_dir(project.masks)
    for name in ("validation", "test", "unlabelled"):
        fresh_dir(project.predictions / name)
    tables: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("metadata", "annotations", "folds", "predicted")
    }
    for index in range(images):
        image_id, patient = f"img{index:04d}", f"p{index // 2:04d}"
        fold = ("0", "test", "1", "")[(index // 2) % 4]
        truth = np.zeros(size, np.bool_)
        if fold and rng.random() < prevalence:
            for _ in range(int(rng.integers(1, 3))):
                truth |= ellipse(rng, rows, columns)
        known_mask = masks_known or (masks_known is False and index % 2 == 0) or not truth.any()
        if truth.any() and known_mask:
            write_png(project.masks / f"{image_id}.png", truth.astype(np.uint8) * 255)
        levels = made_up_map(rng, truth, skill)
        known = index % 5 > 0  # spacing
        tables["metadata"].append(
            {
                "image_id": image_id,
                "patient_id": patient,
                "sex": "MF"[index % 2],
                "age_years": float(rng.integers(5, 95)) if index % 9 else np.nan,
                "view_position": ("PA", "AP", "")[index % 3],
                "rows": rows,
                "columns": columns,
                "pixel_spacing_row_mm": 0.15 if known else np.nan,
                "pixel_spacing_column_mm": 0.2 if known else np.nan,
                "phantom": phantom,
            }
        )
        tables["annotations"].append(
            {
                "image_id": image_id,
                "annotated": int(bool(fold)),
                "pneumothorax": int(truth.any()) if fold else pd.NA,
                "mask_known": int(known_mask) if fold else pd.NA,
                "area_px": int(truth.sum()),
            }
        )
        if fold:
            tables["folds"].append({"image_id": image_id, "patient": patient, "fold": fold})
        which = {"0": "validation", "test": "test", "": "unlabelled"}.get(fold)
        if which:
            if maps:
                write_png(project.predictions / which / f"{image_id}.png", levels)
            tables["predicted"].append(
                {"image_id": image_id, "set": which, "fold": fold, "probability": round(float(levels.max()) / 255, 6)}
            )
    write_table(project.metadata, pd.DataFrame(tables["metadata"]), METADATA)
    write_table(project.annotations, pd.DataFrame(tables["annotations"]), ANNOTATIONS)
    write_table(project.folds, pd.DataFrame(tables["folds"]), FOLDS)
    write_table(project.predictions / "images.csv", pd.DataFrame(tables["predicted"]), PREDICTED)
    return project


def copy_of(project: Layout, root: Path) -> Layout:
    """A project of the same files that a test may change."""
    shutil.copytree(project.root, root)
    return Layout(root)
