"""Bootstrap over patients: against plain resampling, exact intervals and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pneumoseg.stats.bootstrap import PatientBootstrap, Ratio, percentile_interval


def test_weights_are_resamples_of_patients() -> None:
    patients = np.array([0, 0, 1, 2, 2, 2])
    bootstrap = PatientBootstrap(patients, 300, 5)
    weights = np.concatenate(list(bootstrap.weights()))
    assert weights.shape == (300, 3)
    assert (weights.sum(axis=1) == 3).all()
    assert np.array_equal(weights, np.concatenate(list(bootstrap.weights())))


def test_ratio_intervals_are_those_of_copied_images() -> None:
    rng = np.random.default_rng(0)
    patients = np.unique(rng.integers(0, 25, 90), return_inverse=True)[1]
    values, chosen = rng.random(90), rng.random(90) < 0.5
    bootstrap = PatientBootstrap(patients, 400, 1)
    found = bootstrap.ratios({"mean": Ratio.of(values * chosen, chosen)})["mean"]
    images = [np.flatnonzero(patients == patient) for patient in range(25)]
    means = []
    for row in np.concatenate(list(bootstrap.weights())):
        copied = np.concatenate([np.tile(images[patient], count) for patient, count in enumerate(row)])
        means.append(values[copied][chosen[copied]].mean())
    assert found == pytest.approx(np.percentile(means, [2.5, 97.5]))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_all_alike_gives_the_exact_interval(count: int) -> None:
    bootstrap = PatientBootstrap(np.arange(count), 100, 0)
    ones = Ratio.of(np.ones(count), np.ones(count))
    zeros = Ratio.of(np.zeros(count), np.ones(count), scale=100)
    found = bootstrap.ratios({"ones": ones, "zeros": zeros})
    exact = stats.binomtest(count, count).proportion_ci(0.95, "exact")
    assert found["ones"] == pytest.approx((exact.low, 1.0))
    exact = stats.binomtest(0, count).proportion_ci(0.95, "exact")
    assert found["zeros"] == pytest.approx((0.0, 100 * exact.high))


def test_what_is_undefined_has_no_value_and_no_interval() -> None:
    bootstrap = PatientBootstrap(np.arange(4), 100, 0)
    nothing = Ratio.of(np.zeros(4), np.zeros(4))
    assert np.isnan(nothing.value)
    assert np.isnan(bootstrap.ratios({"nothing": nothing})["nothing"]).all()
    # One patient of 30 defines the figure: most resamples have no value.
    rare = Ratio.of([0.3] + [0.0] * 29, [1.0] + [0.0] * 29)
    assert np.isnan(PatientBootstrap(np.arange(30), 500, 0).ratios({"rare": rare})["rare"]).all()
    assert np.isnan(percentile_interval(np.empty(0))).all()
    assert np.isnan(
        PatientBootstrap(np.empty(0, np.int64), 100, 0).ratios({"nothing": Ratio.of([], [])})["nothing"]
    ).all()


def test_a_subset_draws_its_own_patients_only() -> None:
    bootstrap = PatientBootstrap(np.array([0, 1, 1, 2, 3]), 50, 0)
    part = bootstrap.subset(np.array([False, True, False, False, True]))
    assert part.patients.tolist() == [0, 1]


@pytest.mark.slow
def test_intervals_cover_the_truth_over_patients_not_images() -> None:
    """Simulated patients with 1 to 9 alike images: 95 % intervals hold the true mean about 95 times of 100."""
    rng = np.random.default_rng(11)
    covered = {"patients": 0, "images": 0}
    trials = 300
    for trial in range(trials):
        sizes = rng.integers(1, 10, 60)
        patients = np.repeat(np.arange(60), sizes)
        value = np.clip(rng.normal(0.6, 0.2, 60)[patients] + rng.normal(0, 0.05, len(patients)), -2, 2)
        ratio = {"mean": Ratio.of(value, np.ones(len(value)), bounded=False)}
        for name, groups in (("patients", patients), ("images", np.arange(len(patients)))):
            low, high = PatientBootstrap(groups, 300, trial).ratios(ratio)["mean"]
            covered[name] += low <= 0.6 <= high
    assert 0.90 <= covered["patients"] / trials <= 0.98
    assert covered["images"] / trials < 0.75  # what ignoring patients would have given
