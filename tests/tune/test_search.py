"""The search over counts against every rule of the grid applied to every image."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.cases import Case, Predictions
from pneumoseg.rule.decision import DecisionRule, Level
from pneumoseg.rule.level_counts import Cleaning, LevelCounts, count_levels, histogram, pixels_above
from pneumoseg.tune.search import Family, Search, families
from pneumoseg.tune.selection import Judged, choose, patient_groups, search_family, within_one_error
from tests.evaluate.evaluation_data import make_project

GRID = TuneParams(
    kinds=("single", "min_area", "triplet", "cumulative"),
    objective="dice_all",
    mask_thresholds=(0.2, 0.5, 0.35),
    top_thresholds=(0.35, 0.5, 0.6),
    min_areas_px_at_1024=(9000, 1500, 30000),
    gate_probabilities=(0.5, 0.8),
    cumulative_levels=3,
    min_component_px_at_1024=0,
    fill_holes=False,
    cross_fit_groups=4,
    seed=1,
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, ...]:
    project = make_project(tmp_path_factory.mktemp("search"), images=112, size=(48, 40), prevalence=0.5, seed=3)
    return Predictions.read(project).cases("validation")


def counted(cases: tuple[Case, ...], params: TuneParams) -> LevelCounts:
    cleaning = Cleaning(params.mask_thresholds, params.min_component_px_at_1024, params.fill_holes)
    return count_levels(cases, cleaning, workers=1)


def brute_dice(case: Case, rule: DecisionRule) -> float:
    """Dice of one image, from its masks; written without the library's counts."""
    levels = case.read_map()
    truth = case.read_truth(levels.shape)
    predicted = rule.apply(levels, case.probability)
    if not truth.any() and not predicted.any():
        return 1.0
    return 2.0 * np.logical_and(truth, predicted).sum() / (truth.sum() + predicted.sum())


def every_rule(params: TuneParams, kind: str, gate: float | None) -> Iterator[DecisionRule]:
    """The grid, written as nested loops."""
    tail = (gate, params.min_component_px_at_1024, params.fill_holes)
    for threshold in params.mask_thresholds:
        tops = sorted(top for top in params.top_thresholds if top > threshold)
        areas = sorted(params.min_areas_px_at_1024, reverse=True)
        if kind == "single":
            yield DecisionRule("single", threshold, (), *tail)
        elif kind == "min_area":
            for area in areas:
                yield DecisionRule("min_area", threshold, (Level(threshold, area),), *tail)
        elif kind == "triplet":
            for top in tops:
                for area in areas:
                    yield DecisionRule("triplet", threshold, (Level(top, area),), *tail)
        else:
            for upper in combinations(tops, params.cumulative_levels - 1):
                for first in areas:
                    for second in areas:
                        for third in areas if params.cumulative_levels == 3 else (1,):
                            sizes = (first, second, third)[: params.cumulative_levels]
                            if sorted(sizes, reverse=True) == list(sizes):
                                levels = tuple(map(Level, (threshold, *upper), sizes))
                                yield DecisionRule("cumulative", threshold, levels, *tail)


def test_a_histogram_counts_pixels_above_each_level() -> None:
    values = np.random.default_rng(0).integers(0, 256, (31, 17)).astype(np.uint8)
    assert pixels_above(histogram(values)).tolist() == [int((values > level).sum()) for level in range(256)]


