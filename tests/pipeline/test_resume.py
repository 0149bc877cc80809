"""A training killed at any moment goes on and ends with the weights of an unbroken one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.pipeline.project import Project

pytestmark = [pytest.mark.pipeline]

EPOCHS = 4


def start_training(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "stages/train.py", "--fold", "0"],
        cwd=project.root,
        env=os.environ | {"PYTHONPATH": "src"},
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_after_epoch(project: Project, epochs: int, wait_seconds: float) -> None:
    """Kill the training with SIGKILL some time after its nth epoch was told."""
    process = start_training(project)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(f"epoch {epochs:3d}"):
            break
    else:
        pytest.fail("training ended before it could be killed:\n" + "".join(seen))
    time.sleep(wait_seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(
    "wait_seconds", [pytest.param(0.0, marks=pytest.mark.long), 0.3], ids=["at the end of an epoch", "within an epoch"]
)
def test_kill_and_resume_end_in_the_same_weights(project: Project, wait_seconds: float):
    project.set_params({"train.phases.0.epochs": EPOCHS, "tracking.enabled": False})
    unbroken = project.copy(project.root.parent / "unbroken")
    assert unbroken.stage("train", "--fold", "0")[0] == 0
    kill_after_epoch(project, 2, wait_seconds)
    assert list((project.root / ".resume").rglob("state.pt"))
    code, told = project.stage("train", "--fold", "0")
    assert code == 0
    assert "resuming after epoch" in told
    for name in ("data/models/fold0/weights.safetensors", "metrics/train/fold0.csv", "metrics/train/fold0.json"):
        assert (project.root / name).read_bytes() == (unbroken.root / name).read_bytes(), name
    assert not list((project.root / ".resume").rglob("state.pt"))
