"""A tiny copy of this repository in a temporary folder, in which DVC really runs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "dvc.yaml",
    "params.yaml",
    "src",
    "stages",
    "data/more/README.md",
    "metrics/external/README.md",
    "data/inputs",
    "recipes",
    ".dvcignore",
    ".gitignore",
    "pyproject.toml",
    "requirements.lock",
)

#: Small enough for a second a stage, large enough for every stage to have something to do.
TINY: dict[str, Any] = {
    "phantom.images": 32,
    "phantom.unlabelled_images": 3,
    "phantom.size_px": 96,
    "split.folds": 3,
    "model.encoder": "tu-test_efficientnet",
    "model.encoder_depth": 4,
    "model.decoder_channels": [16, 8, 8, 8],
    "train.phases.0.size_px": 64,
    "train.phases.0.epochs": 2,
    "evaluate.bootstrap_replicates": 100,
    "evaluate.permutations": 200,
    "runtime.workers": 0,
    "runtime.resume_interval_seconds": 0.0,
}

#: The main line up to its pages.
STAGES = ("phantom", "extract", "masks", "explore", "split", "train", "predict", "tune", "evaluate", "report")


@dataclass
class Project:
    """A git and DVC repository; commands run in it as a user would type them."""

    root: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            cwd=self.root,
            env=os.environ | environment,
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

    def stage(self, name: str, *arguments: str) -> tuple[int, str]:
        """Run a stage script in this process, with the code of this repository: its exit code, and what it told."""

        def script() -> int:
            path = f"stages/{name}.py"
            with mock.patch.object(sys, "argv", [path, *arguments]), pytest.raises(SystemExit) as ended:
                runpy.run_path(str(ROOT / path), run_name="__main__")
            return int(ended.value.code or 0)

        return self._told(script)

    def run_stages(self, *names: str) -> None:
        """Run stage scripts in this process, train with fold 0."""
        for name in names:
            code, told = self.stage(name, *(("--fold", "0") if name == "train" else ()))
            assert code == 0, f"{name}: {told}"

    def run_command(self, cmd: str) -> None:
        """Run a stage in this process by its ``cmd`` of dvc.yaml."""
        _, _, script, *arguments = cmd.split()
        code, told = self.stage(Path(script).stem, *arguments)
        assert code == 0, told

    def reproduce(self) -> None:
        """Leave what ``dvc repro`` leaves, in a third of its time: stages run in this process, then DVC takes stock."""
        with self._repository() as repo:
            for stage in plan_repro(repo.index.graph):
                self.run_command(stage.cmd)
            repo.commit(force=True)

    def command(self, *arguments: str) -> str:
        """Run ``pneumoseg`` in this process; gives what it told."""
        from pneumoseg.commands.cli import main

        code, told = self._told(lambda: main(list(arguments)))
        assert code == 0, told
        return told

    def _told(self, work: Callable[[], int]) -> tuple[int, str]:
        told = io.StringIO()
        handler = logging.StreamHandler(told)
        logger = logging.getLogger("pneumoseg")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with contextlib.chdir(self.root), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                return work(), told.getvalue()
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def dvc(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("dvc", *arguments, check=check, **environment)

    def changed(self) -> set[str]:
        """The stages that the next ``dvc repro`` would run for what they depend on themselves."""
        with self._repository() as repo:
            return set(repo.status())

    @contextlib.contextmanager
    def _repository(self) -> Iterator[Repo]:
        """DVC in this process; what its libraries warn of is not the project's."""
        quiet = warnings.catch_warnings(action="ignore", category=DeprecationWarning)
        with contextlib.chdir(self.root), quiet, Repo() as repo:
            yield repo

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
                node = node[int(part) if part.isdigit() else part]
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
