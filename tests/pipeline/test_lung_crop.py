"""The crop to the lungs through the stages: phantoms with their lungs, an external set, figures, page and bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.rule.crop import read_box
from pneumoseg.shared.files import read_png
from tests.pipeline.project import TINY, Project, make_project

pytestmark = [
    pytest.mark.long,
    pytest.mark.pipeline,
    pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"),
]
SITE = {"format": "siim", "root": "data/site", "annotations": "data/site/train-rle.csv", "lungs": "data/site/lungs.csv"}
CROPPED = {
    "phantom.lungs": True,
    "phantom.prevalence": 0.5,
    "data.lungs": "data/phantom/lungs.csv",
    "model.lungs.source": "masks",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("lungs") / "project", TINY | CROPPED)
    run(made, "phantom")
    # Another set: its lungs lie in its own table, of which one row is of another size and one is missing.
    (made.root / "data/phantom").rename(made.root / "data/site")
    table = made.root / "data/site/lungs.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows[:-2], rows[-2].replace(",96,96", ",48,48")]) + "\n")
    made.set_params({"phantom.seed": 8, "evaluate.external.site": SITE})
    run(made, "phantom", "extract", "masks", "explore", "split", "train", "predict", "tune", "evaluate")
    for stage in ("external_extract", "predict", "external_evaluate"):
        code, told = made.stage(stage, "--site", "site")
        assert code == 0, f"{stage}: {told}"
    run(made, "report")
    return made


def run(project: Project, *stages: str) -> None:
    for stage in stages:
        code, told = project.stage(stage, *(("--fold", "0") if stage == "train" else ()))
        assert code == 0, f"{stage}: {told}"


def boxes(folder: Path) -> dict[str, str]:
    return {path.stem: read_box(path).whole for path in folder.glob("*.box")}


def test_every_image_is_seen_by_its_lungs_and_no_lesion_is_cut(project: Project) -> None:
    for name in ("validation", "test"):
        folder = project.root / "data/predictions" / name
        maps = sorted(folder.glob("*.png"))
        assert boxes(folder) == {path.stem: "" for path in maps}
        for path in maps:
            box, levels = read_box(path.with_suffix(".box")), read_png(path)
            outside = np.ones(levels.shape, bool)
            outside[box.window(*levels.shape)] = False
            assert outside.any()
            assert not levels[outside].any()
    summary = json.loads((project.root / "metrics/train/fold0.json").read_text())
    assert (summary["n_seen_whole"], summary["lesion_cut_px"]) == (0, 0)
    assert summary["lesion_px"] > 100
    notes = {
        note["code"]: note["text"] for note in json.loads((project.root / "metrics/test.json").read_text())["notes"]
    }
    assert "0 of 7 images, without two lungs found, were seen whole" in notes["lung_crop"]
    assert notes["lung_crop"].endswith("no pixel of a lesion lies outside of what was seen")


def test_an_external_set_is_cropped_alike_and_tells_what_is_seen_whole(project: Project) -> None:
    rejected = (project.root / "data/external/site/rejected.csv").read_text()
    assert "lungs: a mask of 48 x 48 pixels for an image of 96 x 96" in rejected
    found = {}
    for folder in (project.root / "data/external_predictions/site").iterdir():
        found |= boxes(folder) if folder.is_dir() else {}
    assert "" in found.values()
    assert set(found.values()) <= {"", "no lung mask"}
    figures = json.loads((project.root / "metrics/external/site/figures.json").read_text())
    assert "lung_crop" in {note["code"] for note in figures["notes"]}


def test_the_page_says_so(project: Project) -> None:
    page = (project.root / "data/report/index.html").read_text("utf-8")
    words = re.sub(r"\s+", " ", re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", page, flags=re.S))
    assert "Networks see the lungs alone" in words
    assert not re.search(r"\b(nan|None)\b", words)


def test_a_bundle_of_masks_tells_that_in_use_the_image_is_seen_whole(project: Project) -> None:
    code, told = project.stage("bundle")
    assert code == 0, told
    assert "a radiograph in use has no lung mask and is seen whole" in told
