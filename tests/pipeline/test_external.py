"""A set from elsewhere joins and leaves by one parameter; nothing is trained or tuned for it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.config import load_params
from pneumoseg.phantom import generate
from pneumoseg.shared.layout import Layout
from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]

STAGES = ("external_extract@site_a", "external_predict@site_a", "external_evaluate@site_a")


@pytest.fixture(scope="module")
def elsewhere(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of another seed, outside the repository."""
    layout = Layout(tmp_path_factory.mktemp("elsewhere"))
    phantom = load_params(reproduced.root / "params.yaml").phantom
    generate(layout, phantom.model_copy(update={"seed": 11, "images": 20, "prevalence": 0.4}), 0)
    return layout.phantom


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.mark.long
def test_a_set_joins_and_leaves_by_one_parameter(project: Project, elsewhere: Path):
    before = (project.root / "metrics/thresholds.json").read_bytes()
    source = f"{{root: {elsewhere}, annotations: {elsewhere / 'train-rle.csv'}}}"
    joined = project.dvc("exp", "run", "-S", f"+evaluate.external.site_a={source}")
    assert set(ran(joined.stdout)) == {"evaluate", *STAGES, "report"}
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    assert (project.root / "metrics/thresholds.json").read_bytes() == before

    folder = project.root / "metrics/external/site_a"
    figures, cases = json.loads((folder / "figures.json").read_text()), pd.read_csv(folder / "cases.csv")
    assert figures["n"] == len(cases) == 20
    assert figures["n_positive"] == 8
    assert figures["phantom"] == 1
    assert figures["overlap"]["images"] == 0  # the numbers of phantom patients are the same, the patients are not
    total = cases["truth_px"] + cases["predicted_px"]
    dice = (2 * cases["intersection_px"] / total).where(total > 0, 1.0)
    assert figures["dice_all"] == pytest.approx(dice.mean(), abs=1e-6)
    page = (project.root / "data/report/index.html").read_text()
    assert "site_a (phantom data)" in page
    row = next(row for row in project.rows() if "evaluate.external.site_a.root" in row.data.params)
    assert row.data.metrics["external/site_a/dice_all"] == pytest.approx(figures["dice_all"])
    assert project.git("status", "--porcelain", "data").strip() == ""

    for path in project.root.glob("mlflow.db*"):
        path.unlink()
    told = project.run("pneumoseg", "track", PYTHONPATH=str(project.root / "src")).stdout
    assert "rebuilt fold 0, test metrics, external sets, report, model" in told
    assert project.rows()[0].data.metrics["external/site_a/dice_all"] == row.data.metrics["external/site_a/dice_all"]

    left = project.dvc("exp", "run", "-S", "~evaluate.external.site_a")
    assert not set(ran(left.stdout)) & {"train@0", "predict", "tune", *STAGES}
    assert not folder.exists()
    assert "site_a" not in (project.root / "data/report/index.html").read_text()
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    # Every file of metrics is the one that was committed.
    assert project.git("status", "--porcelain", "metrics").strip() == ""


def test_mistakes_in_the_set_are_told_by_its_own_parameters(project: Project, tmp_path: Path):
    table = tmp_path / "none.csv"
    table.write_text("ImageId,EncodedPixels\n1.2.3,-1\n")
    project.set_params({"evaluate.external": {"site_a": {"root": "data/phantom", "annotations": str(table)}}})
    code, told = project.stage("external_extract", "--site", "site_a")
    assert code == 1
    assert "evaluate.external.site_a.annotations must belong to evaluate.external.site_a.root" in told
