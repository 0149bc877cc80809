"""What is wrong with a training that learns nothing, told by what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pneumoseg.train.figures import MISSES_ABOVE, MISSES_BELOW

#: The figure that chooses has not moved when so many epochs in a row have the same value.
_EPOCHS = 3
#: Values closer than this are the same: sums of the same numbers.
_SAME = 1e-9


def collapse_of(row: Mapping[str, Any]) -> list[str]:
    """What the figures of some weights say of the validation images; empty where nothing is wrong.

    Args:
        row: of the history.
    """
    found = []
    if row["val_collapsed"]:
        what, nothing = ("map", "empty") if "val_dice_all" in row else ("answer", "negative")
        every = row["val_marked_share"] == 0
        found.append(
            f"{'every' if every else 'no'} {what} is {nothing} at threshold 0.5: "
            f"{'no' if every else 'every'} validation image is marked"
        )
    if row.get("val_masks_miss"):
        found.append(
            f"masks hit nothing: D_pos {row['val_dice_pos']:.3f} is below {MISSES_BELOW} while "
            f"{row['val_sensitivity']:.0%} of the positives, more than {MISSES_ABOVE:.0%}, are marked"
        )
    return found


def unmoved_since(history: Sequence[Mapping[str, Any]], metric: str) -> int | None:
    """The epoch since which the figure that chooses has the value it has now; None where that is too young to tell.

    Args:
        history: rows of the epochs so far.
        metric: the figure's name.
    """
    values = [row[f"val_{metric}"] for row in history]
    same = 1
    while same < len(values) and abs(values[-1 - same] - values[-1]) < _SAME:
        same += 1
    return int(history[-same]["epoch"]) if same >= _EPOCHS else None


def findings(history: Sequence[Mapping[str, Any]], metric: str, all_empty: float | None) -> list[str]:
    """What is wrong after the last epoch of a history.

    Args:
        history: rows of the epochs so far.
        metric: the figure that chooses.
        all_empty: the mean Dice of predicting nothing; None where the family gives no map.
    """
    found, since, name = collapse_of(history[-1]), unmoved_since(history, metric), f"val_{metric}"
    if since is not None:
        found.append(f"the figure that chooses the epoch, {metric}, has not moved since epoch {since}")
    at_empty = [all_empty is not None and abs(row[name] - all_empty) < _SAME for row in history]
    if metric == "dice_tuned" and at_empty[-1] and at_empty.count(True) == 1:
        found.append(
            f"dice_tuned {history[-1][name]:.4f} is the all-empty score: no rule of tune's grid does better than "
            "marking nothing, and epochs cannot be told apart by it; dice_balanced moves earlier"
        )
    return found
