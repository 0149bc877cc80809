"""A classifier from parameters to the report, and what it learns on phantoms."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.evaluate.result import TestResult
from pneumoseg.phantom.cohort import plan_cohort
from tests.pipeline.project import STAGES, TINY, make_project

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"),
]
CLASSIFIER: dict[str, Any] = TINY | {"model.architecture": "classifier", "model.decoder_channels": None}


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", html, flags=re.S))


@pytest.mark.slow
def test_from_parameters_to_the_page(tmp_path: Path) -> None:
    values = {"tune.objective": "sensitivity_at_least", "tune.least_sensitivity": 0.8, "evaluate.prevalences": [0.03]}
    project = make_project(tmp_path / "project", CLASSIFIER | values)
    project.run_stages(*STAGES)
    root = project.root
    rule = json.loads((root / "metrics/thresholds.json").read_text())
    assert (rule["objective"], rule["least_sensitivity"], rule["rule"]["kind"]) == (
        "sensitivity_at_least", 0.8, "probability",
    )  # fmt: skip
    assert rule["optimistic"]["sensitivity"] >= 0.8
    predicted = pd.read_csv(root / "data/predictions/images.csv")
    looked = {
        path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in (root / "data/predictions/activation").iterdir()
    }
    assert set(looked) == set(predicted["image_id"])
    assert {picture.shape for picture in looked.values()} == {(4, 4)}  # 64 px, four halvings
    for image_id, probability in zip(predicted["image_id"], predicted["probability"], strict=True):
        # Its probability lies between those of its places, whose logits it is the mean of.
        assert looked[image_id].min() / 255 - 0.01 <= probability <= looked[image_id].max() / 255 + 0.01
    assert not [
        path for which in ("test", "validation", "unlabelled") for path in (root / "data/predictions" / which).iterdir()
    ]
    html = (root / "data/report/index.html").read_text("utf-8")
    told = words(html)
    assert "class activation map" in told
    assert "PPV at 3.0" in told
    assert "-activation.png" in html
    assert not re.search(r"Dice, positives only|lowest Dice|all-empty", told, re.IGNORECASE)
    assert "a probability for the image; this model gives no map" in told


@pytest.mark.long
def test_it_finds_phantom_pneumothoraces(tmp_path: Path) -> None:
    """Not how well it would do on patients: that the parts learn together, and that groups have their tests."""
    values = {
        "phantom.images": 360, "phantom.size_px": 256, "phantom.prevalence": 0.4,
        "phantom.several_image_patients_share": 0.0,
        "phantom.pneumothorax_median_area": 0.03, "split.test_fraction": 0.4, "split.positive_share": None,
        "model.architecture": "classifier", "model.decoder_channels": None, "model.encoder": "resnet18",
        "model.encoder_depth": 5, "train.phases.0.size_px": 128, "train.phases.0.epochs": 12,
        "train.loss.image.bce": 1.0, "tune.objective": "youden", "evaluate.bootstrap_replicates": 1000,
        "evaluate.subgroup_table": "data/inputs/evaluate/tubes.csv",
    }  # fmt: skip
    project = make_project(tmp_path / "project", TINY | values)
    params = {
        key.removeprefix("phantom."): value for key, value in (TINY | values).items() if key.startswith("phantom.")
    }
    cohort = plan_cohort(PhantomParams(**params))
    lines = [f"{case.uids[0]},{'yes' if case.scene.chest_tube else 'no'}" for case in cohort]
    (project.root / "data/inputs/evaluate/tubes.csv").write_text("\n".join(["image_id,chest_tube", *lines]) + "\n")
    project.run_stages(*STAGES)
    result = TestResult.read(project.root / "metrics/test.json")
    assert result.figure("auc").low > 0.8
    assert result.size_test.auc_permutation_p is not None
    assert {group.group for group in result.subgroups if group.by == "chest_tube"} == {"yes", "no"}
    (test,) = result.group_tests
    assert 0 < test.auc_permutation_p <= 1
    assert test.n_first + test.n_second == result.n_positive
