"""Figures that 450e244 wrote, compared with those of today's stage on the same images."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.compare.comparing import compare
from pneumoseg.compare.record import record
from pneumoseg.evaluate.result import TestResult
from tests.track.repositories import shell

OLD = Path(__file__).resolve().parents[1] / "config/files/450e244"


def test_figures_of_450e244_are_compared_with_todays(tmp_path: Path) -> None:
    """The old ones are a commit, the new ones lie here: today's form, and one case called otherwise."""
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    for name in ("test.json", "test_cases.csv", "thresholds.json"):
        shutil.copy2(OLD / name, metrics / name)
    shutil.copy2(OLD / "params.yaml", tmp_path / "params.yaml")
    for command in (
        "git init -q -b main",
        "git add --all",
        "git -c user.name=T -c user.email=t@example.org commit -qm old",
    ):
        shell(tmp_path, *command.split())
    cases = pd.read_csv(metrics / "test_cases.csv", dtype=str, keep_default_na=False)
    negative = cases.index[(cases["truth_px"] == "0") & (cases["predicted_px"] == "0")]
    assert len(negative), "the old run called no negative right"
    cases.loc[negative[0], ["called", "predicted_px", "dice", "iou"]] = ["1", "9", "0", "0"]
    cases.to_csv(metrics / "test_cases.csv", index=False, lineterminator="\n")
    content = json.loads((metrics / "test.json").read_text())
    content["dice_all"] = round(pd.to_numeric(cases["dice"]).mean(), 6)
    (metrics / "test.json").write_text(json.dumps(content))
    TestResult.read(metrics / "test.json").write(metrics / "test.json")
    found = record(compare(tmp_path, ["main", "workspace"], 200, 0))
    before, after = (item["figures"]["dice_all"]["value"] for item in found["experiments"])
    assert before == pytest.approx(json.loads((OLD / "test.json").read_text())["dice_all"], abs=1e-6)
    assert after == pytest.approx(before - 1 / len(cases), abs=1e-6)
    difference = found["comparisons"][0]["differences"]["dice_all"]["difference"]
    assert difference == pytest.approx(-1 / len(cases), abs=1e-6)
