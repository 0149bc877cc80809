"""Limits of the image probability: Youden's index and a least sensitivity, against every limit tried one by one."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.config.tune import TuneParams
from pneumoseg.tune.probability_rule import CallSearch, ImageCalls, limits_between
from pneumoseg.tune.search import Family
from pneumoseg.tune.selection import search_family

FAMILY = Family("probability", gated=False)


def images(seed: int = 0, count: int = 60) -> tuple[ImageCalls, np.ndarray]:
    chooser = np.random.default_rng(seed)
    positive = chooser.random(count) < 0.4
    probability = np.round(np.clip(chooser.normal(0.35 + 0.25 * positive, 0.2), 0, 1), 2)  # with ties
    return ImageCalls(np.arange(count), probability, positive), np.arange(count) % 4


def rates(calls: ImageCalls, limit: float, kept: np.ndarray) -> tuple[float, float]:
    called = calls.probability >= limit
    return called[kept & calls.positive].mean(), (~called)[kept & ~calls.positive].mean()


@pytest.mark.parametrize("least", [0.5, 0.8, 0.95, 1.0])
def test_the_most_specific_limit_with_enough_sensitivity(least: float):
    calls, groups = images()
    params = TuneParams(objective="sensitivity_at_least", least_sensitivity=least)
    found = search_family(CallSearch(calls, groups, params), FAMILY, [params.objective], least)[params.objective]
    for left, best in found.best.items():
        kept = ~np.isin(groups, list(left))
        tried = [rates(calls, limit, kept) for limit in np.linspace(0, 1, 1001)]
        wanted = max(specificity for sensitivity, specificity in tried if sensitivity >= least)
        sensitivity, specificity = rates(calls, best.rule.gate_probability, kept)
        assert sensitivity >= least
        assert specificity == wanted


def test_the_limit_with_the_highest_youden_index():
    calls, groups = images(1)
    params = TuneParams(objective="youden")
    found = search_family(CallSearch(calls, groups, params), FAMILY, ["youden"])["youden"]
    for left, best in found.best.items():
        kept = ~np.isin(groups, list(left))
        wanted = max(sum(rates(calls, limit, kept)) for limit in np.linspace(0, 1, 1001))
        assert sum(rates(calls, best.rule.gate_probability, kept)) == pytest.approx(wanted)


def test_balanced_still_searches_the_limits_that_are_given():
    calls, groups = images(2)
    search = CallSearch(calls, groups, TuneParams(gate_probabilities=(0.7, 0.4)))
    (block,) = search.blocks(FAMILY)
    assert [block.rule(row).gate_probability for row in range(len(block.sums))] == [0.4, 0.7]
    right = (calls.probability >= 0.7) == calls.positive
    assert block.sums[1, 2].tolist() == [
        right[(groups == 2) & (calls.positive == of)].sum() for of in (False, True)
    ]  # fmt: skip


def test_limits_lie_between_neighbours_and_below_all():
    assert limits_between(np.array([0.3, 0.1, 0.3, 0.5000004])).tolist() == [0.1, 0.2, 0.4]
