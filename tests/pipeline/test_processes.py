"""Two processes that share each batch learn what one learns, and leave one record."""

from pathlib import Path

import pandas as pd
import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline, pytest.mark.long]

LAUNCHERS = {"fabric": ("python",), "torchrun": ("torchrun", "--nproc-per-node", "2")}


def train(project: Project, *command: str) -> pd.DataFrame:
    project.run(*command, "stages/train.py", "--fold", "0", PYTHONPATH="src", OMP_NUM_THREADS="1")
    return pd.read_csv(project.root / "metrics/train/fold0.csv")


@pytest.fixture(scope="module")
def alone(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, pd.DataFrame]:
    """The project, and the curves of one process."""
    project = reproduced.copy(tmp_path_factory.mktemp("alone") / "project")
    # In validation each process has batches of its own: a loss of single images hangs on none of them.
    loss = {"train.loss.dice.images": "all"}
    project.set_params({"train.precision": "fp32", "runtime.device": "cpu", "train.lr": 1e-4, **loss})
    return project, train(project, "python")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_give_the_figures_of_one(launcher: str, alone: tuple[Project, pd.DataFrame], tmp_path: Path):
    """Not to the last bit: sums are taken in another order."""
    single, expected = alone
    project = single.copy(tmp_path / "project")
    (project.root / "mlflow.db").unlink()
    project.set_params({"runtime.devices": 2})
    curves = train(project, *LAUNCHERS[launcher])
    assert curves["phase"].tolist() == expected["phase"].tolist()
    for column in expected.select_dtypes("number"):
        assert curves[column].tolist() == pytest.approx(expected[column].tolist(), rel=2e-3, abs=2e-3), column
    (row,) = project.rows()
    client = project.client()
    children = client.search_runs([row.info.experiment_id], f"tags.mlflow.parentRunId = '{row.info.run_id}'")
    assert len(children) == 1
    assert not list((project.root / ".resume").rglob("state.pt"))
