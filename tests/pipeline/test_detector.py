"""A detector from phantoms to the report: its findings are kept and judged by COCO's rule, as an oracle has it."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest

import pneumoseg
from pneumoseg.evaluate.result import TestResult
from pneumoseg.rule.findings import Finding, read_findings
from pneumoseg.shared.files import read_png
from pneumoseg.use.answers import Reading
from tests.pipeline.project import TINY, Project, make_project

pytestmark = [
    pytest.mark.long,
    pytest.mark.pipeline,
    pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"),
]
STAGES = ("phantom", "extract", "masks", "explore", "split", "train", "predict", "tune", "evaluate", "report", "bundle")
DETECTOR = {
    "phantom.prevalence": 0.5,
    "phantom.pneumothorax_median_area": 0.05,
    "model.architecture": "mask_rcnn",
    "model.encoder": "tu-test_resnet",
    "model.encoder_depth": 5,
    "model.decoder_channels": None,
    "model.detector.pyramid_channels": 32,
    "train.lr": 3e-3,
    "train.phases.0.epochs": 12,
    "predict.horizontal_flip": True,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("detector") / "project", TINY | DETECTOR)
    for stage in STAGES:
        code, told = made.stage(stage, *(("--fold", "0") if stage == "train" else ()))
        assert code == 0, f"{stage}: {told}"
    return made


def findings(project: Project) -> dict[str, tuple[list[Finding], np.ndarray]]:
    """Of each test image its findings and its true mask."""
    cases = pd.read_csv(project.root / "metrics/test_cases.csv", dtype={"image_id": str})
    found = {}
    for image_id in cases["image_id"]:
        shape = read_png(project.root / f"data/images/{image_id}.png").shape
        mask = project.root / f"data/masks/{image_id}.png"
        truth = read_png(mask) > 0 if mask.is_file() else np.zeros(shape, bool)
        found[image_id] = (read_findings(project.root / f"data/predictions/test/{image_id}.json", shape), truth)
    return found


def box_iou(one: np.ndarray, other: np.ndarray) -> float:
    width, height = (min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) for axis in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(area) - width * height)


def coco(images: dict[str, tuple[list[Finding], np.ndarray]], threshold: float, boxes: bool) -> float:
    """COCO's evaluation as cocoeval.py does it: match image by image, rank over all, 101 recalls from the right."""
    scored, truths = [], 0
    for ours, mask in images.values():
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        objects = [labels == number for number in range(1, count)]
        frames = [
            np.array([np.nonzero(one.any(0))[0][0], np.nonzero(one.any(1))[0][0],
                      np.nonzero(one.any(0))[0][-1] + 1, np.nonzero(one.any(1))[0][-1] + 1]) for one in objects
        ]  # fmt: skip
        truths += len(objects)
        free = set(range(len(objects)))
        for finding in sorted(ours, key=lambda one: -one.score):
            overlaps = {
                number: box_iou(finding.box, frames[number])
                if boxes
                else (finding.mask & objects[number]).sum() / (finding.mask | objects[number]).sum()
                for number in free
            }
            best = max(overlaps, key=overlaps.__getitem__, default=None)
            hit = best is not None and overlaps[best] >= threshold
            if hit:
                free.remove(best)
            scored.append((finding.score, hit))
    scored.sort(key=lambda one: -one[0])
    hits = np.cumsum([hit for _, hit in scored])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / truths
    for place in range(len(precision) - 1, 0, -1):
        precision[place - 1] = max(precision[place - 1], precision[place])
    places = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-12, side="left")
    return float(np.mean([precision[place] if place < len(precision) else 0.0 for place in places]))


def test_its_precision_is_that_of_coco(project: Project) -> None:
    images = findings(project)
    assert sum(len(ours) for ours, _ in images.values()) > 5
    result = TestResult.read(project.root / "metrics/test.json")
    for prefix, boxes in (("", False), ("box_", True)):
        single = [coco(images, 0.5 + 0.05 * step, boxes) for step in range(10)]
        for name, value in (("ap", np.mean(single)), ("ap50", single[0]), ("ap75", single[5])):
            assert result.figure(f"{prefix}{name}").value == pytest.approx(value, abs=1e-6), f"{prefix}{name}"
    assert result.instances.predictions == sum(len(ours) for ours, _ in images.values())


