"""Made-up files of all earlier stages, for tests of the report: small fake radiographs, masks and probability maps.

What tune and evaluate would write is written by them, so that the report is tested on their real files.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config import Params, load_params
from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.config.report import ReportParams
from pneumoseg.config.tune import TuneParams
from pneumoseg.drawing.plotting import new_figure, save
from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.report.report_folder import build_report
from pneumoseg.shared.files import write_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, REJECTED, write_table
from pneumoseg.tune.tuning import tune

SIZE_PX = 192
HOSTILE = "<script>alert('x')</script>\"&"

#: name, set, has pneumothorax, kind of prediction
_KINDS = ("exact", "shifted", "small", "none")


def make_inputs(
    folder: Path,
    repository: Path,
    *,
    phantom: int = 1,
    positives: bool = True,
    known: bool = True,
    maps: bool = True,
    without_mask: int = 0,
) -> Path:
    """Fill ``folder`` with the files of all stages before the report.

    Args:
        folder: an empty one.
        repository: gives params.yaml and requirements.lock.
        phantom: whether the images count as phantoms.
        positives: whether the test set has a pneumothorax.
        known: whether sex, age, view and pixel spacing are known.
        maps: whether the networks give probability maps.
        without_mask: so many test images with pneumothorax have a label without a mask.
    """
    for name in ("params.yaml", "requirements.lock"):
        shutil.copy(repository / name, folder / name)
    layout = Layout(folder)
    images = _images(positives)
    rng = np.random.default_rng(7)
    for index, image in enumerate(images):
        image["mask_known"] = not (image["set"] == "test" and index < without_mask)
        _draw(layout.data, image, index, rng, maps)
    _tables(layout.data, images, phantom, known)
    _figures(layout.metrics, images)
    _training(layout.data, layout.metrics)
    tune(layout, TuneParams(kinds=("single",), mask_thresholds=(0.3, 0.5, 0.7), gate_probabilities=(0.4, 0.6)), 1)
    evaluate(layout, EvaluateParams(bootstrap_replicates=200, permutations=200), 1)
    save(new_figure("counts", bool(phantom))[0], layout.explore / "counts.png")
    return folder


def small_params(folder: Path, **changes: Any) -> Params:
    """The folder's params.yaml, with few and small pictures."""
    report = ReportParams(cases_per_gallery=2, unlabelled_cases=2, overlay_size_px=96)
    return load_params(folder / "params.yaml").model_copy(update={"report": report.model_copy(update=changes)})


def report(folder: Path, **changes: Any) -> str:
    """Build the report of a folder; gives the page."""
    build_report(Layout(folder), small_params(folder, **changes))
    return (folder / "data/report/index.html").read_text()


def _images(positives: bool) -> list[dict[str, Any]]:
    """Twelve test, eight validation and three unlabelled images."""
    found = []
    for index in range(12):
        positive = positives and index < 7
        kind = _KINDS[index % 4] if positive else ("none", "false")[index % 2]
        found.append({"id": f"test-{index:02d}", "set": "test", "fold": "test", "positive": positive, "kind": kind})
    for index in range(8):
        positive = index < 4
        kind = _KINDS[index % 3] if positive else "none"
        found.append({"id": f"val-{index:02d}", "set": "validation", "fold": "0", "positive": positive, "kind": kind})
    for index in range(3):
        found.append({"id": f"new-{index:02d}", "set": "unlabelled", "fold": "", "positive": None, "kind": "false"})
    return found


