"""A prediction killed at any moment goes on, computes nothing twice, and ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumoseg.predict import ensemble
from pneumoseg.predict.predicting import predict
from pneumoseg.predict.predictor import Predictor
from pneumoseg.shared.layout import Layout
from tests.predict.network_stubs import PREDICT, ROOT, RUNTIME, read_stubs, write_data, write_folds, write_model

FOLDS = {f"v{number}": "0" for number in range(5)} | {f"t{number}": "test" for number in range(4)}
PARAMS = PREDICT.model_copy(update={"batch_size": 2, "members": ()})

#: Predicts in the folder of argv 1, a batch each 0.1 s, and tells of each on stderr.
SCRIPT = """
import sys, time
from pathlib import Path
from pneumoseg.predict import ensemble
from pneumoseg.predict.predictor import Predictor
from pneumoseg.shared.layout import Layout
from tests.predict import test_finished as tests

ensemble.load_networks = tests.read_stubs
called = Predictor.__call__

def slowly(self, *arguments):
    time.sleep(0.1)
    print("batch", file=sys.stderr, flush=True)
    return called(self, *arguments)

Predictor.__call__ = slowly
tests.run(Layout(Path(sys.argv[1])))
"""


def run(layout: Layout, **changes: object) -> None:
    predict(layout, [0], PARAMS.model_copy(update=changes), RUNTIME)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(ensemble, "load_networks", read_stubs)
    layout = write_data(Layout(tmp_path), FOLDS, ("u0",))
    write_model(layout.models / "fold0", 0.2, 0.7)
    return layout


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that were computed, a batch each; a negative one before them stops before that batch."""
    counted: list[int] = []
    called = Predictor.__call__

    def counting(self, images, *others):
        if counted and counted[0] < 0 and len(counted) > -counted[0]:
            raise KeyboardInterrupt
        counted.append(len(images))
        return called(self, images, *others)

    monkeypatch.setattr(Predictor, "__call__", counting)
    return counted


def broken_off(layout: Layout, calls: list[int], after: int) -> None:
    calls[:] = [-after]
    with pytest.raises(KeyboardInterrupt):
        run(layout)
    calls.clear()


def test_the_rest_is_computed_in_the_same_batches(layout: Layout, calls: list[int]):
    run(layout)
    assert calls == [2, 2, 1, 2, 2, 1]
    unbroken = contents(layout.predictions)
    broken_off(layout, calls, 4)
    assert contents(layout.predictions) == unbroken, "what was there stays until the new predictions are whole"
    run(layout)
    assert calls == [2, 1]
    assert contents(layout.predictions) == unbroken
    assert not list((layout.root / ".resume").iterdir())


def test_what_a_kill_or_a_power_cut_left_half_written_does_not_count(layout: Layout, calls: list[int]):
    run(layout)
    unbroken = contents(layout.predictions)
    broken_off(layout, calls, 4)
    (folder,) = (path for path in (layout.root / ".resume").iterdir() if path.is_dir())
    assert len(list((folder / "batches").iterdir())) == 4
    # As a power cut leaves files: a record, and a map of another batch, without their ends.
    (folder / "batches/t0.json").write_text(json.dumps({"probabilities": {"t0": 0.5}})[:-5])
    broken = folder / "predictions/validation/v3.png"
    broken.write_bytes(broken.read_bytes()[:-20])
    run(layout)
    assert calls == [2, 2, 2, 1]
    assert contents(layout.predictions) == unbroken


@pytest.mark.parametrize("change", ["weights", "params", "code", "metadata", "folds"])
def test_a_changed_configuration_starts_afresh(
    layout: Layout, calls: list[int], change: str, monkeypatch: pytest.MonkeyPatch
):
    broken_off(layout, calls, 2)
    params = {}
    if change == "weights":
        write_model(layout.models / "fold0", 0.3, 0.7)
    elif change == "params":
        params = {"horizontal_flip": True}
    elif change == "code":
        monkeypatch.setattr(ensemble, "package_code", lambda: "other code")
    elif change == "metadata":
        layout.metadata.write_text(layout.metadata.read_text().replace("v0,", "v0,patient", 1))
    else:
        write_folds(layout.folds, FOLDS | {"v4": "test"})
    run(layout, **params)
    assert sum(calls) == 10


@pytest.mark.long
@pytest.mark.usefixtures("calls")
def test_killed_by_the_system_and_started_again(layout: Layout):
    run(layout)
    unbroken = contents(layout.predictions)
    command = [sys.executable, "-c", SCRIPT, str(layout.root)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    process = subprocess.Popen(command, cwd=layout.root, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if told.count("batch\n") == 3:
            break
    else:
        pytest.fail("".join(told))
    time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    again = subprocess.run(command, cwd=layout.root, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("batch\n") <= 4
    assert contents(layout.predictions) == unbroken
    assert not list((layout.root / ".resume").iterdir())
