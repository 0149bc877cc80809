"""The permutation tests against scipy's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pneumoseg.stats.permutations import shuffled_p


def test_p_of_two_groups_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(12) * 0.8, rng.random(15)
    expected = stats.permutation_test(
        (first, second), lambda a, b, axis: b.mean(axis) - a.mean(axis), n_resamples=20000, rng=1, vectorized=True
    ).pvalue
    assert shuffled_p(first, second, 5000, 0) == pytest.approx(expected, abs=0.02)
    assert shuffled_p(np.zeros(20), np.ones(20), 999, 0) == pytest.approx(1 / 1000)
    for unknown in (np.empty(0), np.full(3, np.nan)):
        assert np.isnan(shuffled_p(unknown, second, 99, 0))
