"""A small project whose row in MLflow has a model, with the code of this repository."""

from __future__ import annotations

import shutil
from pathlib import Path

from pneumoseg.shared.layout import Layout
from pneumoseg.track import record_bundle
from tests.track.tracking_files import REPO, edit_params, make_project, make_repository
from tests.use.conftest import write_bundle
from tests.use.test_answer_rows import DICOM


def make_logged(root: Path) -> None:
    """Make ``root``, with a bundle that was trained on no phantom and a radiograph beside it."""
    root.mkdir()
    make_repository(root)
    make_project(root)
    params = edit_params(root, tracking={"log_model": True})
    shutil.rmtree(root / "src")
    shutil.copytree(REPO / "src/pneumoseg", root / "src/pneumoseg", ignore=shutil.ignore_patterns("__pycache__"))
    write_bundle(root / "data/bundle")
    record_bundle(Layout(root), params)
    record_bundle(Layout(root), params)  # the same again: no second model
    (root / "radiograph.dcm").write_bytes(DICOM)
