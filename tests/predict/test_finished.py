"""A prediction killed at any moment goes on, computes nothing twice, and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.predict import ensemble
from pneumoseg.predict.bringing import Repository
from pneumoseg.predict.predicting import predict
from pneumoseg.predict.predictor import Predictor
from tests.predict.network_stubs import PREDICT, ROOT, RUNTIME, read_stubs, write_data, write_model

FOLDS = {f"v{number}": "0" for number in range(5)} | {f"t{number}": "test" for number in range(4)}
PARAMS = PREDICT.model_copy(update={"batch_size": 2, "members": ()})

#: Predicts in tmp_path (argv 1), a batch each 0.1 s, and tells of each on stderr.
SCRIPT = """
import sys, time
from pathlib import Path
from pneumoseg.predict import ensemble
from pneumoseg.predict.predictor import Predictor
from pneumoseg.predict.predicting import predict
from tests.unit import test_inference_resume as tests

ensemble.load_networks = tests.read_stubs
called = Predictor.__call__

def slowly(self, *arguments):
    time.sleep(0.1)
    print("batch", file=sys.stderr, flush=True)
    return called(self, *arguments)

Predictor.__call__ = slowly
predict(**tests.arguments(Path(sys.argv[1])))
"""


def arguments(folder: Path) -> dict[str, Any]:
    given = {name: folder / f"{name}.csv" for name in ("metadata", "annotations", "folds")}
    return given | {
        "models": folder / "models", "curves": folder / "train", "train_folds": [0], "images": folder / "images",
        "out": folder / "out", "params": PARAMS, "runtime": RUNTIME,
        "repository": Repository(folder, "code", None),  # type: ignore[arg-type]
    }  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(ensemble, "load_networks", read_stubs)
    write_data(tmp_path, FOLDS, ("u0",))
    write_model(tmp_path / "models/fold0", 0.2, 0.7)
    return arguments(tmp_path)


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


def test_the_rest_is_computed_in_the_same_batches(given, calls, tmp_path: Path):
    predict(**given)
    assert calls == [2, 2, 1, 2, 2, 1]
    unbroken = contents(given["out"])
    calls[:] = [-4]
    with pytest.raises(KeyboardInterrupt):
        predict(**given)
    assert calls == [-4, 2, 2, 1, 2]
    calls.clear()
    predict(**given)
    assert calls == [2, 1]
    assert contents(given["out"]) == unbroken
    assert not list((tmp_path / ".resume").iterdir())


def test_what_a_kill_or_a_power_cut_left_half_written_does_not_count(given, calls, tmp_path: Path):
    predict(**given)
    unbroken = contents(given["out"])
    calls[:] = [-4]
    with pytest.raises(KeyboardInterrupt):
        predict(**given)
    (folder,) = (path for path in (tmp_path / ".resume").iterdir() if path.is_dir())
    journal = folder / "journal.jsonl"
    assert len(journal.read_text().splitlines()) == 4
    with journal.open("a") as file:
        file.write('{"probabilities": {"t2": 0.5, "t3"')
    # As a power cut leaves files: a PNG of the second batch without its end.
    broken = folder / "v3.png"
    whole = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(whole[:-20])
    calls.clear()
    predict(**given)
    assert calls == [2, 2, 1]
    assert contents(given["out"]) == unbroken


@pytest.mark.parametrize("change", ["weights", "params", "code", "metadata", "folds"])
def test_a_changed_configuration_starts_afresh(given, calls, tmp_path: Path, change: str):
    calls[:] = [-2]
    with pytest.raises(KeyboardInterrupt):
        predict(**given)
    calls.clear()
    if change == "weights":
        write_model(given["models"] / "fold0", 0.3, 0.7)
    elif change == "params":
        given["params"] = PARAMS.model_copy(update={"horizontal_flip": True})
    elif change == "code":
        given["repository"] = Repository(tmp_path, "other code", None)  # type: ignore[arg-type]
    elif change == "metadata":
        text = given["metadata"].read_text()
        given["metadata"].write_text(text.replace("v0,", "v0,patient", 1))
    else:
        given["folds"].write_text(given["folds"].read_text().replace("v4,image:v4,0", "v4,image:v4,test"))
    predict(**given)
    assert sum(calls) == 10


def test_without_a_repository_nothing_is_kept(given, tmp_path: Path):
    predict(**given | {"repository": None})
    assert (given["out"] / "images.csv").is_file()
    assert not (tmp_path / ".resume").exists()


def test_where_there_are_no_links_maps_are_copied(given, calls, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    predict(**given)
    unbroken = contents(given["out"])
    monkeypatch.setattr(os, "link", refuse)
    calls[:] = [-4]
    with pytest.raises(KeyboardInterrupt):
        predict(**given)
    calls.clear()
    predict(**given)
    assert calls == [2, 1]
    assert contents(given["out"]) == unbroken


@pytest.mark.slow
@pytest.mark.usefixtures("calls")
def test_killed_by_the_system_and_started_again(given, tmp_path: Path):
    predict(**given)
    unbroken = contents(given["out"])
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
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
    # DVC empties a stage's outputs before it runs it again.
    for path in sorted(given["out"].rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("batch\n") <= 4
    assert contents(given["out"]) == unbroken
    assert not list((tmp_path / ".resume").iterdir())
