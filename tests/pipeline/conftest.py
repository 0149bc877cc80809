"""Copies of the tiny project that a test may change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.project import TINY, Project, make_project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A private copy of the reproduced project."""
    return reproduced.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[dict[str, Any]], Project]:
    """Make a project in which nothing has run."""
    return lambda values: make_project(tmp_path / "fresh", TINY | values)