def _disc(row: float, column: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.indices((SIZE_PX, SIZE_PX))
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def _draw(data: Path, image: dict[str, Any], index: int, rng: np.random.Generator, maps: bool) -> None:
    rows, columns = np.indices((SIZE_PX, SIZE_PX))
    grey = np.full((SIZE_PX, SIZE_PX), 150.0)
    for centre in (58, 134):
        grey[((rows - 96) / 70) ** 2 + ((columns - centre) / 32) ** 2 < 1] = 60
    grey += rng.normal(0, 6, grey.shape)
    radius = 6 + 3 * (index % 5)
    truth = _disc(55, 58, radius)
    if image["positive"]:
        grey[truth] -= 30
        if image["mask_known"]:
            write_png(data / f"masks/{image['id']}.png", truth.view(np.uint8) * np.uint8(255))
            image["area_px"] = int(truth.sum())
    marked = {
        "exact": truth,
        "shifted": _disc(60, 62, radius),
        "small": _disc(55, 58, radius * 0.6),
        "none": np.zeros_like(truth),
        "false": _disc(70, 134, 8 + index % 3),
    }[image["kind"]]
    levels = cv2.GaussianBlur(marked.astype(np.float32), (0, 0), 1.5)
    write_png(data / f"images/{image['id']}.png", np.clip(grey, 0, 255).astype(np.uint8))
    probability_map = np.clip(np.rint(levels * 240), 0, 255).astype(np.uint8)
    if maps:
        write_png(data / f"predictions/{image['set']}/{image['id']}.png", probability_map)
    image["probability"] = round(float(probability_map.max()) / 255, 4)


def _tables(data: Path, images: list[dict[str, Any]], phantom: int, known: bool) -> None:
    numbered = list(enumerate(images))
    metadata = [
        {
            "image_id": image["id"], "patient_id": f"p{index // 2:02d}", "sex": "MF"[index % 2] if known else "",
            "age_years": 20 + 5 * index if known else None,
            "view_position": ("PA", "AP")[index % 3 == 0] if known else "", "modality": "CR", "body_part": "CHEST",
            "photometric": "MONOCHROME2", "transfer_syntax": "1.2.840.10008.1.2.1", "bits_stored": 8,
            "rows": SIZE_PX, "columns": SIZE_PX, "pixel_spacing_row_mm": 0.8 if known else None,
            "pixel_spacing_column_mm": 0.8 if known else None, "source": f"{image['id']}.dcm", "phantom": phantom,
            "pixels_sha256": "0" * 32,
        }
        for index, image in numbered
    ]  # fmt: skip
    annotations = [
        {
            "image_id": image["id"], "annotated": int(image["positive"] is not None), "pneumothorax": image["positive"],
            "mask_known": None if image["positive"] is None else int(image["mask_known"]),
            "rle_count": int(bool(image["positive"])), "components": int(bool(image["positive"])),
            "area_px": image.get("area_px", 0), "area_fraction": image.get("area_px", 0) / SIZE_PX**2,
            "mask_sha256": "",
            "status": {True: "positive", False: "negative", None: "unannotated"}[image["positive"]],
        }
        for image in images
    ]  # fmt: skip
    folds = [
        {"image_id": image["id"], "patient": f"p{index // 2:02d}", "fold": image["fold"]}
        for index, image in numbered
        if image["positive"] is not None
    ]
    predicted = [
        {"image_id": image["id"], "set": image["set"], "fold": image["fold"], "probability": image["probability"]}
        for image in images
    ]
    write_png(data / "splits/augmentations.png", np.zeros((40, 60, 3), np.uint8))
    for name, rows, columns in (
        ("metadata.csv", metadata, METADATA),
        ("annotations.csv", annotations, ANNOTATIONS),
        ("splits/folds.csv", folds, FOLDS),
        ("predictions/images.csv", predicted, PREDICTED),
    ):
        frame = pd.DataFrame(rows).sort_values("image_id", ignore_index=True)
        write_table(
            data / name,
            frame.astype({name: "Int64" for name in ("pneumothorax", "mask_known") if name in frame}),
            columns,
        )
    refused = [("a/broken.dcm", "broken", "pixel data are truncated"), (f"b/{HOSTILE}.dcm", HOSTILE, f"no {HOSTILE}")]
    write_table(data / "rejected.csv", pd.DataFrame(refused, columns=list(REJECTED)), REJECTED)
    rows = pd.DataFrame([(17, HOSTILE, "runs past the image")], columns=["line", "image_id", "reason"])
    write_table(data / "rejected_annotations.csv", rows, {"line": "integer", "image_id": "text", "reason": "text"})


def _figures(metrics: Path, images: list[dict[str, Any]]) -> None:
    annotated = [image for image in images if image["positive"] is not None]
    positives = sum(image["positive"] for image in annotated)
    write_json(
        metrics / "extract.json",
        {
            "candidates": len(images) + 2, "extracted": len(images), "rejected": 2, "phantom_images": len(images),
            "patient_hash_key": "public", "rejected_by_reason": {"pixel_data": 2, "frames": 0},
            "flags": {"spacing_unusable": 1, "uniform": 0}, "photometric": {"MONOCHROME2": len(images)},
            "transfer_syntax": {"JPEG Baseline": len(images)},
        },
    )  # fmt: skip
    area = {"min": 100.0, "p5": 110.0, "median": 400.0, "p95": 900.0, "max": 1000.0, "mean": 450.0}
    counts = {
        "images": len(annotated), "positives": positives, "negatives": len(annotated) - positives,
        "prevalence": positives / len(annotated), "several_rows": 1, "overlapping": 0, "area_px": area,
    }  # fmt: skip
    write_json(
        metrics / "masks.json",
        {
            "table": counts, "matched": counts, "phantom_images": len(images), "images": len(images),
            "images_without_row": 3, "table_images_without_image": 0, "rows_without_image": 0, "rejected_rows": 1,
            "rejected_images": 0, "repeated_rows": 0,
        },
    )  # fmt: skip
    part = {"images": 12, "positives": 7, "prevalence": 7 / 12, "patients": 6, "mask_area_median_px": 433.0}
    manifest = {"images": 8, "positives": 4, "copies": 0, "positive_share": 0.5, "label_auc_of_augmentation": 0.5}
    write_json(
        metrics / "split.json",
        {
            "images": 20, "unannotated": 3, "patients": 12, "most_images_of_a_patient": 2, "patient_source": "metadata",
            "parts": {"test": part, "fold0": {**part, "mask_area_median_px": None}},
            "leak": {
                "this_split": {"images": 0.0, "positives": 0.0}, "plain_image_split": {"images": 0.6, "positives": None}
            },
            "manifests": {"fold0": manifest}, "warnings": [f"a warning about {HOSTILE}"],
        },
    )  # fmt: skip


def _training(data: Path, metrics: Path) -> None:
    write_json(
        metrics / "train/fold0.json",
        {
            "fold": 0, "epochs": 12, "best_epoch": 9, "selection_metric": "dice_balanced", "val_dice_all": 0.8,
            "val_dice_pos": 0.7, "val_sensitivity": 1.0, "val_specificity": 0.9, "val_all_empty": 0.5,
            "val_collapsed": 0.0, "val_marked_share": 0.5, "train_loss": 0.2, "val_loss": 0.3,
            "n_manifest": 8, "n_validation": 8,
        },
    )  # fmt: skip
    epochs = np.arange(1, 13)
    rise = 1 - np.exp(-epochs / 4)
    curves = {
        "epoch": epochs, "phase": "main", "size_px": 128, "lr": 1e-4,
        "train_loss": 1 - 0.8 * rise, "val_loss": 1 - 0.7 * rise,
        "val_dice_all": 0.5 + 0.3 * rise, "val_dice_pos": 0.7 * rise, "val_sensitivity": np.minimum(1, 1.2 * rise),
        "val_specificity": 1 - 0.1 * rise,
    }  # fmt: skip
    pd.DataFrame(curves).to_csv(metrics / "train/fold0.csv", index=False)
    write_json(data / "models/fold0/run.json", {"fold": 0, "train_key": "abc123", "data": "0f" * 16})
    spec = {"format": 1, "size_px": 128, "params": {"architecture": "unet", "encoder": "resnet18"}}
    write_json(data / "models/fold0/model.json", spec)


def edit_json(path: Path, **changes: Any) -> None:
    """Change named values of a JSON file."""
    write_json(path, json.loads(path.read_text()) | changes)
