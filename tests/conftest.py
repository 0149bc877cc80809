"""What all tests share: the environment, the real radiographs if they are there, one reproduced tiny project."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.project import TINY, Project, make_project

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "real"
FAULTS = ROOT.parent / "shared" / "faults"

# What the developer has set for his own runs must reach neither the tests nor the processes that they start.
for _name in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "PNEUMOSEG_", "GIT_"))]:
    del os.environ[_name]
os.environ |= {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    # Workers of pytest share the cores; more threads each would only stand in each other's way.
    "OMP_NUM_THREADS": "1",
    "DVC_NO_ANALYTICS": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module's tests stay on one worker, with what they share; so do all that need the reproduced project, first."""
    for item in items:
        group = item.nodeid.partition("::")[0]
        if "reproduced" in getattr(item, "fixturenames", ()):
            item.add_marker("pipeline")
            group = group if item.get_closest_marker("long") else "reproduced"
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("pipeline", "slow")])


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip("real radiographs are not beside the repository (../shared/real)")
    return REAL


@pytest.fixture(scope="session")
def faults() -> Path:
    if not FAULTS.is_dir():
        pytest.skip("files that once went wrong are not beside the repository (../shared/faults)")
    return FAULTS


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """``make_once(name, make)``: a folder that one worker makes with ``make(folder)`` and all may read."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def reproduced(make_once: MakeOnce) -> Project:
    """The tiny project, reproduced and committed; only to read: ``project`` is a copy to change."""

    def reproduce(folder: Path) -> None:
        project = make_project(folder, TINY)
        project.reproduce()
        project.commit("reproduced")

    return Project(make_once("reproduced", reproduce))
