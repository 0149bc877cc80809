"""The interface of MLflow: it ends with its parent, and opens on the rows."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pneumoseg.config.tracking import TrackingParams
from pneumoseg.track.runs_table import prepare_table
from pneumoseg.track.store import open_store
from tests.track.tracking_files import make_repository

_PARENT = """
import subprocess, sys
from pneumoseg.commands.ui import _ending_with_us
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with _ending_with_us(server):
    print(server.pid, flush=True)
    server.wait()
"""


def test_the_server_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert psutil.pid_exists(server)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(server)
    parent.stdout.close()


@pytest.mark.slow
def test_the_page_shows_the_rows_with_what_differs(tmp_path: Path) -> None:
    make_repository(tmp_path)
    store = open_store(tmp_path, TrackingParams())
    for rate in ("0.1", "0.2"):
        run = store.client.create_run(store.experiment_id, tags={"config_key": rate}).info.run_id
        store.log(run, params={"train.lr": rate, "train.ema": "true"})
    page = prepare_table(store)
    tags = store.client.get_experiment(store.experiment_id).tags
    key = page.split("viewStateShareKey=")[1].split("&")[0]
    view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    assert "params.`train.lr`" in view["selectedColumns"]
    assert "params.`train.ema`" not in view["selectedColumns"]
    assert view["orderByKey"] == "metrics.`dice_all`"
    found = store.search(view["searchFilter"])
    assert {run.data.params["train.lr"] for run in found} == {"0.1", "0.2"}
