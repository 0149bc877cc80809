"""Two views of a study from parameters to the report, and what the second adds on phantoms made so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from pneumoseg.evaluate.result import TestResult
from tests.pipeline.project import STAGES, TINY, make_project

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"),
]
TWO_VIEW: dict[str, Any] = TINY | {"model.architecture": "two_view", "model.decoder_channels": None}


@pytest.mark.slow
def test_from_parameters_to_the_page(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", TWO_VIEW | {"phantom.lateral_share": 0.8, "tune.objective": "youden"})
    project.run_stages(*STAGES)
    root = project.root
    metadata = pd.read_csv(root / "data/metadata.csv", keep_default_na=False).set_index("image_id")
    sideways = set(metadata.index[metadata["view_position"] == "LL"])
    annotations = pd.read_csv(root / "data/annotations.csv").set_index("image_id")
    assert len(sideways) > 10
    assert set(annotations["status"][list(sideways)]) == {"lateral"}
    predicted = pd.read_csv(root / "data/predictions/images.csv").set_index("image_id")
    assert not sideways & set(predicted.index)
    for name, row in predicted.iterrows():
        study = metadata["study_id"][name]
        paired = study != "" and bool(sideways & set(metadata.index[metadata["study_id"] == study]))
        assert paired == pd.notna(row["fused"]) == pd.notna(row["lateral"])
        assert row["probability"] == pytest.approx(row["fused"] if paired else row["frontal"], abs=1e-6)
    thresholds = json.loads((root / "metrics/thresholds.json").read_text())
    assert list(thresholds["outputs"]) == ["frontal", "lateral", "fused"]
    outputs = TestResult.read(root / "metrics/test.json").outputs
    assert outputs is not None
    assert outputs.n == predicted[predicted["set"] == "test"]["fused"].notna().sum()
    assert (outputs.first, outputs.last) == ("frontal", "fused")
    html = (root / "data/report/index.html").read_text("utf-8")
    told = re.sub(r"\s+", " ", re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", html, flags=re.S))
    assert "AUC of fused minus frontal, paired" in told
    assert "own test set: lateral" in told
    # Each shown study stands beside its own view from the side, where it has one.
    laterals = {str(image_id): str(row["study_id"]) for image_id, row in metadata.iterrows() if image_id in sideways}
    cases = re.findall(r'<article class="case" data-case="([^"]+)".*?</article>', html, flags=re.S)
    assert cases
    for name in set(cases):
        pictures = list((root / "data/report/cases").glob(f"{name}-lateral.*"))
        paired = pd.notna(predicted.loc[name, "fused"])
        assert len(pictures) == paired
        (article,) = re.findall(rf'<article class="case" data-case="{re.escape(name)}".*?</article>', html, re.S)[:1]
        captions = re.findall(r'class="caption">([^<]+)<', article)
        assert captions[:2] == ["radiograph", "lateral"] if paired else "lateral" not in captions
        if paired:
            (of,) = [lateral for lateral, study in laterals.items() if study == metadata.loc[name, "study_id"]]
            shown = cv2.imread(str(pictures[0]), cv2.IMREAD_GRAYSCALE).astype(int)
            wanted = cv2.imread(str(root / f"data/images/{of}.png"), cv2.IMREAD_GRAYSCALE)
            wanted = cv2.resize(wanted, shown.shape[::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(shown - wanted).mean() < 6


@pytest.mark.slow
def test_a_set_without_views_from_the_side_is_told_in_one_line(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", TWO_VIEW)
    project.run_stages(*STAGES[:5])
    code, told = project.stage("train", "--fold", "0")
    assert code == 1
    (line,) = [line for line in told.splitlines() if "phantom.lateral_share" in line]
    assert "model.architecture = two_view has nothing to fuse" in line


@pytest.mark.long
def test_the_view_from_the_side_adds_on_phantoms_made_so(tmp_path: Path) -> None:
    """That the plumbing works: half of these pneumothoraces are drawn faint from the front. It supports no paper."""
    values = {
        "phantom.images": 300, "phantom.size_px": 256, "phantom.prevalence": 0.4, "phantom.lateral_share": 1.0,
        "phantom.several_image_patients_share": 0.0, "phantom.pneumothorax_median_area": 0.03,
        "split.test_fraction": 0.4, "split.positive_share": None, "model.encoder": "resnet18",
        "model.encoder_depth": 5, "train.phases.0.size_px": 128, "train.phases.0.epochs": 8,
        "train.loss.image.bce": 1.0, "tune.objective": "youden", "evaluate.bootstrap_replicates": 1000,
    }  # fmt: skip
    project = make_project(tmp_path / "project", TWO_VIEW | values)
    project.run_stages(*STAGES)
    outputs = TestResult.read(project.root / "metrics/test.json").outputs
    assert outputs is not None
    gap = outputs.difference.figure("auc")
    assert gap.low > 0, gap
