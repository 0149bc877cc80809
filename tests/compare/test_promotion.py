"""A candidate that may have lost something is held back, by bounds that an independent computation gives too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pneumoseg.compare.promotion import changes
from tests.compare.comparison_cases import case_table, experiment

POSITIVE, NEGATIVE = 80, 120


def cases(missed: int = 0, noise: float = 0.0) -> pd.DataFrame:
    """Every image of a patient of its own; the first ``missed`` positive ones are not called."""
    truth = [100] * POSITIVE + [0] * NEGATIVE
    predicted = [0] * missed + [100] * (POSITIVE - missed) + [0] * NEGATIVE
    ranks = np.linspace(1, 0, POSITIVE + NEGATIVE) + noise * np.random.default_rng(0).random(POSITIVE + NEGATIVE)
    names = [f"image{number:03d}" for number in range(POSITIVE + NEGATIVE)]
    return case_table(names, names, truth, predicted, predicted, (ranks / ranks.max()).tolist())


def lost(before: pd.DataFrame, after: pd.DataFrame, margin: float = 0.05) -> list[str]:
    found = changes([experiment("old", before), experiment("new", after)], 2000, 0)
    assert (found.images, found.positives) == (len(before), int((before["truth_px"] > 0).sum()))
    return [change.metric.name for change in found.figures if change.lost(margin)]


def test_the_same_answers_lose_nothing_and_worse_ones_what_they_lose():
    assert lost(cases(), cases()) == []
    assert lost(cases(), cases(missed=20)) == ["sensitivity"]
    assert lost(cases(), cases(noise=5.0)) == ["auc"]
    assert lost(cases(), cases(missed=20, noise=5.0)) == ["auc", "sensitivity"]
    assert lost(cases(missed=20), cases()) == []


def test_the_bound_of_sensitivity_is_that_of_a_paired_bootstrap():
    found = changes([experiment("old", cases()), experiment("new", cases(missed=8))], 10_000, 0).figures[1]
    assert found.value == pytest.approx(-0.1)
    drawn = np.random.default_rng(1).binomial(POSITIVE, 8 / POSITIVE, 20_000)  # of the positives, those missed anew
    assert found.low == pytest.approx(-np.percentile(drawn / POSITIVE, 97.5), abs=0.01)
    assert not found.lost(0.2)
    assert found.lost(0.15)


def test_what_cannot_be_told_counts_as_lost():
    few = cases().iloc[[0, 1, -2, -1]]
    assert lost(few, few.assign(called=[1, 0, 0, 0])) == ["sensitivity"]
    assert "auc" in lost(cases().iloc[:POSITIVE], cases(missed=1).iloc[:POSITIVE])
