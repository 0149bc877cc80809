"""Whole experiments as members of an ensemble: brought from DVC's cache, out of fold, and told in the report."""

import json

import numpy as np
import pytest

from pneumoseg.shared.files import read_png
from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.long]


def ensemble(*members: str) -> str:
    return f"predict.members=[{', '.join(members)}]"


@pytest.fixture(scope="module")
def experiments(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Beside the project's own run: ``rate`` and ``seeded``, trained on the same split, and ``unlike`` on another."""
    project = reproduced.copy(tmp_path_factory.mktemp("members") / "project")
    for name, change in {"rate": "train.lr=5e-4", "seeded": "train.seed=43", "unlike": "split.seed=4"}.items():
        project.dvc("exp", "run", "--name", name, "-S", change, "train")
        project.git("checkout", "--", ".")
        project.dvc("checkout", "--force")
    return project


def test_experiments_predict_together_and_the_report_says_so(experiments: Project):
    root = experiments.root
    alone = {path.name: read_png(path) for path in sorted((root / "data/predictions/validation").iterdir())}
    own = (root / "data/models/fold0/weights.safetensors").read_bytes()
    members = ensemble("{source: rate, weight: 2.0, use: both}", "{source: seeded, weight: 1.0, use: map}")
    told = experiments.dvc("exp", "run", "--name", "together", "-S", members)
    assert "Running stage 'train" not in told.stdout
    content = json.loads((root / "data/predictions/members.json").read_text())
    shas = experiments.git("for-each-ref", "--format=%(objectname) %(refname:lstrip=-1)", "refs/exps").splitlines()
    known = {name: sha for sha, name in map(str.split, shas)}
    assert [(entry["source"], entry["sha"], entry["folds"]) for entry in content["members"]] == [
        ("rate", known["rate"], [0]), ("seeded", known["seeded"], [0])
    ]  # fmt: skip
    together = {path.name: read_png(path) for path in sorted((root / "data/predictions/validation").iterdir())}
    assert together.keys() == alone.keys()
    assert any(not np.array_equal(together[name], alone[name]) for name in alone)
    # Each member's network is that of its own training, and this run's is untouched.
    folders = sorted((root / "data/members").iterdir())
    assert [folder.name for folder in folders] == [f"{name}-{known[name][:10]}" for name in ("rate", "seeded")]
    weights = {(folder / "data/models/fold0/weights.safetensors").read_bytes() for folder in folders}
    assert len(weights | {own}) == 3
    assert (root / "data/models/fold0/weights.safetensors").read_bytes() == own
    for name in ("index.html", "model_card.md"):
        page = (root / "data/report" / name).read_text().replace("\\", "")
        assert "Member rate" in page
        assert "masks alone" in page
    assert experiments.git("status", "--porcelain", "--", "data") == ""
    assert not list((root / ".resume").glob("predict*"))


def test_a_temporary_run_stops_where_an_experiment_may_have_seen_what_it_would_judge(
    experiments: Project,
):
    members = ensemble("{source: unlike, weight: 1.0, use: image}")
    refused = experiments.dvc("exp", "run", "--temp", "-S", members, "predict", check=False)
    assert refused.returncode != 0
    told = refused.stderr + refused.stdout
    assert (
        "predict.members, unlike: its network of fold 0 was trained on another folds.csv than data/splits/folds" in told
    )
    assert not list((experiments.root / "data").glob("members/unlike*"))
