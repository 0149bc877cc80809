"""The address of the store, its first touch by many processes, and what is said when it is not there."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pneumoseg.config import parse_params
from pneumoseg.config.tracking import TrackingParams
from pneumoseg.shared.errors import ParameterError, TrackingError
from pneumoseg.track import store
from tests.track.tracking_files import REPO, make_project, make_repository

DEFAULT = TrackingParams(log_model=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_default_is_sqlite_in_the_parent_of_a_queued_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / ".dvc/tmp/exps/tmpabc"
    (temporary / ".dvc").mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    uri = store.store_uri(temporary, DEFAULT)
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert store.artifact_root(temporary, uri) == tmp_path / "mlartifacts"


def test_the_environment_goes_before_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    named = DEFAULT.model_copy(update={"uri": "sqlite:///other/runs.db"})
    assert store.store_uri(tmp_path, named) == f"sqlite:///{tmp_path}/other/runs.db"
    assert store.artifact_root(tmp_path, f"sqlite:///{tmp_path}/other/runs.db") == tmp_path / "other/mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert store.store_uri(tmp_path, named) == "https://mlflow.example.org"
    assert store.artifact_root(tmp_path, "https://mlflow.example.org") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(TrackingError, match=r"MLFLOW_TRACKING_URI = './mlruns' is no address"):
        store.store_uri(tmp_path, named)


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "sqlite:///a.db?mode=ro"])
def test_an_address_mlflow_cannot_write_to_is_refused(uri: str) -> None:
    with pytest.raises(ParameterError, match=r"tracking\.uri = .*is no address of an MLflow store"):
        parse_params({"tracking": {"uri": uri}})


@pytest.mark.slow
def test_database_and_experiment_are_made_once_whatever_was_left_unfinished(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "mlflow.db.making").write_text("broken off")
    first, second = store.open_store(tmp_path, DEFAULT), store.open_store(tmp_path, DEFAULT)
    assert first.experiment_id == second.experiment_id
    experiment = second.client.get_experiment(second.experiment_id)
    assert experiment.artifact_location == f"{tmp_path}/mlartifacts"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", "mlflow.db", "mlflow.db.lock"]


def test_a_deleted_experiment_is_told(tmp_path: Path) -> None:
    make_repository(tmp_path)
    opened = store.open_store(tmp_path, DEFAULT)
    opened.client.delete_experiment(opened.experiment_id)
    with pytest.raises(TrackingError, match=r"'pneumoseg' was deleted; restore it, or set another"):
        store.open_store(tmp_path, DEFAULT)


def test_an_old_or_damaged_database_is_told(tmp_path: Path) -> None:
    make_repository(tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    database.close()
    with pytest.raises(TrackingError, match=r"out-of-date.*mlflow db upgrade"):
        store.open_store(tmp_path, DEFAULT)
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at" * 50)
    with pytest.raises(TrackingError, match=r"text\.db cannot be used .*file is not a database"):
        store.open_store(tmp_path, DEFAULT.model_copy(update={"uri": "sqlite:///text.db"}))


def test_a_server_that_is_not_there_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    address = f"http://anna:secret@127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"cannot be reached .* start the server, or correct") as caught:
        store.open_store(tmp_path, DEFAULT)
    assert time.monotonic() - started < 10
    assert "secret" not in str(caught.value)
    assert "anna" in str(caught.value)


def test_a_process_knows_the_living_and_the_dead() -> None:
    assert store.is_running(store.this_process()) is True
    gone = subprocess.Popen([sys.executable, "-c", ""])
    created = psutil.Process(gone.pid).create_time()
    gone.wait()
    assert store.is_running(f"{socket.gethostname()}:{gone.pid}:{created:.2f}") is False
    assert store.is_running(f"{socket.gethostname()}:{os.getpid()}:1.00") is False  # the number was given again
    assert store.is_running("elsewhere:1:1.00") is None
    assert store.is_running(None) is None


@pytest.mark.long
def test_two_processes_touch_a_fresh_store_at_once(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / ".dvc").mkdir()
    code = """
import sys, time
from pathlib import Path
from pneumoseg.config import load_params
from pneumoseg.shared.layout import Layout
from pneumoseg.track import fold_run
import pneumoseg.track.rows
fold = int(sys.argv[1])
Path(f"ready{fold}").touch()
while not Path("go").exists():
    time.sleep(0.001)
with fold_run(Layout(), load_params(), fold, f"key{fold}") as run:
    for epoch in range(1, 21):
        run.log_epoch(epoch, {"loss": 1 / epoch})
    run.finish({"val_dice_pos": fold / 8}, {"seconds": 1.0})
"""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(fold)],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for fold in range(2)
    ]
    while not all((tmp_path / f"ready{fold}").exists() for fold in range(2)):
        assert not any(process.poll() for process in running)
        time.sleep(0.1)
    (tmp_path / "go").touch()
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 2, errors
    opened = store.open_store(tmp_path, DEFAULT)
    rows = opened.search("tags.config_key LIKE '%'")
    assert len(rows) == 1
    folds = opened.search("tags.fold LIKE '%'")
    assert {run.data.tags["mlflow.parentRunId"] for run in folds} == {rows[0].info.run_id}
    assert sorted(float(run.data.tags["best/val_dice_pos"]) for run in folds) == [fold / 8 for fold in range(2)]
    assert all(len(opened.client.get_metric_history(run.info.run_id, "loss")) == 20 for run in folds)
    assert rows[0].info.status == "FINISHED"
