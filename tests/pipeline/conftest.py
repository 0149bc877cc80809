"""A tiny copy of this repository in a temporary folder, in which DVC really runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "dvc.yaml",
    "params.yaml",
    "src",
    "stages",
    "metrics/external/README.md",
    "recipes",
    ".dvcignore",
    ".gitignore",
    "pyproject.toml",
    "requirements.lock",
)

#: Small enough for seconds a stage, large enough for every stage to have something to do.
TINY: dict[str, Any] = {
    "phantom.images": 32,
    "phantom.unlabelled_images": 3,
    "phantom.size_px": 128,
    "split.folds": 3,
    "train.phases": [
        {
            "name": "main",
            "size_px": 64,
            "crop_px": None,
            "epochs": 2,
            "positive_share": None,
            "lr": None,
            "scheduler": None,
            "loss": None,
            "freeze_encoder_epochs": 0,
            "start": "best",
        }
    ],
    "evaluate.bootstrap_replicates": 100,
    "runtime.workers": 0,
    "runtime.resume_interval_seconds": 0.0,
}


@dataclass
class Project:
    """A git and DVC repository; commands run in it as a user would type them."""

    root: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            cwd=self.root,
            env=_environment(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        if check and result.returncode:
            pytest.fail(
                f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}\n{result.stderr}", pytrace=False
            )
        return result

    def dvc(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, check=check, **environment)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout

    def commit(self, message: str = "state") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def set_params(self, values: dict[str, Any]) -> None:
        yaml = YAML()
        path = self.root / "params.yaml"
        content = yaml.load(path)
        for name, value in values.items():
            node = content
            *parents, last = name.split(".")
            for part in parents:
                node = node[part]
            node[last] = value
        yaml.dump(content, path)

    def copy(self, target: Path) -> Project:
        shutil.copytree(self.root, target, symlinks=True)
        return Project(target)

    def client(self) -> Any:
        """An MLflow client on the project's own store."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(f"sqlite:///{self.root / 'mlflow.db'}")

    def rows(self) -> list[Any]:
        """The top-level MLflow runs, newest first."""
        client = self.client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, max_results=1000)
        return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]


def make_project(root: Path, values: dict[str, Any]) -> Project:
    """Copy the repository's own files, set parameters, and commit."""
    root.mkdir(parents=True)
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    (root / "data").mkdir()
    shutil.copy2(ROOT / "data/.gitignore", root / "data/.gitignore")
    (root / ".dvc").mkdir()
    shutil.copy2(ROOT / ".dvc/config", root / ".dvc/config")
    shutil.copy2(ROOT / ".dvc/.gitignore", root / ".dvc/.gitignore")
    project = Project(root)
    project.set_params(values)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.git("config", "user.email", "test@example.org")
    project.git("config", "user.name", "Test")
    project.commit("start")
    return project


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project after its first ``dvc repro``, committed; copy it before changing anything."""
    project = make_project(tmp_path_factory.mktemp("reproduced") / "project", TINY)
    project.dvc("repro")
    project.commit("reproduced")
    return project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A private copy of the reproduced project."""
    return reproduced.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[dict[str, Any]], Project]:
    """Make a project in which nothing has run."""
    return lambda values: make_project(tmp_path / "fresh", TINY | values)


def _environment(extra: dict[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "MLFLOW_", "PNEUMOSEG_", "GIT_"))
    }
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1"} | extra
