"""The figures of an epoch's validation: one list, from which history, selection, schedule and log take what they need.

Figures of masks are measured at threshold 0.5 and the original size of each image, and leave out images whose mask is
not known; those of the whole image need its label only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.decision import Level, level_of, reaches_area
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.errors import ParameterError, TrainingError

THRESHOLD = 0.5
#: Masks that miss, though many positives are marked: below this Dice of positives, above this sensitivity.
MISSES_BELOW, MISSES_ABOVE = 0.05, 0.3
#: dice_tuned takes the best rule of the grid that the stage tune searches by default: areas and gates included.
GRID = TuneParams()


@dataclass(frozen=True)
class Validated:
    """What a validation found of N images.

    Attributes:
        loss: (N,), of the batch in which the image was; NaN where the family has no loss in validation.
        probability: (N,), of pneumothorax in the image.
        positive: (N,), its label.
        marked: (N,), whether it is called positive at 0.5: a pixel of its map, or itself where there is no map.
        counts: of the maps of those images whose mask is known; None where there are none.
    """

    loss: NDArray[np.float64]
    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    counts: LevelCounts | None


@dataclass(frozen=True)
class Figure:
    """A figure of a validation.

    Attributes:
        name: column ``val_<name>`` of the history.
        label: in words.
        better: which direction is; None: it tells about the network and chooses nothing.
        of: its value; None where it cannot be had.
        needs_map: whether it can be had only of families that give maps.
        logged: name in the line of an epoch; None: it is not told there.
    """

    name: str
    label: str
    better: Literal["higher", "lower"] | None
    of: Callable[[Validated], float | None]
    needs_map: bool = False
    logged: str | None = None


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    """None of nothing: a figure of positives where there are none is not 0, it cannot be had."""
    return float(values.mean()) if len(values) else None


def _loss(seen: Validated) -> float | None:
    value = float(seen.loss.mean())
    return None if np.isnan(value) else value


def _of_masks(measure: Callable[[LevelCounts], float | None]) -> Callable[[Validated], float | None]:
    """None, too, where there are positives and none of their masks is known: negatives alone tell of calls."""

    def of(seen: Validated) -> float | None:
        if seen.counts is None or (seen.positive.any() and not seen.counts.truth_px.any()):
            return None
        return measure(seen.counts)

    return of


def _scores(counts: LevelCounts) -> NDArray[np.float64]:
    level = level_of(THRESHOLD)
    return dice(counts.inside[:, level], counts.above[:, level], counts.truth_px)


def _dice_all(counts: LevelCounts) -> float:
    return float(_scores(counts).mean())


def _dice_pos(counts: LevelCounts) -> float | None:
    return _mean(_scores(counts)[counts.truth_px > 0])


def _iou(counts: LevelCounts) -> float | None:
    positive = counts.truth_px > 0
    inside, above = (pixels[positive, level_of(THRESHOLD)] for pixels in (counts.inside, counts.above))
    return _mean(inside / (above + counts.truth_px[positive] - inside))


def _dice_tuned(counts: LevelCounts) -> float:
    """The mean Dice under the best of tune's rules: thresholds, least areas, gates."""
    conditions = [
        Level(top, area) for top in (*GRID.top_thresholds, *GRID.mask_thresholds) for area in GRID.min_areas_px_at_1024
    ]
    accepted = np.stack(
        [
            reaches_area(counts.above[:, level_of(of.threshold)], of.min_area_px_at_1024, counts.image_px)
            for of in conditions
        ]
    ).astype(np.float64)
    gates = np.array([0.0, *GRID.gate_probabilities])[:, None]
    empty, best = (counts.truth_px == 0).astype(np.float64), -math.inf
    for threshold in GRID.mask_thresholds:
        pixels, hits = counts.masks(threshold, cleaned=False)
        # What each image's mask gains over an empty one, where the gate lets it through.
        gains = (counts.probability >= gates) * (dice(hits, pixels, counts.truth_px) - empty)
        rows = [
            row for row, of in enumerate(conditions)
            if of.threshold == threshold or (of.threshold > threshold and of.threshold in GRID.top_thresholds)
        ]  # fmt: skip
        best = max(best, float((accepted[rows] @ gains.T).max()), float(gains.sum(axis=1).max()))
    return float(empty.mean()) + best / len(empty)


def _specificity(seen: Validated) -> float | None:
    return _mean(~seen.marked[~seen.positive])