def test_map_probability_and_findings_say_the_same(project: Project) -> None:
    """Of one network: where the best finding lies the map is high, and outside of all findings' boxes it is 0."""
    table = pd.read_csv(project.root / "data/predictions/images.csv", dtype={"image_id": str}).set_index("image_id")
    for image_id, (ours, _) in findings(project).items():
        grey = read_png(project.root / f"data/predictions/test/{image_id}.png") / 255
        # Both orientations count: a score of one alone is halved.
        assert grey.max() <= table.loc[image_id, "probability"] + 0.01
        if not ours:
            assert grey.max() < 0.05
            continue
        assert max(one.score for one in ours) <= table.loc[image_id, "probability"] + 1e-6
        inside = np.zeros(grey.shape, bool)
        for one in ours:
            left, top, right, bottom = one.box
            rows, columns = grey.shape
            margin = 0.05 * max(rows, columns)  # of the map's coarser pixels
            inside[max(0, int(top - margin)) : int(bottom + margin) + 1,
                   max(0, int(left - margin)) : int(right + margin) + 1] = True  # fmt: skip
        assert (grey[~inside] < 0.5).all()


def test_the_model_in_use_tells_the_findings_that_the_pipeline_kept(project: Project) -> None:
    reader = pneumoseg.load(project.root / "data/bundle", "cpu")
    sources = pd.read_csv(project.root / "data/metadata.csv", dtype=str).set_index("image_id")["source"]
    for image_id, (ours, _) in findings(project).items():
        answer = reader.read(project.root / "data/phantom" / sources[image_id])
        assert isinstance(answer, Reading)
        told = answer.to_json()["findings"]
        assert np.array([one["box"] for one in told]) == pytest.approx(np.array([one.box for one in ours]), abs=0.02)
        assert [one["score"] for one in told] == pytest.approx([one.score for one in ours], abs=1e-5)
        assert [one["area_px"] for one in told] == pytest.approx([one.mask.sum() for one in ours], abs=2)


def test_shares_of_all_images_add_up(project: Project) -> None:
    result = TestResult.read(project.root / "metrics/test.json")
    parts = [result.figure(f"false_{kind}_percent").value for kind in ("positive", "negative")]
    assert 100 * result.figure("accuracy").value + sum(parts) == pytest.approx(100)


def test_the_pages_speak_of_findings(project: Project) -> None:
    page = (project.root / "data/report/index.html").read_text("utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", page, flags=re.S))
    result = TestResult.read(project.root / "metrics/test.json")
    assert f"tells findings apart: {result.instances.predictions} of any score" in words
    assert f"{result.figure('box_ap50').value:.3f}" in words
    assert not re.search(r"\b(nan|None)\b", words)
    card = (project.root / "data/report/model_card.md").read_text("utf-8")
    assert "findings, each with a box, a score and a mask" in card
    curve = pd.read_csv(project.root / "metrics/train/fold0.csv")
    assert {"train_finding_mask", "train_objectness", "val_auc"} <= set(curve)
    summary = json.loads((project.root / "metrics/train/fold0.json").read_text())
    assert summary["selection_metric"] == "auc_and_dice_pos"


def test_without_masks_it_is_refused_in_a_line(project: Project) -> None:
    annotations = project.root / "data/annotations.csv"
    before = annotations.read_bytes()
    table = pd.read_csv(annotations, dtype=str)
    table.loc[table["pneumothorax"] == "1", "mask_known"] = "0"
    table.to_csv(annotations, index=False)
    code, told = project.stage("train", "--fold", "0")
    annotations.write_bytes(before)
    assert code == 1
    assert "no image with pneumothorax has a known mask" in told
    assert "take another model.architecture than mask_rcnn, or add masks" in told
    assert "image_head" not in told
