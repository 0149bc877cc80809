"""From pictures that are no DICOM to the report: labels alone in NIH's layout, and a folder with masks as PNG files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pneumoseg.config import load_params
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.phantom import generate
from pneumoseg.shared.files import read_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, read_table
from tests.pipeline.project import ROOT, TINY, Project, make_project

pytestmark = [pytest.mark.pipeline, pytest.mark.long]

STAGES = ("extract", "masks", "explore", "split", "train", "predict", "tune", "evaluate", "report")
IMAGES = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Phantoms as arrays: image, mask, and what is known of each."""
    layout, params = Layout(tmp_path_factory.mktemp("phantoms")), load_params(ROOT / "params.yaml")
    small = {"images": IMAGES, "size_px": 96, "unannotated_images": 0, "unlabelled_images": 0, "prevalence": 0.4}
    generate(layout, params.phantom.model_copy(update=small), 0)
    extract(layout, params.data, params.extract, 1)
    write_masks(layout, params.data, params.masks, 0)
    rows = read_table(layout.metadata, METADATA).merge(read_table(layout.annotations, ANNOTATIONS), on="image_id")
    rows["image"] = [read_png(layout.images / f"{name}.png") for name in rows["image_id"]]
    files = [layout.masks / f"{name}.png" for name in rows["image_id"]]
    rows["mask"] = [read_png(file) if file.is_file() else np.zeros((96, 96), np.uint8) for file in files]
    return rows


def run(root: Path, values: dict[str, Any]) -> tuple[Project, dict[str, Any], str]:
    """All stages in this process; the figures and the page."""
    project = make_project(root, TINY | values)
    for stage in STAGES:
        code, told = project.stage(stage, *(("--fold", "0") if stage == "train" else ()))
        assert code == 0, f"{stage}: {told}"
    page = (project.root / "data/report/index.html").read_text("utf-8")
    return project, json.loads((project.root / "metrics/test.json").read_text()), page


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def test_labels_alone_in_the_layout_of_nih(pictures: pd.DataFrame, tmp_path: Path) -> None:
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"]
    for number, row in enumerate(pictures.to_dict("records")):
        name = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
        finding = "Pneumothorax|Mass" if row["pneumothorax"] else "No Finding"
        write(tmp_path / f"nih/images_001/images/{name}", cv2.cvtColor(row["image"], cv2.COLOR_GRAY2BGRA))
        lines.append(f"{name},{finding},{number % 2},{number // 2 + 1},{40 + number},F,{row['view_position']}")
    write(tmp_path / "nih/images_001/images/00000900_000.png", pictures["image"][0])  # from the side: in no set at all
    lines.append("00000900_000.png,Pneumothorax,0,900,50,M,LL")
    (tmp_path / "nih/Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    data = {"data.format": "nih", "data.root": str(tmp_path / "nih"), "data.annotations": str(tmp_path / "nih")}
    image_head = {"model.image_head.enabled": True, "train.loss.image.bce": 1.0}
    project, test, page = run(tmp_path / "project", data | image_head)
    assert test["n_mask_known"] == test["n"] - test["n_positive"]
    assert test["n_positive"] > 0
    assert test["dice_pos"] is test["dice_all"] is test["all_empty"] is None
    assert "dice_all" not in json.loads((project.root / "metrics/headline.json").read_text())
    assert "No test image with pneumothorax has a known mask" in page
    assert json.loads((project.root / "metrics/train/fold0.json").read_text())["selection_metric"] == "auc"
    assert 0 <= test["auc"] <= 1
    folds = pd.read_csv(project.root / "data/splits/folds.csv")
    assert (folds.groupby("patient")["fold"].nunique() == 1).all()
    assert not {"00000900_000"} & set(pd.read_csv(project.root / "data/predictions/images.csv")["image_id"])
    assert "nan" not in page.lower().split()


def test_a_folder_with_masks_as_png_files(pictures: pd.DataFrame, tmp_path: Path) -> None:
    lines = ["image,label,mask,patient,view"]
    for number, row in enumerate(pictures.to_dict("records")):
        suffix = ("jpg", "png")[number % 2]
        write(tmp_path / f"own/images/{number}.{suffix}", row["image"])
        write(tmp_path / f"own/masks/{number}.png", row["mask"])
        lines.append(f"images/{number}.{suffix},{row['pneumothorax']},masks/{number}.png,{number // 2},PA")
    (tmp_path / "own/table.csv").write_text("\n".join(lines) + "\n")
    data = {
        "data.format": "folder",
        "data.root": str(tmp_path / "own"),
        "data.annotations": str(tmp_path / "own/table.csv"),
    }
    project, test, _ = run(tmp_path / "project", data)
    assert test["n_mask_known"] == test["n"]
    assert test["dice_pos"] is not None
    annotations = read_table(project.root / "data/annotations.csv", ANNOTATIONS)
    assert annotations["area_px"].sum() == sum(int((mask > 0).sum()) for mask in pictures["mask"])
    assert list((project.root / "data/report").rglob("*.jp*g"))
