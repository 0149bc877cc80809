"""Figures of single outputs against scikit-learn, and the paired difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from pneumoseg.evaluate.outputs import classification, judge_outputs

LIMITS = {"frontal": 0.4, "lateral": 0.6, "fused": 0.5}


def made_up(count: int = 80) -> tuple[pd.DataFrame, pd.DataFrame]:
    chooser = np.random.default_rng(4)
    positive = chooser.random(count) < 0.35
    rows = pd.DataFrame(
        {"image_id": [f"i{n}" for n in range(count)], "patient": [f"p{n // 2}" for n in range(count)],
         "pneumothorax": positive.astype(int)}
    )  # fmt: skip
    skill = {"frontal": 0.05, "lateral": 0.1, "fused": 0.4}
    outputs = {name: np.clip(chooser.normal(0.35 + gain * positive, 0.15), 0, 1) for name, gain in skill.items()}
    return rows, pd.DataFrame(outputs, index=pd.Index(rows["image_id"], name="image_id"))


def test_each_figure_is_scikit_learn_s() -> None:
    rows, outputs = made_up()
    found = judge_outputs(rows, outputs, LIMITS, 200, 1)
    truth = rows["pneumothorax"]
    for one in found.single:
        called = outputs[one.name].to_numpy() >= LIMITS[one.name]
        wanted = {
            "auc": metrics.roc_auc_score(truth, outputs[one.name]),
            "accuracy": metrics.accuracy_score(truth, called),
            "precision": metrics.precision_score(truth, called),
            "recall": metrics.recall_score(truth, called),
            "macro_f1": metrics.f1_score(truth, called, average="macro"),
            "weighted_f1": metrics.f1_score(truth, called, average="weighted"),
        }
        assert {name: one.figure(name).value for name in wanted} == pytest.approx(wanted)
        assert all(one.figure(name).low <= value <= one.figure(name).high for name, value in wanted.items())


def test_weighted_and_macro_f1_by_hand() -> None:
    """Calls of 3 positives and 1 negative: 2 hits, 1 miss, 1 false alarm; F1 2/3 and 0."""
    positive, scores = np.array([1, 1, 1, 0]) > 0, np.array([0.9, 0.8, 0.1, 0.7])
    weights = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert classification("macro_f1", positive, scores, 0.5, weights).tolist() == pytest.approx([1 / 3, 0.4])
    assert classification("weighted_f1", positive, scores, 0.5, weights).tolist() == pytest.approx([0.5, 0.8])


def test_the_difference_is_paired_and_of_the_images_that_have_all_views() -> None:
    rows, outputs = made_up()
    some = outputs.iloc[:60]
    found = judge_outputs(rows, some, LIMITS, 400, 1)
    assert (found.n, found.first, found.last) == (60, "frontal", "fused")
    gap = found.difference.figure("auc")
    frontal, fused = found.single[0].figure("auc"), found.single[-1].figure("auc")
    assert gap.value == pytest.approx(fused.value - frontal.value)
    assert gap.low > 0
    same = judge_outputs(rows, some.assign(fused=some["frontal"]), LIMITS | {"fused": 0.4}, 400, 1)
    assert same.difference.figure("auc").interval == [0.0, 0.0]  # the same resamples on both sides
    assert judge_outputs(rows, outputs.iloc[:0], LIMITS, 100, 1) is None
