"""The figures that always stand together: Dice beside the all-empty score, the calls, and the prevalence."""

from __future__ import annotations

import pandas as pd

from pneumoseg.evaluate.metric import Floats, Metric, column, mean_of, of_masks, register
from pneumoseg.stats.bootstrap import Ratio


def _positive(rows: pd.DataFrame) -> Floats:
    return column(rows, "pneumothorax")


def _all_empty(rows: pd.DataFrame) -> Ratio:
    """What marking nothing would score on the images that have a Dice."""
    return mean_of(0 * of_masks(rows, "dice") + 1 - _positive(rows))


DICE_ALL = register(
    Metric(
        "dice_all", "Dice, all images", lambda rows: mean_of(of_masks(rows, "dice")),
        headline=True, of_rule=True, subgroups="mixed",
    )
)  # fmt: skip
DICE_POS = register(
    Metric(
        "dice_pos", "Dice, positives only", lambda rows: mean_of(column(rows, "dice"), _positive(rows)),
        headline=True, of_rule=True, subgroups="any",
    )
)  # fmt: skip
SENSITIVITY = register(
    Metric(
        "sensitivity", "sensitivity", lambda rows: mean_of(column(rows, "called"), _positive(rows)),
        headline=True, of_rule=True, subgroups="any",
    )
)  # fmt: skip
SPECIFICITY = register(
    Metric(
        "specificity", "specificity", lambda rows: mean_of(1 - column(rows, "called"), 1 - _positive(rows)),
        headline=True, of_rule=True, subgroups="mixed",
    )
)  # fmt: skip
ALL_EMPTY = register(Metric("all_empty", "all-empty Dice (share of negatives)", _all_empty, better=None, of_rule=True))
PREVALENCE = register(
    Metric(
        "prevalence", "prevalence", lambda rows: mean_of(_positive(rows)),
        better=None, of_rule=True, subgroups="mixed",
    )
)  # fmt: skip
