"""Choosing a rule, and telling what the choice is worth on patients it was not made on.

Of several kinds of rules the one with the fewest numbers is taken whose cross-fitted score lies within one standard
error of the best (Breiman et al. 1984), paired by patient: few positive images let many-numbered rules win by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.decision import DecisionRule
from pneumoseg.tune.search import Family, GroupedSearch

Floats = NDArray[np.float64]
#: A share of 19 in 20 is .95 whatever its last bit says.
SLACK = 1e-9


@dataclass(frozen=True)
class Best:
    """The best rule of a family on some groups of patients; ``sums`` is (K, 2), its summed score in every group."""

    rule: DecisionRule
    sums: Floats


@dataclass(frozen=True)
class FamilyResult:
    """What the search of one family gave.

    Attributes:
        family: which one.
        rules: how many were searched.
        best: the best rule without the groups of the key; the empty key is the choice on all of them.
    """

    family: Family
    rules: int
    best: dict[frozenset[int], Best]


@dataclass(frozen=True)
class Judged:
    """The N validation images on which kinds of rules are compared.

    Attributes:
        patients: (N,) patient of each.
        groups: (N,) its group, 0 to K-1.
        positive: (N,) its truth.
        score: of each under a rule, (N,): the Dice of its mask, or whether its call is right.
        least_sensitivity: as in ``objective``.
    """

    patients: NDArray[np.int64]
    groups: NDArray[np.int64]
    positive: NDArray[np.bool_]
    score: Callable[[DecisionRule], Floats]
    least_sensitivity: float = 1.0


@dataclass(frozen=True)
class Choice:
    """The chosen rule, and for each group of patients the rule chosen without it.

    ``cross_fitted`` maps each family to its cross-fitted objective.
    """

    family: Family
    rule: DecisionRule
    without_group: tuple[DecisionRule, ...]
    cross_fitted: dict[str, float]


def patient_groups(
    patients: NDArray[np.int64], positive: NDArray[np.bool_], groups: int, seed: int
) -> NDArray[np.int64]:
    """Deal patients to groups, those with a positive image and the others each in turn.

    Args:
        patients: (N,) patient of each image, 0 to P-1.
        positive: (N,) whether the image has a pneumothorax.
        groups: how many; at most P.
        seed: of the order in which they are dealt.

    Returns:
        (N,) group of each image.
    """
    count = int(patients.max()) + 1
    has_positive = np.bincount(patients, weights=positive, minlength=count) > 0
    shuffled = np.random.default_rng(seed).permutation(count)
    dealt = np.concatenate([shuffled[has_positive[shuffled]], shuffled[~has_positive[shuffled]]])
    group = np.empty(count, np.int64)
    group[dealt] = np.arange(count) % min(groups, count)
    return group[patients]


def objective(sums: Floats, images: Floats, name: str, least_sensitivity: float = 1.0) -> Floats:
    """The objective of rules from summed scores: of masks their Dice, of calls whether each is right.

    Args:
        sums: (..., 2) summed scores of negative and positive images.
        images: (..., 2) how many there are.
        name: ``dice_all``, the mean over all images; ``balanced``, the mean of the means of the two classes. Of calls
            alone: ``youden``, sensitivity + specificity - 1 (Youden 1950); ``sensitivity_at_least``, the specificity,
            and below 0 where too few positives are called, the more of them the nearer to 0.
        least_sensitivity: of sensitivity_at_least.
    """
    if name == "dice_all":
        return np.asarray(sums.sum(axis=-1) / np.maximum(images.sum(axis=-1), 1), np.float64)
    present = images > 0
    means = np.where(present, sums / np.maximum(images, 1), 0.0)
    if name == "sensitivity_at_least":
        enough = means[..., 1] >= least_sensitivity - SLACK
        return np.where(enough, means[..., 0], means[..., 1] - 1)
    if name == "youden":
        return np.asarray(means.sum(axis=-1) - 1, np.float64)
    return np.asarray(means.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1), np.float64)


def search_family(
    search: GroupedSearch, family: Family, goals: Sequence[str], least_sensitivity: float = 1.0
) -> dict[str, FamilyResult]:
    """Find the best rules of a family, one for each goal, on all groups, and without each one and each two of them."""
    kept = range(len(search.images))
    omitted = [frozenset(left) for size in (0, 1, 2) for left in combinations(kept, size)]
    inside = np.array([[group not in left for group in kept] for left in omitted], np.float64)  # (S, K)
    images = inside @ search.images
    top = {goal: np.full(len(omitted), -np.inf) for goal in goals}
    best: dict[str, dict[frozenset[int], Best]] = {goal: {} for goal in goals}
    rules = 0
    for block in search.blocks(family):
        rules += len(block.sums)
        sums = np.einsum("sk,ckt->cst", inside, block.sums)
        for goal in goals:
            scores = objective(sums, images, goal, least_sensitivity)
            # argmax takes the first of equals, and a later block must be strictly better.
            row = scores.argmax(axis=0)
            value = scores[row, np.arange(len(omitted))]
            for index in np.flatnonzero(value > top[goal]):
                top[goal][index] = value[index]
                best[goal][omitted[index]] = Best(block.rule(int(row[index])), block.sums[row[index]])
    return {goal: FamilyResult(family, rules, best[goal]) for goal in goals}


def choose(results: Sequence[FamilyResult], images: Floats, goal: str, judged: Judged) -> Choice:
    """Choose a family by its cross-fitted objective and take its best rule.

    The choice without a group is made in the same way on the others alone, the family's included; so judging it on that
    group is not flattered by anything that was chosen.

    Args:
        results: one for each family, those with fewer numbers to choose first.
        images: (K, 2) negative and positive images of each group.
        goal: the objective's name.
        judged: the images.
    """
    groups = range(len(images))
    score = cache(judged.score)

    def cross_fitted(result: FamilyResult, left: frozenset[int]) -> float:
        judged_groups = [group for group in groups if group not in left]
        sums = sum((result.best[left | {group}].sums[group] for group in judged_groups), np.zeros(2))
        return float(objective(sums, images[judged_groups].sum(axis=0), goal, judged.least_sensitivity))

    def scores(result: FamilyResult, left: frozenset[int]) -> Floats:
        """Of every image under the rule that was chosen without its group; 0 in the groups left out."""
        parts = [
            (judged.groups == group) * score(result.best[left | {group}].rule) for group in groups if group not in left
        ]
        return np.asarray(np.sum(parts, axis=0))

    def choose_without(left: frozenset[int]) -> FamilyResult:
        kept = ~np.isin(judged.groups, list(left))
        best = max(results, key=lambda result: cross_fitted(result, left))  # max takes the first of equals
        top = scores(best, left)[kept]

        def near(result: FamilyResult) -> bool:
            gain = top - scores(result, left)[kept]
            return within_one_error(gain, judged.positive[kept], judged.patients[kept], goal)

        return next(result for result in results if result is best or near(result))

    chosen = choose_without(frozenset())
    return Choice(
        family=chosen.family,
        rule=chosen.best[frozenset()].rule,
        without_group=tuple(choose_without(frozenset({group})).best[frozenset({group})].rule for group in groups),
        cross_fitted={result.family.name: cross_fitted(result, frozenset()) for result in results},
    )


def within_one_error(gain: Floats, positive: NDArray[np.bool_], patients: NDArray[np.int64], goal: str) -> bool:
    """Whether a paired difference of two objectives is at most its standard error, linearised and by patient.

    Args:
        gain: (N,) by how much the score of each image is higher under the better rule.
        positive: (N,) truth of each image.
        patients: (N,) its patient.
        goal: the objective's name.
    """
    classes = [positive, ~positive] if goal != "dice_all" else [np.ones(len(gain), np.bool_)]
    present = [chosen for chosen in classes if chosen.any()]
    mean, terms = 0.0, np.zeros(len(gain))
    for chosen in present:
        of_class = float(gain[chosen].mean())
        mean += of_class / len(present)
        terms[chosen] = (gain[chosen] - of_class) / (chosen.sum() * len(present))
    sums = np.bincount(patients, weights=terms)
    count = len(np.unique(patients))
    return mean <= math.sqrt(count / max(count - 1, 1) * float((sums**2).sum()))
