"""A set to train on beside data.root joins and leaves by one parameter; folds and test images stay what they are."""

import json
from pathlib import Path

import pytest

from tests.pipeline.project import Project
from tests.pipeline.test_external import elsewhere, ran

__all__ = ["elsewhere"]

pytestmark = [pytest.mark.pipeline, pytest.mark.long]


def test_a_set_joins_and_leaves_by_one_parameter(project: Project, elsewhere: Path):
    folds = (project.root / "data/splits/folds.csv").read_bytes()
    source = f"{{root: {elsewhere}, annotations: {elsewhere / 'train-rle.csv'}, use: train}}"
    joined = ran(project.dvc("exp", "run", "-S", f"+data.more.b={source}").stdout)
    assert {"more_extract@b", "split", "train@0", "predict", "evaluate", "report"} <= set(joined)
    assert not {"phantom", "extract", "explore"} & set(joined)
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    assert (project.root / "data/splits/folds.csv").read_bytes() == folds

    counts = json.loads((project.root / "metrics/split.json").read_text())["more"]["b"]
    assert (counts["images"], counts["positives"], sum(counts["copies_of_main"].values())) == (20, 8, 0)
    assert json.loads((project.root / "metrics/more/b/masks.json").read_text())["matched"]["positives"] == 8
    taught = (project.root / "data/splits/train_fold0.csv").read_text().count("\nb/")
    assert taught >= 20 - counts["patients_who_judge"]["fold0"]
    assert "Further training sets" in (project.root / "data/report/index.html").read_text()
    assert "data.more.b as well: 20 images" in (project.root / "data/report/model_card.md").read_text()
    assert project.git("status", "--porcelain", "data").strip() == ""

    left = ran(project.dvc("exp", "run", "-S", "~data.more.b").stdout)
    assert not set(left) & {"more_extract@b", "train@0", "predict"}  # what they gave before comes from the cache
    assert not (project.root / "metrics/more/b").exists()
    assert not (project.root / "data/more/b").exists()
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    assert project.git("status", "--porcelain", "metrics").strip() == ""