@pytest.mark.parametrize("kind", ["single", "min_area", "triplet", "cumulative"])
@pytest.mark.parametrize("cleaned", [False, True])
def test_search_is_brute_force(cases: tuple[Case, ...], kind: str, cleaned: bool) -> None:
    params = GRID.model_copy(update={"min_component_px_at_1024": 4000, "fill_holes": True}) if cleaned else GRID
    counts = counted(cases, params)
    groups = patient_groups(counts.patients, counts.truth_px > 0, params.cross_fit_groups, params.seed)
    positive = np.array([case.mask is not None for case in cases])
    search = Search(counts, groups, params)
    for gated in (False, True):
        found = {
            block.rule(index): block.sums[index]
            for block in search.blocks(Family(kind, gated))  # type: ignore[arg-type]
            for index in range(len(block.sums))
        }
        gates = params.gate_probabilities if gated else (None,)
        expected = [rule for gate in gates for rule in every_rule(params, kind, gate)]
        assert set(found) == set(expected)
        assert len(found) == len(expected)
        for rule in expected[:: max(1, len(expected) // 30)]:
            scores = np.array([brute_dice(case, rule) for case in cases])
            for group in range(len(search.images)):
                inside = groups == group
                sums = [scores[inside & ~positive].sum(), scores[inside & positive].sum()]
                assert found[rule][group] == pytest.approx(sums, abs=1e-6)


@pytest.mark.parametrize("goal", ["dice_all", "balanced"])
def test_choice_and_cross_fit_are_brute_force(cases: tuple[Case, ...], goal: str) -> None:
    params = GRID.model_copy(update={"kinds": ("single", "triplet"), "objective": goal, "gate_probabilities": ()})
    counts = counted(cases, params)
    positive = counts.truth_px > 0
    groups = patient_groups(counts.patients, positive, params.cross_fit_groups, params.seed)
    search = Search(counts, groups, params)
    results = [search_family(search, family, [goal])[goal] for family in families(params)]
    judged = Judged(counts.patients, groups, positive, lambda rule: counts.outcomes(rule)["dice"].to_numpy())
    choice = choose(results, search.images, goal, judged)

    rules = {kind: list(every_rule(params, kind, None)) for kind in ("single", "triplet")}
    scores = {rule: np.array([brute_dice(case, rule) for case in cases]) for kind in rules for rule in rules[kind]}

    def value(score: np.ndarray, inside: np.ndarray) -> float:
        if goal == "dice_all":
            return float(score[inside].mean())
        return float((score[inside & positive].mean() + score[inside & ~positive].mean()) / 2)

    def fit(kind: str, inside: np.ndarray) -> np.ndarray:
        """Of equal rules the one with the highest mask threshold, then the smallest area, then the lowest top."""

        def order(rule: DecisionRule) -> tuple[float, ...]:
            levels = [-number for level in rule.levels for number in (level.min_area_px_at_1024, level.threshold)]
            return round(value(scores[rule], inside), 7), rule.mask_threshold, *levels

        return scores[max(rules[kind], key=order)]

    def fitted(kind: str, inside: np.ndarray) -> np.ndarray:
        score = np.zeros(len(groups))
        for group in np.unique(groups[inside]):
            held_out = inside & (groups == group)
            score[held_out] = fit(kind, inside & ~held_out)[held_out]
        return score

    def cross_fitted(kind: str, inside: np.ndarray) -> float:
        return value(fitted(kind, inside), inside)

    def error(gain: np.ndarray, inside: np.ndarray) -> float:
        """Standard error of a mean difference of clustered images, patient by patient."""
        classes = [inside] if goal == "dice_all" else [inside & positive, inside & ~positive]
        squares = []
        for patient in np.unique(counts.patients[inside]):
            own = counts.patients == patient
            terms = [(gain[own & one] - gain[one].mean()).sum() / one.sum() / len(classes) for one in classes]
            squares.append(sum(terms) ** 2)
        return float(np.sqrt(sum(squares) * len(squares) / (len(squares) - 1)))

    everyone = np.ones(len(groups), bool)
    for result in results:
        kind = result.family.kind
        best = max(value(scores[rule], everyone) for rule in rules[kind])
        assert value(scores[result.best[frozenset()].rule], everyone) == pytest.approx(best, abs=1e-8)
        assert choice.cross_fitted[result.family.name] == pytest.approx(cross_fitted(kind, everyone), abs=1e-6)
    for group, rule in enumerate(choice.without_group):
        others = groups != group
        inner = {kind: cross_fitted(kind, others) for kind in rules}
        kind = max(inner, key=lambda name: round(inner[name], 9))
        gain = fitted(kind, others) - fitted("single", others)
        kind = "single" if value(gain, others) <= error(gain, others) else kind
        assert rule.kind == kind
        best = max(value(scores[other], others) for other in rules[kind])
        assert value(scores[rule], others) == pytest.approx(best, abs=1e-8)


def test_counts_give_what_the_images_give(cases: tuple[Case, ...]) -> None:
    params = GRID.model_copy(update={"fill_holes": True})
    counts = counted(cases, params)
    rule = DecisionRule("triplet", 0.2, (Level(0.5, 1500),), 0.5, 0, True)
    masks = [rule.apply(case.read_map(), case.probability) for case in cases]
    predicted, hits = counts.predicted(rule)
    assert predicted.tolist() == [int(mask.sum()) for mask in masks]
    truths = [case.read_truth(mask.shape) for case, mask in zip(cases, masks, strict=True)]
    expected = [int((mask & truth).sum()) for truth, mask in zip(truths, masks, strict=True)]
    assert hits.tolist() == expected


def test_equal_rules_give_the_plainer_one() -> None:
    # Two images that any rule decides rightly: the family with the fewest numbers, the highest mask threshold.
    levels = np.zeros((4, 256), np.int64)
    levels[:2, :250] = 500
    nothing = np.zeros((4, 0), np.int64)
    image_px, truth_px = np.full(4, 1024 * 1024), np.array([500, 500, 0, 0])
    counts = LevelCounts(
        np.arange(4), np.array([0.9, 0.9, 0.1, 0.1]), image_px, truth_px, levels, levels, (), nothing, nothing
    )
    params = GRID.model_copy(update={"min_areas_px_at_1024": (400, 100)})
    groups = patient_groups(counts.patients, truth_px > 0, 4, 0)
    search = Search(counts, groups, params)
    results = [search_family(search, family, ["dice_all"])["dice_all"] for family in families(params)]
    judged = Judged(counts.patients, groups, truth_px > 0, lambda rule: counts.outcomes(rule)["dice"].to_numpy())
    assert choose(results, search.images, "dice_all", judged).rule == DecisionRule("single", 0.5)
    by_name = {result.family.name: result.best[frozenset()].rule for result in results}
    assert by_name["triplet+gate"] == DecisionRule("triplet", 0.5, (Level(0.6, 100),), 0.5)


def test_patients_are_dealt_whole_and_positives_evenly() -> None:
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 60, 300)
    patients = np.unique(patients, return_inverse=True)[1]
    positive = np.isin(patients, np.arange(0, 60, 3))
    groups = patient_groups(patients, positive, 5, 7)
    assert all(len(set(groups[patients == patient])) == 1 for patient in range(60))
    spread = [len(set(patients[positive & (groups == group)])) for group in range(5)]
    assert max(spread) - min(spread) <= 1
    assert set(patient_groups(np.arange(3), np.ones(3, bool), 10, 0)) == {0, 1, 2}


def test_wrong_grids_are_refused() -> None:
    content = GRID.model_dump()
    for change, says in (
        ({"min_areas_px_at_1024": ()}, "need at least one area"),
        ({"top_thresholds": (0.1,)}, "kind triplet needs at least 1"),
        ({"mask_thresholds": (0.5, 0.5)}, "give each value once"),
        ({"mask_thresholds": (0.1234567,)}, "six decimals"),
        ({"mask_thresholds": (1.0,)}, "less than 1"),
    ):
        with pytest.raises(ValueError, match=says):
            TuneParams.model_validate(content | change)


def test_a_worker_more_changes_nothing(cases: tuple[Case, ...], tmp_path: Path) -> None:
    cleaning = Cleaning(GRID.mask_thresholds, 0, False)
    one, three = count_levels(cases, cleaning, 1), count_levels(cases, cleaning, 3)
    assert np.array_equal(one.above, three.above)
    assert np.array_equal(one.inside, three.inside)


def test_one_standard_error_is_that_of_the_mean_over_patients() -> None:
    """Independent patients: the textbook's s / sqrt(n), of all images or of both classes."""
    rng = np.random.default_rng(3)
    for shift in np.linspace(-0.3, 0.5, 9):
        gain, positive = rng.normal(shift, 1, 40), np.arange(40) < 12
        halves = [gain[positive], gain[~positive]]
        patients = np.arange(40)
        expected = gain.mean() <= gain.std(ddof=1) / np.sqrt(40)
        assert within_one_error(gain, positive, patients, "dice_all") == expected
        twice = (np.tile(gain, 2), np.tile(positive, 2), np.tile(patients, 2))
        assert within_one_error(*twice, "dice_all") == expected
        error = np.sqrt(40 / 39 * sum(half.var() / len(half) for half in halves)) / 2
        mean = sum(half.mean() for half in halves) / 2
        assert within_one_error(gain, positive, patients, "balanced") == (mean <= error)
