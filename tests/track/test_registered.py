"""From a row to the champion and back to a folder that answers: in a store of this machine, by the commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pneumoseg.commands.cli import main
from pneumoseg.commands.predict import bundle_folder
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.shared.errors import DataError, TrackingError
from pneumoseg.shared.layout import Layout
from pneumoseg.track import record_bundle
from pneumoseg.track.registered import NAME, registered
from pneumoseg.track.store import Store, open_store
from pneumoseg.use.bundle import Bundle
from pneumoseg.use.results import RESULTS
from tests.compare.comparison_cases import result_of
from tests.compare.test_promotion import cases
from tests.track.tracking_files import REPO, edit_params, make_project, make_repository
from tests.use.conftest import write_bundle

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_repository(tmp_path)
    make_project(tmp_path)
    served = Path("src/pneumoseg/track/served_model.py")
    (tmp_path / served).parent.mkdir()
    shutil.copy(REPO / served, tmp_path / served)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiment(root: Path, seed: int, tested: pd.DataFrame, **bundle: object) -> Store:
    """Another configuration and what evaluate and bundle make of it; its store."""
    params = edit_params(root, tracking={"log_model": True}, train={"seed": seed})
    tested.reindex(columns=list(TEST_CASES)[1:]).to_csv(root / "metrics/test_cases.csv")
    result_of(tested).write(root / "metrics/test.json")
    shutil.rmtree(root / "data/bundle", ignore_errors=True)
    write_bundle(root / "data/bundle", data=str(seed), intended_use=f"number {seed}", **bundle)
    record_bundle(Layout(root), params)
    return open_store(root, params.tracking)


def champion(store: Store) -> ModelVersion:
    return store.client.get_model_version_by_alias(NAME, "champion")


def test_a_candidate_becomes_champion_only_where_it_loses_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote"]) == 1
    assert "run pneumoseg register" in capsys.readouterr().err
    store = experiment(root, 1, cases())
    (row,) = store.search("tags.config_key LIKE '%'")
    for _ in range(2):  # again: the same version
        assert main(["register"]) == 0
        assert "version 1 " in capsys.readouterr().out
    assert main(["promote"]) == 0
    assert main(["promote"]) == 0
    assert "the champion already" in capsys.readouterr().out

    experiment(root, 2, cases(missed=20))
    assert main(["register"]) == 0
    assert main(["promote", "--replicates", "500"]) == 1
    told = capsys.readouterr().err
    assert "a loss of more than 0.05 of sensitivity cannot be excluded" in told
    assert "200 test images (80 positive)" in told
    assert champion(store).version == 1
    assert main(["promote", "--replicates", "500", "--margin", "0.4"]) == 0
    assert (champion(store).version, "promotion.forced" in champion(store).tags) == (2, False)

    experiment(root, 3, cases(missed=60))
    assert main(["register"]) == 0
    assert main(["promote", "--replicates", "500", "--force"]) == 0
    assert champion(store).tags["promotion.forced"] == "sensitivity"
    assert "against version 2" in champion(store).tags["promotion"]

    for name in (row.info.run_id, f"runs:/{row.info.run_id}", f"models:/{NAME}/1"):
        assert Bundle.read(bundle_folder(name)).about.intended_use == "number 1"
    assert Bundle.read(bundle_folder(f"models:/{NAME}@champion")).about.intended_use == "number 3"
    assert main(["register", row.info.run_name]) == 0  # the newest row of this name
    assert "version 3 " in capsys.readouterr().out
    assert main(["register", row.info.run_id]) == 0
    assert "version 1 " in capsys.readouterr().out


def test_a_model_of_phantoms_is_registered_and_never_promoted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(root, 1, cases(), phantom=True)
    assert main(["register"]) == 0
    assert main(["promote", "--force"]) == 1
    assert "trained on drawings" in capsys.readouterr().err


def test_predict_takes_a_model_from_mlflow_and_tells_what_is_not_there(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = experiment(root, 1, cases())
    assert main(["register"]) == 0
    (root / "one.png").write_bytes((REPO / "tests/config/files/450e244/image.png").read_bytes())
    assert main(["predict", "one.png", "-o", "out", "--model", f"models:/{NAME}@candidate", "--workers", "0"]) == 0
    assert (root / "out/one" / RESULTS["mask"].file).is_file()
    for name in (f"models:/{NAME}@nobody", f"models:/{NAME}/7", "models:/nonsense", "0" * 32, "models:/x@y"):
        assert main(["predict", "one.png", "-o", "out", "--model", name]) == 1
        assert name in capsys.readouterr().err
    bare = store.client.create_run(store.experiment_id, run_name="bare").info.run_id
    with pytest.raises(DataError, match=r"run bare .* has no model with a bundle"):
        bundle_folder(bare)


@pytest.mark.long
def test_a_server_keeps_the_model_and_gives_its_bundle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = root.parent / "server"
    store.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{store}/mlflow.db", "--artifacts-destination", str(store / "files")]
    server = subprocess.Popen(command, cwd=store, start_new_session=True)
    try:
        for _ in range(600):
            assert server.poll() is None
            with contextlib.suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        experiment(root, 1, cases())
        assert main(["register"]) == 0
        assert main(["promote"]) == 0
        found = [bundle_folder(f"models:/{NAME}@champion") for _ in range(2)]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    assert found[0] == found[1]
    assert found[0].is_relative_to(root / ".cache/models")
    assert Bundle.read(found[0]).about.id == Bundle.read(root / "data/bundle").about.id


def test_where_nothing_was_recorded_no_database_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="recorded nothing here"):
        bundle_folder(f"models:/{NAME}@champion")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_say_who_is_champion_does_not_pass_for_one_without(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = experiment(root, 1, cases())

    def fails(*_: object) -> ModelVersion:
        raise MlflowException("the server is not there")

    monkeypatch.setattr(type(store.client), "get_model_version_by_alias", fails)
    with pytest.raises(TrackingError, match=r"models:/pneumoseg@champion: the server is not there"):
        registered(store, root, "champion")
