"""The configuration of the report: compared with the default, without folders of a user's machine."""

import hashlib

import pytest

from pneumoseg.config import Params
from pneumoseg.config.report import ReportParams
from pneumoseg.report.parameter_changes import KEY_PACKAGES, changes, configuration_part, read_lock, settings
from pneumoseg.shared.errors import DataError


def test_the_default_differs_in_nothing():
    assert changes(Params()) == []
    every = settings(Params().written())
    assert every["report.radiograph_format"] == '"jpeg"'
    assert not any(key.startswith(("runtime.", "tracking.")) for key in every)


def test_differences_name_both_values(root):
    params = Params(report=ReportParams(unlabelled_cases=9))
    assert changes(params) == [("report.unlabelled_cases", "9", "6")]
    part = configuration_part(params, root / "requirements.lock", (("fold 0, data", "0f"),))
    assert part.tables[0].rows == (("report.unlabelled_cases", "9", "6"),)
    assert len(part.tables[1].rows) == len(settings(params.written()))
    assert ("fold 0, data", "0f") in part.parts[0].tables[0].rows


def test_versions_come_from_the_lock(tmp_path):
    text = "torch==2.9.1 \\\n    --hash=sha256:00\nTorchmetrics==1.8 ; python_version > '3'\nnumpy==2.4.0\n"
    (tmp_path / "requirements.lock").write_text(text)
    pinned, digest = read_lock(tmp_path / "requirements.lock")
    assert pinned == {"torch": "2.9.1", "torchmetrics": "1.8", "numpy": "2.4.0"}
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(DataError, match="git checkout"):
        read_lock(tmp_path / "no.lock")


def test_the_real_lock_pins_every_package_the_report_names(root):
    assert set(KEY_PACKAGES) <= set(read_lock(root / "requirements.lock")[0])


def test_absolute_paths_lose_their_folders():
    content = {
        "data": {"root": "/home/anna/siim", "rest": ["C:\\Users\\anna\\b.csv", "data/x"]},
        "tracking": {"uri": "/x"},
    }
    assert settings(content) == {"data.root": '"…/siim"', "data.rest": '["…/b.csv", "data/x"]'}
