"""A training killed at any moment goes on and ends with the weights of an unbroken one."""

import signal
import sys

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]

EPOCHS = 4

#: Runs the stage, and ends its process with SIGKILL when the second epoch was told or when the third has begun.
KILLED = """
import os, runpy, signal, sys
from pneumoseg.train import loop, stepping

told, within = [], sys.argv.pop(1) == "within"
log_epoch, prepared = loop.log_epoch, stepping.Stepper.prepared

def log_then_die(*arguments):
    log_epoch(*arguments)
    told.append(1)
    if len(told) == 2 and not within:
        os.kill(os.getpid(), signal.SIGKILL)

def prepare_or_die(self, *arguments):
    if len(told) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return prepared(self, *arguments)

loop.log_epoch, stepping.Stepper.prepared = log_then_die, prepare_or_die
runpy.run_path("stages/train.py", run_name="__main__")
"""


def kill_training(project: Project, when: str) -> None:
    result = project.run(sys.executable, "-c", KILLED, when, "--fold", "0", check=False, PYTHONPATH="src")
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.mark.parametrize("when", [pytest.param("told", marks=pytest.mark.long), "within"])
def test_kill_and_resume_end_in_the_same_weights(project: Project, when: str):
    project.set_params({"train.phases.0.epochs": EPOCHS, "tracking.enabled": False})
    unbroken = project.copy(project.root.parent / "unbroken")
    assert unbroken.stage("train", "--fold", "0")[0] == 0
    kill_training(project, when)
    assert list((project.root / ".resume").rglob("state.pt"))
    code, told = project.stage("train", "--fold", "0")
    assert code == 0
    assert "resuming after epoch" in told
    for name in ("data/models/fold0/weights.safetensors", "metrics/train/fold0.csv", "metrics/train/fold0.json"):
        assert (project.root / name).read_bytes() == (unbroken.root / name).read_bytes(), name
    assert not list((project.root / ".resume").rglob("state.pt"))