def _dice_balanced(seen: Validated) -> float | None:
    dice_pos, specificity = None if seen.counts is None else _dice_pos(seen.counts), _specificity(seen)
    return None if dice_pos is None or specificity is None else (dice_pos + specificity) / 2


def _auc_and_dice_pos(seen: Validated) -> float | None:
    """What a later rule can use, whatever its threshold: how images rank, and how well masks overlap.

    It moves while every Dice over all images stands at the value of marking nothing (docs/real_radiographs.md). Of
    positives alone it is their Dice.
    """
    if seen.counts is None or not (seen.counts.truth_px > 0).any():
        return None
    positive = seen.counts.truth_px > 0
    levels = [level_of(threshold) for threshold in GRID.mask_thresholds]
    above, inside = (pixels[positive][:, levels] for pixels in (seen.counts.above, seen.counts.inside))
    overlap, ranking = float(dice(inside, above, seen.counts.truth_px[positive][:, None]).mean()), _auc(seen)
    return overlap if ranking is None else (ranking + overlap) / 2


def _masks_miss(seen: Validated) -> float | None:
    """Whether positives are marked, but hardly ever where the pneumothorax is."""
    dice_pos = None if seen.counts is None else _dice_pos(seen.counts)
    if dice_pos is None:
        return None
    return float(dice_pos < MISSES_BELOW and seen.marked[seen.positive].mean() > MISSES_ABOVE)


def _auc(seen: Validated) -> float | None:
    """Share of pairs in which the positive image is more probable, ties half."""
    positive, negative = seen.probability[seen.positive], np.sort(seen.probability[~seen.positive])
    if not len(positive) or not len(negative):
        return None
    below = [np.searchsorted(negative, positive, side) for side in ("left", "right")]
    return float(np.mean(below) / len(negative))


FIGURES = (
    Figure("loss", "loss", "lower", _loss, logged="val loss"),
    Figure("dice_all", "Dice, all images", "higher", _of_masks(_dice_all), True, "D_all"),
    Figure("dice_pos", "Dice, positives only", "higher", _of_masks(_dice_pos), True, "D_pos"),
    Figure("dice_balanced", "mean of Dice of positives and specificity", "higher", _dice_balanced, True),
    Figure("dice_tuned", "Dice, all images, under the best of tune's rules", "higher", _of_masks(_dice_tuned), True),
    Figure("auc_and_dice_pos", "mean of AUC and Dice of positives over thresholds", "higher", _auc_and_dice_pos, True),
    Figure("iou", "IoU, positives only", "higher", _of_masks(_iou), True),
    Figure("sensitivity", "sensitivity", "higher", lambda seen: _mean(seen.marked[seen.positive]), logged="sens"),
    Figure("specificity", "specificity", "higher", _specificity, logged="spec"),
    # Every image called negative, or none: the mean Dice of the first is the share of negatives, which hides it.
    Figure("collapsed", "collapsed", None, lambda seen: float(seen.marked.mean() in (0.0, 1.0))),
    Figure("masks_miss", "masks miss the pneumothorax", None, _masks_miss, True),
    Figure("marked_share", "share of images called positive", None, lambda seen: float(seen.marked.mean())),
    Figure("auc", "AUC of the image probability", "higher", _auc, logged="AUC"),
)
BY_NAME = {figure.name: figure for figure in FIGURES}


def summarise(seen: Validated) -> dict[str, float]:
    """The figures of an epoch that can be had, in the order of the list."""
    values = ((figure.name, figure.of(seen)) for figure in FIGURES)
    return {name: value for name, value in values if value is not None}


def pick(measured: Mapping[str, float], name: str, key: str) -> float:
    """A figure of an epoch as a score, of which more is better.

    Raises:
        TrainingError: it cannot be had on these images.
    """
    if name not in measured:
        raise TrainingError(
            f"{key} = {name}: the validation images do not give it (sensitivity needs positives, specificity "
            f"negatives, AUC both, Dice known masks, those of positives among them); take "
            f"one of {', '.join(figure.name for figure in FIGURES if figure.better and figure.name in measured)}"
        )
    return -measured[name] if BY_NAME[name].better == "lower" else measured[name]


def check_measured(name: str, key: str, architecture: str, gives_map: bool) -> None:
    """Refuse a parameter that asks for a figure of maps where there are none.

    Raises:
        ParameterError: names the key and the figures to be had.
    """
    if BY_NAME[name].needs_map and not gives_map:
        others = ", ".join(figure.name for figure in FIGURES if figure.better and not figure.needs_map)
        raise ParameterError(f"{key} = {name}: model.architecture = {architecture} gives no map; take one of {others}")
