"""Exact search of decision rules over the counts of one pass.

For a mask threshold, a gate and conditions "at least a pixels above t", the summed Dice of a group of images is the sum
over accepted images of what a mask gains over an empty one. So a block of rules that differ in one condition is one
product of a 0/1 matrix (rules x images) with the gains (images x groups). Gains are rounded to multiples of 2^-30,
which makes every sum exact in float64: the result is the same whatever the order in which a library adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.decision import DecisionRule, Kind, Level, level_of, reaches_area
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts

Floats = NDArray[np.float64]
_GRAIN = 2.0**30


@dataclass(frozen=True)
class Family:
    """Rules of one kind, all without or all with a gate; one family is chosen by its cross-fitted score."""

    kind: Kind
    gated: bool

    @property
    def name(self) -> str:
        """Such as ``triplet`` or ``triplet+gate``."""
        return f"{self.kind}+gate" if self.gated else self.kind


def families(params: TuneParams) -> tuple[Family, ...]:
    """The families of the parameters, those with fewer numbers to choose first."""
    numbers = {"single": 1, "min_area": 2, "triplet": 3, "cumulative": 2 * params.cumulative_levels}
    gates = (False, True) if params.gate_probabilities else (False,)
    found = [Family(kind, gated) for kind in params.kinds for gated in gates]
    return tuple(sorted(found, key=lambda family: (numbers[family.kind] + family.gated, family.gated, family.kind)))


@dataclass(frozen=True)
class Block:
    """C rules that are searched at once.

    Attributes:
        rule: the rule of one row of ``sums``.
        sums: (C, K, 2) summed scores in each of K groups of patients, of negative and of positive images.
    """

    rule: Callable[[int], DecisionRule]
    sums: Floats


class GroupedSearch(Protocol):
    """Gives the summed score of every rule of a family: that of its masks, or of its calls.

    Attributes:
        images: (K, 2) negative and positive images of each group.
    """

    images: Floats

    def blocks(self, family: Family) -> Iterator[Block]:
        """All rules of a family, in the order in which one of several equal ones is taken."""
        ...


def class_cells(positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> Floats:
    """A 1 where image n is in group k and class c, negative or positive: (N, K * 2)."""
    cells = np.zeros((len(groups), (int(groups.max()) + 1) * 2))
    cells[np.arange(len(groups)), groups * 2 + positive] = 1.0
    return cells


class Search:
    """The summed Dice of every rule of the grid.

    Attributes:
        images: (K, 2) negative and positive images of each group.
    """

    def __init__(self, counts: LevelCounts, groups: NDArray[np.int64], params: TuneParams) -> None:
        """Prepare the 0/1 matrix of all conditions.

        Args:
            counts: of the N validation images, with the cleaning of ``params``.
            groups: (N,) group of each image, 0 to K-1.
            params: section tune.
        """
        self._counts = counts
        self._params = params
        positive = counts.truth_px > 0
        self._cells = class_cells(positive, groups)
        self.images = self._cells.sum(axis=0).reshape(-1, 2)
        # An empty mask scores 1 on a negative image, 0 on a positive one.
        self._empty = np.where(positive, 0.0, 1.0)
        self._empty_sums = (self._empty @ self._cells).reshape(-1, 2)
        self._conditions = [
            Level(threshold, area)
            for area in sorted(params.min_areas_px_at_1024)
            for threshold in sorted({*params.mask_thresholds, *params.top_thresholds})
        ]
        self._row = {condition: row for row, condition in enumerate(self._conditions)}
        columns = [level_of(condition.threshold) for condition in self._conditions]
        areas = np.array([condition.min_area_px_at_1024 for condition in self._conditions], np.int64)[:, None]
        self._accepted = reaches_area(counts.above[:, columns].T, areas, counts.image_px).astype(np.float64)

    def blocks(self, family: Family) -> Iterator[Block]:
        """All rules of a family, in the order in which one of several equal ones is taken.

        Higher mask thresholds first (fewer pixels are marked); then the mildest gate, the smallest area and the lowest
        threshold above the mask's: what is nearest to a single threshold.
        """
        gates = sorted(self._params.gate_probabilities) if family.gated else [None]
        for threshold in sorted(self._params.mask_thresholds, reverse=True):
            gains = self._gains(threshold)
            for gate in gates:
                through = gains if gate is None else gains * (self._counts.probability >= gate)
                make = partial(
                    DecisionRule,
                    family.kind,
                    threshold,
                    gate_probability=gate,
                    min_component_px_at_1024=self._params.min_component_px_at_1024,
                    fill_holes=self._params.fill_holes,
                )
                if family.kind == "single":
                    yield self._block(make, ((),), np.ones((1, len(through))), through)
                else:
                    yield from self._with_levels(make, family.kind, threshold, (), through)

    def _block(
        self, make: Callable[..., DecisionRule], endings: Sequence[tuple[Level, ...]], rows: Floats, gains: Floats
    ) -> Block:
        """The rules that ``make`` gives with each of C endings; ``rows`` says which images each accepts, (C, N)."""
        gained = rows @ (self._cells * gains[:, None])
        sums = np.asarray(gained.reshape(len(rows), -1, 2) + self._empty_sums, np.float64)
        return Block(lambda index: make(levels=endings[index]), sums)

    def _gains(self, threshold: float) -> Floats:
        """What the mask of each image gains over an empty one: (N,), exact multiples of 2^-30."""
        cleaned = bool(self._params.min_component_px_at_1024) or self._params.fill_holes
        pixels, hits = self._counts.masks(threshold, cleaned)
        scores = dice(hits, pixels, self._counts.truth_px)
        return np.asarray(np.round((scores - self._empty) * _GRAIN) / _GRAIN, np.float64)

    def _with_levels(
        self,
        make: Callable[..., DecisionRule],
        kind: Kind,
        mask_threshold: float,
        levels: tuple[Level, ...],
        gains: Floats,
    ) -> Iterator[Block]:
        """Go on from the levels chosen so far; the last one varies within a block."""
        options = self._options(kind, mask_threshold, levels)
        wanted = self._params.cumulative_levels if kind == "cumulative" else 1
        if len(levels) < wanted - 1:
            for level in options:
                accepted = gains * self._accepted[self._row[level]]
                yield from self._with_levels(make, kind, mask_threshold, (*levels, level), accepted)
        elif options:
            rows = self._accepted[[self._row[level] for level in options]]
            yield self._block(make, [(*levels, level) for level in options], rows, gains)

    def _options(self, kind: Kind, mask_threshold: float, levels: tuple[Level, ...]) -> list[Level]:
        """The levels that may come next, mildest first."""
        if kind == "min_area" or (kind == "cumulative" and not levels):
            return [level for level in self._conditions if level.threshold == mask_threshold]
        floor = levels[-1].threshold if levels else mask_threshold
        most = levels[-1].min_area_px_at_1024 if levels else max(self._params.min_areas_px_at_1024)
        tops = {top for top in self._params.top_thresholds if top > floor}
        return [level for level in self._conditions if level.threshold in tops and level.min_area_px_at_1024 <= most]
