"""ROC, precision-recall and calibration against scikit-learn and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap
from pneumoseg.stats.calibration import (
    apply_temperature,
    calibration_error,
    fit_temperature,
    reliability_table,
)
from pneumoseg.stats.ranking import (
    area_under_roc,
    average_precision,
    delong_interval,
    placements,
    weighted_auc,
    weighted_average_precision,
)

COARSE = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(COARSE)
def test_weighted_figures_are_sklearn_on_copied_images(rows: list[tuple[int, bool, int]]) -> None:
    scores = np.array([row[0] for row in rows]) / 6
    positive, weights = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    copied_score, copied_label = np.repeat(scores, weights), np.repeat(positive, weights)
    area = weighted_auc(scores, positive, weights[None])[0]
    precision = weighted_average_precision(scores, positive, weights[None])[0]
    if copied_label.any() and not copied_label.all():
        assert area == pytest.approx(metrics.roc_auc_score(copied_label, copied_score))
    else:
        assert np.isnan(area)
    if copied_label.any():
        assert precision == pytest.approx(metrics.average_precision_score(copied_label, copied_score))
    else:
        assert np.isnan(precision)


def test_one_class_has_no_area() -> None:
    for positive in (np.zeros(4, bool), np.ones(4, bool)):
        figure = area_under_roc(np.arange(4) / 4, positive)
        assert np.isnan([figure.value, *PatientBootstrap(np.arange(4), 100, 0).interval(figure)]).all()


def test_perfect_ranking_is_not_certain() -> None:
    positive = np.array([True] * 6 + [False] * 20)
    bootstrap = PatientBootstrap(np.array([0, 0, 1, 2, 3, 4, *range(5, 25)]), 200, 0)
    exact = stats.binomtest(5, 5).proportion_ci(0.95, "exact")  # five positive patients
    area, precision = (make(positive.astype(float), positive) for make in (area_under_roc, average_precision))
    assert bootstrap.estimates({"area": area, "precision": precision}) == {
        "area": Estimate(1.0, pytest.approx(exact.low), 1.0),
        "precision": Estimate(1.0),
    }


def test_auc_interval_is_near_that_of_theory() -> None:
    rng = np.random.default_rng(2)
    positive = np.arange(400) < 120
    scores = rng.normal(positive * 1.2, 1)
    figure = area_under_roc(scores, positive)
    value, (low, high) = figure.value, PatientBootstrap(np.arange(400), 1000, 0).interval(figure)
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)  # Hanley and McNeil 1982
    variance = (value * (1 - value) + 119 * (q1 - value**2) + 279 * (q2 - value**2)) / (120 * 280)
    assert (high - low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.15)


def test_calibration_error_is_the_loop_over_bins() -> None:
    rng = np.random.default_rng(3)
    probability, positive = np.append(rng.random(200), [0.0, 1.0]), rng.random(202) < 0.4
    weights = rng.integers(0, 3, 202)
    copied, label = np.repeat(probability, weights), np.repeat(positive, weights)
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (copied >= low) & ((copied < low + 0.1) | (low == 0.9))
        if inside.any():
            expected += inside.mean() * abs(copied[inside].mean() - label[inside].mean())
    assert calibration_error(probability, positive, 10, weights[None])[0] == pytest.approx(expected)
    table = reliability_table(probability, positive, 10)
    assert sum(row["n"] for row in table) == 202


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(4)
    logit = rng.normal(0, 1.5, 20000)
    positive = rng.random(20000) < 1 / (1 + np.exp(-logit))
    probability = 1 / (1 + np.exp(-2.5 * logit))
    temperature = fit_temperature(probability, positive)
    assert temperature == pytest.approx(2.5, rel=0.05)
    ones = np.ones((1, 20000), np.int64)
    before = calibration_error(probability, positive, 10, ones)[0]
    after = calibration_error(apply_temperature(probability, temperature), positive, 10, ones)[0]
    assert after < before / 4
    assert np.isnan(fit_temperature(probability, np.ones(20000, bool)))
    assert apply_temperature(np.array([0.0, 0.5, 1.0]), 2.0) == pytest.approx([0.001, 0.5, 0.999], abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(COARSE)
def test_the_mean_placement_of_positives_is_the_auc(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive = np.array([row[0] for row in rows], np.float64), np.array([row[1] for row in rows])
    placed = placements(scores, positive)
    if positive.any() and not positive.all():
        assert placed[positive].mean() == pytest.approx(metrics.roc_auc_score(positive, scores))
    elif positive.all():
        assert np.isnan(placed).all()


def test_delong_by_hand_and_where_it_cannot_be_had() -> None:
    """Placements 1 and 1/2 in both classes: variance 1/8 each, standard error sqrt(1/16 + 1/16)."""
    scores, positive = np.array([0.9, 0.6, 0.5, 0.7]), np.array([True, True, False, False])
    assert delong_interval(scores, positive) == pytest.approx((0.75 - 1.959964 * 8**-0.5, 0.75 + 1.959964 * 8**-0.5))
    assert np.isnan(delong_interval(scores, np.array([True, False, False, False]))).all()


def test_delong_agrees_with_the_bootstrap_where_images_are_independent() -> None:
    chooser = np.random.default_rng(3)
    positive = chooser.random(400) < 0.4
    scores = chooser.normal(positive.astype(float), 1.0)
    low, high = delong_interval(scores, positive)
    boot = PatientBootstrap(np.arange(400), 2000, 1).interval(area_under_roc(scores, positive))
    assert (low, high) == pytest.approx(boot, abs=0.01)
