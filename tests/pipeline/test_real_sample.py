"""From real DICOM files to test Dice, overlays and a submission, in a few steps of training."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.real, pytest.mark.long]


def test_real_sample_end_to_end(real: Path, fresh: Callable[[dict[str, Any]], Project]):
    sample = real / "siim-sample"
    project = fresh({"split.folds": 2})
    project.dvc(
        "exp", "run", "-S", f"data.root={sample}", "-S", f"data.annotations={sample / 'train-rle.csv'}",
    )  # fmt: skip
    test = json.loads((project.root / "metrics/test.json").read_text())
    assert test["phantom"] == 0
    assert 0 <= test["dice_all"] <= 1
    assert json.loads((project.root / "metrics/extract.json").read_text())["extracted"] == 35
    with (project.root / "data/submission.csv").open(newline="") as file:
        submitted = [row["ImageId"] for row in csv.DictReader(file)]
    assert sorted(submitted) == sorted(path.stem for path in (sample / "stage_2_images").glob("*.dcm"))
    assert "phantom data" not in (project.root / "data/report/index.html").read_text()
    assert list((project.root / "data/report").rglob("*.png")) or list((project.root / "data/report").rglob("*.jpg"))
