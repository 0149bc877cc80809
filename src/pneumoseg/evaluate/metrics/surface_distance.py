"""Mean distances between outlines, over the images in which both masks have a pixel."""

from functools import partial

import pandas as pd

from pneumoseg.evaluate.metric import Metric, column, mean_of, register
from pneumoseg.stats.bootstrap import Ratio


def _mean(rows: pd.DataFrame, name: str) -> Ratio:
    return mean_of(column(rows, name), bounded=False)


for _unit in ("mm", "px"):
    for _name, _label in (("hd95", "95 % Hausdorff distance"), ("mean_surface_distance", "mean surface distance")):
        _column = f"{_name}_{_unit}"
        register(Metric(_column, _label, partial(_mean, name=_column), unit=_unit, better="lower", section="surface"))
