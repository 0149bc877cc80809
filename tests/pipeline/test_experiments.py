"""Experiments as the user runs them: in the workspace, in temporary folders, queued; all of them end in MLflow."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]


def artifacts(project: Project, run_id: str) -> set[str]:
    return {item.path for item in project.client().list_artifacts(run_id)}


def assert_alive(project: Project, row) -> None:
    """The row has all parameters, test metrics, curves of its fold and artifacts that can still be read."""
    assert row.info.status == "FINISHED"
    assert {"dice_all", "dice_pos", "all_empty"} <= row.data.metrics.keys()
    assert {"model.encoder", "train.lr", "train.loss.dice.weight", "split.folds"} <= row.data.params.keys()
    assert {"report.html", "metrics"} <= artifacts(project, row.info.run_id)
    report = project.client().download_artifacts(row.info.run_id, "report.html")
    assert "Dice" in Path(report).read_text()


def test_repro_leaves_one_row_with_a_nested_run_and_live_curves(reproduced: Project):
    (row,) = reproduced.rows()
    assert_alive(reproduced, row)
    bundle = json.loads((reproduced.root / "data/bundle/bundle.json").read_text())
    assert row.data.tags["recorded.model"] == bundle["id"]
    assert len(row.outputs.model_outputs) == 1
    test = json.loads((reproduced.root / "metrics/test.json").read_text())
    assert row.data.metrics["dice_all"] == pytest.approx(test["dice_all"])
    client = reproduced.client()
    (child,) = client.search_runs([row.info.experiment_id], f"tags.`mlflow.parentRunId` = '{row.info.run_id}'")
    assert len(client.get_metric_history(child.info.run_id, "val_dice_all")) == 2
    assert (
        child.data.tags["train_key"]
        == json.loads((reproduced.root / "data/models/fold0/run.json").read_text())["train_key"]
    )


@pytest.mark.long
def test_another_encoder_is_one_command(project: Project):
    project.dvc("exp", "run", "-S", "model.encoder=tu-test_resnet", "--name", "other")
    rows = {row.data.params["model.encoder"]: row for row in project.rows()}
    assert rows.keys() == {"tu-test_efficientnet", "tu-test_resnet"}
    assert_alive(project, rows["tu-test_resnet"])
    assert rows["tu-test_resnet"].data.tags["dvc.exp_name"] == "other"
    assert "tu-test_resnet" in project.dvc("exp", "show", "--csv").stdout
    # The same parameters again: everything is cached, and no row is lost or doubled.
    project.git("checkout", "--", ".")
    project.dvc("checkout")
    project.dvc("exp", "run", "-S", "model.encoder=tu-test_resnet", "--name", "again")
    assert len(project.rows()) == 2


@pytest.mark.long
def test_a_temporary_run_is_alive_in_mlflow_afterwards(project: Project):
    project.dvc("exp", "run", "--temp", "-S", "train.lr=3e-4")
    row = next(row for row in project.rows() if row.data.params["train.lr"] == "0.0003")
    assert_alive(project, row)
    assert not (project.root / "mlruns").exists()


@pytest.mark.long
def test_queued_runs_are_alive_and_see_the_code_of_their_time(project: Project):
    """Two queued values, two workers; a source edit after queueing does not reach them."""
    project.dvc("exp", "run", "--queue", "-S", "train.lr=1e-3,5e-4")
    broken = project.root / "src/pneumoseg/train/__init__.py"
    broken.write_text('raise RuntimeError("edited after queueing")\n')
    project.dvc("queue", "start", "-j", "2")
    wait_for_queue(project)
    rows = {row.data.params["train.lr"]: row for row in project.rows()}
    assert {"0.001", "0.0005"} <= rows.keys(), project.dvc("queue", "status").stdout
    for lr in ("0.001", "0.0005"):
        assert_alive(project, rows[lr])
        assert rows[lr].data.tags["dvc.exp_name"]


@pytest.mark.long
def test_one_parameter_runs_its_stages_alone_and_makes_its_own_row_from_the_reused_training(project: Project):
    before = {row.info.run_id for row in project.rows()}
    told = project.dvc("exp", "run", "-S", "evaluate.seed=7").stdout
    assert re.findall("Running stage '([^']+)'", told) == ["evaluate", "report", "bundle"]
    (row,) = [row for row in project.rows() if row.info.run_id not in before]
    assert_alive(project, row)
    key = json.loads((project.root / "data/models/fold0/run.json").read_text())["train_key"]
    assert row.data.tags["train_key.fold0"] == key


@pytest.mark.long
def test_a_deleted_store_comes_back_from_files(project: Project):
    (before,) = project.rows()
    for path in project.root.glob("mlflow.db*"):
        path.unlink()
    # A process of its own: MLflow keeps a database open that is gone by now.
    project.run(sys.executable, "-m", "pneumoseg.commands.cli", "track", PYTHONPATH=str(project.root / "src"))
    (after,) = project.rows()
    assert after.data.params == before.data.params
    assert after.data.metrics["dice_all"] == before.data.metrics["dice_all"]
    project.run(sys.executable, "-m", "pneumoseg.commands.cli", "track", PYTHONPATH=str(project.root / "src"))
    assert len(project.rows()) == 1


def wait_for_queue(project: Project, timeout_seconds: int = 600) -> None:
    import time

    for _ in range(timeout_seconds // 3):
        status = project.dvc("queue", "status").stdout
        if "Queued" not in status and "Running" not in status:
            return
        time.sleep(3)
    pytest.fail(f"the queue did not end:\n{status}")
