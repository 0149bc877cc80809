"""How well the image probability ranks images with pneumothorax above those without."""

from __future__ import annotations

import pandas as pd

from pneumoseg.evaluate.metric import Metric, column, register
from pneumoseg.stats.bootstrap import Weighted
from pneumoseg.stats.ranking import area_under_roc, average_precision


def _auc(rows: pd.DataFrame) -> Weighted:
    return area_under_roc(column(rows, "probability"), column(rows, "pneumothorax") > 0)


def _average_precision(rows: pd.DataFrame) -> Weighted:
    return average_precision(column(rows, "probability"), column(rows, "pneumothorax") > 0)


AUC = register(Metric("auc", "AUC of the image probability", _auc, headline=True, subgroups="against_negatives"))
AVERAGE_PRECISION = register(
    Metric("average_precision", "average precision of the image probability", _average_precision)
)
