"""Figures for other prevalences and for groups that a table of the user's names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import assess
from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.metrics.image_calls import predictive_values
from pneumoseg.evaluate.result import TestResult
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.stats.bootstrap import PatientBootstrap
from tests.evaluate.evaluation_data import make_project

pytestmark = pytest.mark.slow

PARAMS = EvaluateParams(bootstrap_replicates=200, permutations=300)


def calls(sensitivity: int, specificity: int) -> pd.DataFrame:
    """A hundred images of each class, of which so many are called rightly."""
    positive = np.repeat([1, 0], 100)
    called = np.concatenate([np.arange(100) < sensitivity, np.arange(100) >= specificity]).astype(int)
    return pd.DataFrame({"pneumothorax": positive, "called": called})


def test_predictive_values_of_the_deck_at_its_prevalence_and_at_three_percent() -> None:
    """Sensitivity 98 and specificity 92 %: PPV 80 and NPV 99 % fit a prevalence of a quarter; at 3 % PPV is 27 %."""
    rows = calls(98, 92)
    values = {share: predictive_values(rows, share) for share in (0.25, 0.03, 0.5)}
    assert round(values[0.25]["ppv"].value, 2) == 0.80
    assert round(values[0.25]["npv"].value, 2) == 0.99
    assert round(values[0.03]["ppv"].value, 2) == 0.27
    assert values[0.5]["ppv"].value == pytest.approx(98 / 106)  # as in the set itself
    low, high = PatientBootstrap(np.arange(200), 300, 0).interval(values[0.03]["ppv"])
    assert low < values[0.03]["ppv"].value < high
    assert np.isnan(predictive_values(calls(0, 100), 0.1)["ppv"].value)


def cases(groups: bool = True) -> pd.DataFrame:
    """Forty positives, half of them with a tube and easily found, sixty negatives."""
    chooser = np.random.default_rng(0)
    positive, tube = np.arange(100) < 40, np.arange(100) % 2 == 0
    rows = pd.DataFrame({name: np.full(100, np.nan) for name in TEST_CASES})
    rows["image_id"] = [f"i{number}" for number in range(100)]
    rows["patient"] = rows["image_id"]
    rows["probability"] = np.clip(0.3 + 0.1 * chooser.standard_normal(100) + positive * (0.05 + 0.4 * tube), 0, 1)
    rows["pneumothorax"], rows["called"] = positive.astype(int), (rows["probability"] > 0.5).astype(int)
    rows["plain_called"], rows["phantom"], rows["lesion_size"] = rows["called"], 0, ""
    rows["sex"] = rows["age_band"] = rows["view_position"] = "unknown"
    rows["instances"] = None
    return rows.assign(chest_tube=np.where(tube, "yes", "no")) if groups else rows


def test_a_column_of_two_values_is_tested_against_all_negatives() -> None:
    rows = cases()
    result = assess(rows, (), PARAMS)
    (test,) = result.group_tests
    assert (test.by, test.first, test.second, test.n_first, test.n_second) == ("chest_tube", "no", "yes", 20, 20)

    def area(group: str) -> float:
        positive = rows[(rows["pneumothorax"] == 1) & (rows["chest_tube"] == group)]["probability"].to_numpy()
        negative = rows[rows["pneumothorax"] == 0]["probability"].to_numpy()
        return float((positive[:, None] > negative).mean())

    gap = test.figure("auc_difference")
    assert gap.value == pytest.approx(area("no") - area("yes"), abs=1e-6)
    assert gap.high < 0
    assert test.auc_permutation_p == pytest.approx(1 / 301, abs=1e-6)  # no shuffle comes near
    shuffled = rows.assign(chest_tube=np.random.default_rng(5).permutation(rows["chest_tube"]))
    assert assess(shuffled, (), PARAMS).group_tests[0].auc_permutation_p > 0.02
    groups = {(group.by, group.group): group for group in result.subgroups}
    assert groups["chest_tube", "yes"].n == 50
    assert groups["chest_tube", "yes"].figure("auc").value == 1.0
    assert assess(cases(groups=False), (), PARAMS).group_tests == ()


def project(tmp_path: Path, table: str) -> tuple[Layout, EvaluateParams]:
    layout = make_project(tmp_path, images=40, maps=False)
    write_json(layout.thresholds, {"rule": {"kind": "probability", "mask_threshold": None, "gate_probability": 0.5}})
    (layout.root / "groups.csv").write_text(table)
    return layout, PARAMS.model_copy(update={"subgroup_table": "groups.csv", "prevalences": (0.03,)})


def test_the_table_reaches_test_json_and_leaves_the_cases_as_they_are(tmp_path: Path) -> None:
    layout, params = project(tmp_path, "")
    ids = sorted(path.stem for path in layout.images.glob("*.png")) or [f"img{number:04d}" for number in range(40)]
    lines = [f"{name},{'yes' if number % 2 else 'no'}" for number, name in enumerate(ids) if number % 5]
    (layout.root / "groups.csv").write_text("\n".join(["image_id,chest_tube", *lines]) + "\n")
    evaluate(layout, params)
    read = TestResult.read(layout.test)
    groups = {group.group: group.n for group in read.subgroups if group.by == "chest_tube"}
    assert set(groups) == {"yes", "no", "unknown"}
    assert sum(groups.values()) == read.n
    assert read.at_prevalence[0].prevalence == 0.03
    assert read.at_prevalence[0].figure("ppv").value is not None
    assert read.delong.figure("auc").value == read.figure("auc").value
    assert "chest_tube" not in pd.read_csv(layout.test_cases).columns
    assert json.loads(layout.test.read_text())["delong"]["intervals"]["auc"][0] is not None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("image,chest_tube\nimg0001,yes\n", "no column image_id"),
        ("image_id,chest_tube\nimg0001,yes\nimg0001,no\n", "img0001 has two rows"),
        ("image_id,sex\nimg0001,F\n", "column sex is one of the figures' own"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(tmp_path: Path, table: str, said: str) -> None:
    layout, params = project(tmp_path, table)
    with pytest.raises(DataError, match=said):
        evaluate(layout, params)
