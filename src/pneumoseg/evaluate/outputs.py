"""Networks with several outputs, as of two views: the figures of each on the same images, and what the last adds.

Figures as Luo, Liu and Yu (2022) have them; the paired difference is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.evaluate.metric import Floats, column
from pneumoseg.evaluate.result import OutputFigures, Outputs
from pneumoseg.rule.cases import patient_codes
from pneumoseg.stats.bootstrap import PatientBootstrap, Weighted
from pneumoseg.stats.ranking import area_under_roc, weighted_auc

Bools = NDArray[np.bool_]
Weights = NDArray[np.int64]
#: Name in test.json → in words.
FIGURES: Mapping[str, str] = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}


def judge_outputs(
    rows: pd.DataFrame, outputs: pd.DataFrame, limits: Mapping[str, float], replicates: int, seed: int
) -> Outputs | None:
    """Figures of each output on the images that have all of them; None where there are none.

    Args:
        rows: as test_cases.csv.
        outputs: of rule.cases.Predictions.outputs.
        limits: of each output, chosen on validation images.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = rows[rows["image_id"].isin(outputs.index)].reset_index(drop=True)
    if rows.empty or set(limits) != set(outputs):
        return None
    positive = column(rows, "pneumothorax") > 0
    bootstrap = PatientBootstrap(patient_codes(list(rows["patient"])), replicates, seed)
    scores = {str(name): outputs[name].loc[rows["image_id"]].to_numpy(np.float64) for name in outputs}
    singles = []
    for name, values in scores.items():
        figures = {
            figure: Weighted(partial(classification, figure, positive, values, limits[name]), len(rows))
            for figure in FIGURES
            if figure != "auc"
        }
        found = bootstrap.estimates({"auc": area_under_roc(values, positive), **figures})
        singles.append(OutputFigures(name=name, limit=limits[name], figures=found))
    first, last = singles[0].name, singles[-1].name

    def gap(weights: Weights, figure: str) -> Floats:
        one, other = (classification(figure, positive, scores[name], limits[name], weights) for name in (first, last))
        return np.asarray(other - one, np.float64)

    gaps = {figure: Weighted(partial(gap, figure=figure), len(rows)) for figure in FIGURES}
    return Outputs(
        n=len(rows),
        n_positive=int(positive.sum()),
        n_patients=int(rows["patient"].nunique()),
        single=tuple(singles),
        first=first,
        last=last,
        difference=OutputFigures(name=f"{last} - {first}", figures=bootstrap.estimates(gaps)),
    )


def classification(figure: str, positive: Bools, scores: Floats, limit: float, weights: Weights) -> Floats:
    """One of FIGURES for (b, N) weights of images, (b,); a class without images or calls has an F1 of 0."""
    if figure == "auc":
        return weighted_auc(scores, positive, weights)
    called = scores >= limit
    hits, misses, alarms, rejections = (
        weights[:, (positive == truth) & (called == call)].sum(axis=1).astype(np.float64)
        for truth, call in ((True, True), (True, False), (False, True), (False, False))
    )
    if figure == "accuracy":
        return _ratio(hits + rejections, hits + misses + alarms + rejections, np.nan)
    if figure == "precision":
        return _ratio(hits, hits + alarms, np.nan)
    if figure == "recall":
        return _ratio(hits, hits + misses, np.nan)
    wrong = misses + alarms
    of_positives, of_negatives = (_ratio(2 * right, 2 * right + wrong, 0.0) for right in (hits, rejections))
    if figure == "macro_f1":
        return np.asarray((of_positives + of_negatives) / 2, np.float64)
    positives, negatives = hits + misses, alarms + rejections
    return _ratio(positives * of_positives + negatives * of_negatives, positives + negatives, np.nan)


def _ratio(numerator: Floats, denominator: Floats, otherwise: float) -> Floats:
    found = np.full(len(numerator), otherwise)
    return np.asarray(np.divide(numerator, denominator, out=found, where=denominator > 0), np.float64)
