"""``dvc repro`` as a user runs it: outputs, repeats, what retrains and what does not."""

import json
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]

Fresh = Callable[[dict[str, Any]], Project]


def test_every_output_of_the_design_is_there(reproduced: Project):
    expected = [
        "data/phantom/train-rle.csv", "data/metadata.csv", "data/rejected.csv", "data/annotations.csv",
        "data/rejected_annotations.csv", "data/splits/folds.csv", "data/splits/train_fold0.csv",
        "data/splits/train_fold2.csv", "data/models/fold0/weights.safetensors", "data/models/fold0/model.json",
        "data/models/fold0/run.json", "data/predictions/images.csv", "data/submission.csv", "data/report/index.html",
        "metrics/extract.json", "metrics/masks.json", "metrics/split.json", "metrics/train/fold0.json",
        "metrics/train/fold0.csv", "metrics/thresholds.json", "metrics/test.json", "metrics/test_cases.csv",
    ]  # fmt: skip
    assert [name for name in expected if not (reproduced.root / name).is_file()] == []
    test = json.loads((reproduced.root / "metrics/test.json").read_text())
    assert {"dice_all", "dice_pos", "sensitivity", "specificity", "all_empty", "n", "prevalence"} <= test.keys()


def test_headline_follows_from_the_cases(reproduced: Project):
    """D_all = (1 - p) spec + p D_pos, computed anew from the table of test images."""
    test = json.loads((reproduced.root / "metrics/test.json").read_text())
    cases = pd.read_csv(reproduced.root / "metrics/test_cases.csv")
    positive = cases["truth_px"] > 0
    total = cases["truth_px"] + cases["predicted_px"]
    dice = (2 * cases["intersection_px"] / total).where(total > 0, 1.0)
    assert test["n"] == len(cases)
    assert test["dice_all"] == pytest.approx(dice.mean(), abs=1e-6)
    assert test["dice_pos"] == pytest.approx(dice[positive].mean(), abs=1e-6)
    assert test["all_empty"] == pytest.approx((~positive).mean(), abs=1e-6)
    composed = test["all_empty"] * test["specificity"] + test["prevalence"] * test["dice_pos"]
    assert test["dice_all"] == pytest.approx(composed, abs=1e-6)


def test_no_patient_is_on_two_sides(reproduced: Project):
    folds = pd.read_csv(reproduced.root / "data/splits/folds.csv", dtype=str, keep_default_na=False)
    assert (folds.groupby("patient")["fold"].nunique() == 1).all()


def test_repro_again_does_nothing_and_leaves_git_clean(project: Project):
    assert project.git("status", "--porcelain") == ""
    result = project.dvc("repro")
    assert "Running stage" not in result.stdout
    assert "up to date" in result.stdout + result.stderr
    assert project.git("status", "--porcelain") == ""


@pytest.mark.long
def test_two_clean_runs_give_the_same_lock(reproduced: Project, fresh: Fresh):
    """No random or timed value is an output: not where DVC starts each stage, nor with another number of workers."""
    other = fresh({"runtime.workers": 2})
    other.dvc("repro")
    assert (other.root / "dvc.lock").read_text() == (reproduced.root / "dvc.lock").read_text()
    assert (other.root / "metrics/test.json").read_text() == (reproduced.root / "metrics/test.json").read_text()


def test_no_absolute_path_of_the_project_in_any_output(reproduced: Project):
    """Outputs are the same on every machine: none names the folder that it was made in."""
    needle = str(reproduced.root).encode()
    files = [path for part in ("data", "metrics") for path in (reproduced.root / part).rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if needle in path.read_bytes()] == []


@pytest.mark.long
def test_dropping_a_fold_leaves_no_stale_model(project: Project):
    project.dvc("exp", "run", "-S", "split.train_folds=[0,1]")
    assert (project.root / "data/models/fold1/weights.safetensors").is_file()
    project.dvc("exp", "run", "-S", "split.train_folds=[0]")
    assert not (project.root / "data/models/fold1").exists()
    models = re.findall(r"data/models\n(?:.*\n)*?\s+md5: (\S+)", (project.root / "dvc.lock").read_text())
    assert models
    project.git("checkout", "--", "dvc.lock")
    project.dvc("checkout", "--force")
    assert project.changed() == set()


def test_no_output_is_empty(reproduced: Project):
    """DVC would warn of it at every stage that follows."""
    lock = YAML(typ="safe").load(reproduced.root / "dvc.lock")["stages"]
    folders = {out["path"]: out["nfiles"] for stage in lock.values() for out in stage["outs"] if "nfiles" in out}
    assert "data/lungs" in folders
    assert min(folders.values()) > 0


def test_phantoms_say_so(reproduced: Project):
    metadata = pd.read_csv(reproduced.root / "data/metadata.csv")
    assert (metadata["phantom"] == 1).all()
    assert "phantom" in (reproduced.root / "data/report/index.html").read_text().lower()
    assert json.loads((reproduced.root / "metrics/test.json").read_text())["phantom"] == 1


def test_submission_holds_every_unlabelled_image_once(reproduced: Project):
    submission = pd.read_csv(reproduced.root / "data/submission.csv", dtype=str)
    annotations = pd.read_csv(reproduced.root / "data/annotations.csv", dtype={"image_id": str})
    assert list(submission.columns) == ["ImageId", "EncodedPixels"]
    assert sorted(submission["ImageId"]) == sorted(annotations.loc[annotations["annotated"] == 0, "image_id"])
