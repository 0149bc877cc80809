"""The figures of an epoch's validation: one list, from which history, selection, schedule and log take what they need.

Figures of masks are measured at threshold 0.5 and the original size of each image, and leave out images whose mask is
not known; those of the whole image need its label only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoseg.rule.decision import DecisionRule, Level, level_of
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.errors import ParameterError, TrainingError

THRESHOLD = 0.5
#: The rules among which dice_tuned takes the best, as the first place's training did every epoch: an image is positive
#: where enough pixels lie above the top threshold, its mask is what lies above the bottom one.
RULES = tuple(
    DecisionRule("triplet" if top > bottom else "min_area", bottom, (Level(top, area),))
    for bottom in (0.1, 0.2, 0.3, 0.4, 0.5)
    for top in (0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
    if top >= bottom
    for area in (1, 300, 1000, 2000)
)


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
    return lambda seen: None if seen.counts is None else measure(seen.counts)


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
    """The mean Dice under the best of RULES."""
    predictions = (counts.predicted(rule) for rule in RULES)
    return max(float(dice(inside, pixels, counts.truth_px).mean()) for pixels, inside in predictions)


def _specificity(seen: Validated) -> float | None:
    return _mean(~seen.marked[~seen.positive])


def _dice_balanced(seen: Validated) -> float | None:
    dice_pos, specificity = None if seen.counts is None else _dice_pos(seen.counts), _specificity(seen)
    return None if dice_pos is None or specificity is None else (dice_pos + specificity) / 2


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
    Figure("dice_tuned", "Dice, all images, under the best of a few rules", "higher", _of_masks(_dice_tuned), True),
    Figure("iou", "IoU, positives only", "higher", _of_masks(_iou), True),
    Figure("sensitivity", "sensitivity", "higher", lambda seen: _mean(seen.marked[seen.positive]), logged="sens"),
    Figure("specificity", "specificity", "higher", _specificity, logged="spec"),
    # Every image called negative, or none: the mean Dice of the first is the share of negatives, which hides it.
    Figure("collapsed", "collapsed", None, lambda seen: float(seen.marked.mean() in (0.0, 1.0))),
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
