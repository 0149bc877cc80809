"""Pairs of views: one and one, one and two, two and one, and who has no study."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.shared.studies import read_laterals
from pneumoseg.shared.tables import METADATA, write_table


def test_views_are_paired_by_study_and_what_is_more_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ("one-f", "s1", "PA"), ("one-l", "s1", "LATERAL"),
        ("two-f", "s2", "AP"), ("two-l1", "s2", "LL"), ("two-l2", "s2", "RL"),
        ("three-f1", "s3", "PA"), ("three-f2", "s3", "AP"), ("three-l", "s3", "LL"),
        ("alone-f", "s4", "PA"), ("alone-l", "s5", "LL"),
        ("none-f", "", "PA"), ("none-l", "", "LL"), ("unknown-view", "s1", ""),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["image_id", "study_id", "view_position"]).sample(frac=1, random_state=1)
    write_table(tmp_path / "metadata.csv", table, METADATA)
    with caplog.at_level(logging.WARNING, "pneumoseg"):
        found = read_laterals(tmp_path / "metadata.csv")
    assert found == {
        "one-f": "one-l", "unknown-view": "one-l", "two-f": "two-l1", "three-f1": "three-l", "three-f2": "three-l",
    }  # fmt: skip
    assert [record.args[1] for record in caplog.records] == [1, 2]
