"""Sections and tables that the tests of splits and augmentations share."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from pneumoseg.config.augment import AugmentParams
from pneumoseg.config.split import SplitParams
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, write_table

CONTENT = YAML(typ="safe").load(Path(__file__).resolve().parents[2] / "params.yaml")


def augment_params(**changes) -> AugmentParams:
    return AugmentParams.model_validate_json(json.dumps({**CONTENT["augment"], "online": None, **changes}))


def split_params(**changes) -> SplitParams:
    given = {"test_fraction": None} if changes.get("test_list") else {}
    return SplitParams.model_validate_json(json.dumps({**CONTENT["split"], "folds": 3, **given, **changes}))


def random_images(count: int, positives: int, patients: int, seed: int) -> pd.DataFrame:
    """Annotated images as make_folds takes them; the first ``positives`` patients have a positive image each."""
    numbers = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(patients), numbers.integers(patients, size=count - patients)])
    label = np.zeros(count, int)
    label[:positives] = 1
    return pd.DataFrame(
        {
            "image_id": [f"i{number:05}" for number in numbers.permutation(count)],
            "patient": [f"p{number}" for number in owner],
            "pneumothorax": label,
            "area_fraction": np.where(label, numbers.random(count) * 0.1, 0),
            "area_px": np.where(label, numbers.integers(50, 9000, count), np.nan),
            "view_position": numbers.choice(["AP", "PA", "LL", ""], count, p=[0.45, 0.45, 0.05, 0.05]),
        }
    )


def blob(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse in an image, (H, W) uint8 with levels 70 and 190, and the same ellipse as its mask, 0 and 255."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows - 0.45 * height) / (0.22 * height)) ** 2 + ((columns - 0.4 * width) / (0.16 * width)) ** 2 < 1
    return np.where(inside, 190, 70).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def write_dataset(folder: Path, side_px: int = 48, shuffle: int | None = None, phantom: int = 1) -> Layout:
    """A data folder: 30 annotated images of 24 patients, 10 positive, and 2 unannotated ones."""
    layout, numbers = Layout(folder), np.random.default_rng(5)
    metadata, annotations = [], []
    for index in range(32):
        image_id = f"img.{index:02}"
        image, mask = blob(side_px, side_px)
        image = np.clip(image + numbers.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
        write_png(layout.images / f"{image_id}.png", image)
        patient = f"p{index if index < 24 else index - 24}"
        view = "AP" if index % 3 else "PA"
        metadata.append({"image_id": image_id, "patient_id": patient, "view_position": view, "phantom": phantom})
        row = {"image_id": image_id, "annotated": int(index < 30)}
        if index < 30:
            row |= {"pneumothorax": int(index < 10), "area_px": 0, "area_fraction": 0.0}
        if index < 10:
            row |= {"area_px": 100 + index, "area_fraction": (100 + index) / side_px**2}
            write_png(layout.masks / f"{image_id}.png", mask)
        annotations.append(row)
    order = np.arange(32) if shuffle is None else np.random.default_rng(shuffle).permutation(32)
    write_table(layout.metadata, pd.DataFrame(metadata).iloc[order], METADATA)
    write_table(layout.annotations, pd.DataFrame(annotations).iloc[order[::-1]], ANNOTATIONS)
    return layout
