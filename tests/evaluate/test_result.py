"""metrics/test.json as a typed value, and a figure that one file adds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.evaluate.metric import Metric, all_metrics, column, mean_of
from pneumoseg.evaluate.result import TestResult
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json, write_json
from pneumoseg.shared.registry import METRICS
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap
from pneumoseg.tune.tuning import tune
from tests.evaluate.evaluation_data import make_project
from tests.evaluate.test_tune_and_evaluate import EVALUATE, TUNE

pytestmark = pytest.mark.slow

OLDER = Path(__file__).resolve().parents[1] / "config/files/450e244"


def leaves(content: Any, key: str = "") -> dict[str, Any]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else None
    if items is None:
        return {key: content}
    return {name: value for part, item in items for name, value in leaves(item, f"{key}/{part}").items()}


def test_a_figure_of_one_file_stands_wherever_figures_do(tmp_path: Path) -> None:
    def bright(rows: pd.DataFrame) -> Any:
        return mean_of(column(rows, "probability"), column(rows, "pneumothorax"))

    project = make_project(tmp_path, images=64, size=(32, 32), seed=4)
    toy = Metric("mean_probability", "mean probability of positives", bright, of_rule=False, subgroups="any")
    with METRICS.temporarily(toy.name, toy):
        tune(project, TUNE, 1)
        result = evaluate(project, EVALUATE, 1)
    content, rows = read_json(project.test), pd.read_csv(project.test_cases)
    positive = rows[rows["pneumothorax"] == 1]
    assert content["mean_probability"] == pytest.approx(positive["probability"].mean(), abs=1e-6)
    low, high = content["intervals"]["mean_probability"]
    assert low < content["mean_probability"] < high
    assert result.figure("mean_probability").low == pytest.approx(low, abs=1e-6)
    sizes = [group for group in content["subgroups"] if group["by"] == "lesion_size"]
    assert sizes
    for group in sizes:
        expected = positive[positive["lesion_size"] == group["group"]]["probability"].mean()
        assert group["mean_probability"] == pytest.approx(expected, abs=1e-6)
    assert "mean_probability" in (project.plots / "subgroups.csv").read_text().splitlines()[0]
    assert "mean_probability" not in {metric.name for metric in all_metrics()}


def test_the_order_of_the_list_hangs_on_no_import() -> None:
    program = "import pneumoseg.evaluate.metrics.surface_distance; from pneumoseg.shared.registry import METRICS"
    asked = f"{program}; import sys; sys.stdout.write(' '.join(METRICS.names()))"
    names = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert names == [metric.name for metric in all_metrics()]
    assert names[:3] == ["dice_all", "dice_pos", "sensitivity"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=48, size=(32, 32), seed=4)
    tune(project, TUNE, 1)
    result = evaluate(project, EVALUATE, 1)
    found = TestResult.read(project.test)
    assert found.figures.keys() == result.figures.keys()
    assert found.notes == result.notes
    assert found.figure("hd95_px").value == pytest.approx(result.surface.figures["hd95_px"].value, abs=1e-6)
    found.write(tmp_path / "again.json")
    assert read_json(tmp_path / "again.json") == read_json(project.test)
    assert found.figure("nothing of this name") == Estimate()


def test_a_file_of_450e244_is_read_and_its_sentences_have_codes(tmp_path: Path) -> None:
    content = json.loads((OLDER / "test.json").read_text())
    found = TestResult.read(OLDER / "test.json")
    assert [note.text for note in found.notes] == content["notes"]
    assert "other" not in found.codes()
    assert found.codes() >= {"phantom"}
    found.write(tmp_path / "test.json")
    again = read_json(tmp_path / "test.json")
    without_notes = ({key: value for key, value in item.items() if key != "notes"} for item in (again, content))
    first, second = map(leaves, without_notes)
    assert first == second


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": "many"}, r"n: input should be a valid integer"),
        ({"dice_all": "good"}, r"figures\.dice_all\.value: input should be a valid number"),
        ({"beats_all_empty": None}, "beats_all_empty: input should be"),
    ],
)
def test_a_damaged_file_is_told_by_its_key(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    write_json(tmp_path / "test.json", json.loads((OLDER / "test.json").read_text()) | change)
    with pytest.raises(DataError, match=rf"test\.json: {says}.*run dvc repro evaluate"):
        TestResult.read(tmp_path / "test.json")


def test_every_figure_of_the_list_can_do_without_images_and_without_masks() -> None:
    """What no image gives is unknown, and what the masks give does not touch what the labels give."""
    bootstrap = PatientBootstrap(np.array([0, 0, 1, 2]), 100, 0)
    rows = pd.DataFrame(
        {"pneumothorax": [1, 0, 1, 0], "called": [1, 0, 0, 1], "probability": [0.9, 0.2, 0.6, 0.5], "instances": None}
    )
    distances = [metric.name for metric in all_metrics() if metric.section == "surface"]
    for name in ("dice", "iou", "truth_px", "predicted_px", "intersection_px", *distances):
        rows[name] = float("nan")
    found = bootstrap.estimates({metric.name: metric.of(rows) for metric in all_metrics()})
    known = {name: figure.value for name, figure in found.items() if figure.value is not None}
    assert known == {
        "sensitivity": 0.5, "specificity": 0.5, "prevalence": 0.5, "ppv": 0.5, "npv": 0.5, "f1": 0.5, "accuracy": 0.5,
        "false_positive_percent": 25.0, "false_negative_percent": 25.0, "auc": 1.0, "average_precision": 1.0,
    }  # fmt: skip
    nothing = PatientBootstrap(bootstrap.patients[:0], 100, 0)
    empty = nothing.estimates({metric.name: metric.of(rows[:0]) for metric in all_metrics()})
    assert {figure.value for figure in empty.values()} == {None}
