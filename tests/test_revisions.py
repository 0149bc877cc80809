"""Repositories that git or DVC will not read."""

import subprocess

import pytest

from pneumoseg import revisions
from pneumoseg.shared.errors import DataError


@pytest.mark.parametrize(
    "read",
    [
        revisions.experiments,
        lambda root: revisions.resolve(root, "main"),
        lambda root: revisions.Snapshot(root).stages,
    ],
)
def test_a_repository_of_another_user_is_told_in_gits_own_words(tmp_path, monkeypatch, read):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(DataError, match=r"another user(.|\n)*git config --global --add safe.directory"):
        read(tmp_path)
