"""All figures of a set of images, test or external: Dice beside the all-empty score, calls, calibration, subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.instances import average_precision
from pneumoseg.evaluate.measuring import Measured
from pneumoseg.evaluate.subgroups import size_test, subgroup_table
from pneumoseg.rule.cases import patient_codes, read_cases
from pneumoseg.stats.bootstrap import PatientBootstrap, Ratio
from pneumoseg.stats.calibration import (
    apply_temperature,
    brier_score,
    error_with_interval,
    fit_temperature,
    reliability_table,
)
from pneumoseg.stats.figures import (
    Figures,
    call_ratios,
    column,
    core_figures,
    dice_ratios,
    distance_ratios,
    margin_of,
    overlap_ratios,
)
from pneumoseg.stats.ranking import auc_with_interval, average_precision_with_interval

# Below so many, a percentile bootstrap is known to be too narrow.
_FEW_PATIENTS = 20


def validation_labels(predictions: Path, folds_csv: Path, masks: Path) -> list[tuple[float, bool]]:
    """Probability and truth of the validation images, on which the temperature is fitted.

    Raises:
        DataError: there is no validation image, or files contradict each other.
    """
    cases = read_cases(predictions, folds_csv, masks, "validation")
    return [(case.probability, case.mask is not None) for case in cases]


def assess(
    rows: pd.DataFrame,
    measured: Sequence[Measured],
    validation: Sequence[tuple[float, bool]],
    params: EvaluateParams,
    kind: str = "test",
) -> dict[str, Any]:
    """All figures of a set of images under the rule that they were measured with.

    DVC's tables take the numbers and texts of this and leave lists out; so intervals, subgroups and notes are lists.

    Args:
        rows: as test_cases.csv.
        measured: the same images in the same order.
        validation: probability and truth of the validation images, for the temperature; empty for none.
        params: section evaluate.
        kind: of images, for the notes: test or external.
    """
    bootstrap = PatientBootstrap(patient_codes(list(rows["patient"])), params.bootstrap_replicates, params.seed)
    figures = _figures(rows, bootstrap)
    instances = average_precision([item.instances for item in measured], bootstrap)
    score, negative = column(rows, "dice"), 1 - column(rows, "pneumothorax")
    plain = core_figures(rows, bootstrap, "plain_")
    values = figures.values
    distances = {name: values.pop(name) for name in distance_ratios(rows)}
    distance_intervals = {name: list(figures.intervals.pop(name)) for name in distances}
    positives = rows.loc[rows["pneumothorax"] == 1]
    content = {
        **{name: values[name] for name in dice_ratios(score, score, score)},
        "n": len(rows),
        "n_positive": len(positives),
        "n_patients": int(rows["patient"].nunique()),
        "phantom": int(rows["phantom"].any()),
        **values,
        "beats_all_empty": margin_of(score, negative, bootstrap),
        "beats_plain_05": margin_of(score, column(rows, "plain_dice"), bootstrap),
        "plain_05": {**plain.values, "intervals": _lists(plain)},
        "surface": {
            **distances,
            "n_mm": int(rows["hd95_mm"].notna().sum()),
            "n_px": int(rows["hd95_px"].notna().sum()),
            "intervals": distance_intervals,
        },
        "instances": {
            "truths": instances.truths,
            "predictions": instances.predictions,
            **instances.values,
            "intervals": {name: list(interval) for name, interval in instances.intervals.items()},
        },
        "calibration": _calibration(rows, validation, params, bootstrap),
        "size_test": size_test(rows, bootstrap, params.permutations, params.seed),
        "subgroups": subgroup_table(rows, bootstrap),
        "intervals": _lists(figures),
    }
    return content | {"notes": _notes(rows, content, kind)}


def _lists(figures: Figures) -> dict[str, list[float]]:
    return {name: list(interval) for name, interval in figures.intervals.items()}


def _figures(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> Figures:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    ratios = overlap_ratios(rows) | call_ratios(rows) | distance_ratios(rows)
    return (
        core_figures(rows, bootstrap)
        .with_ratios(ratios, bootstrap)
        .with_one("auc", *auc_with_interval(probability, positive, bootstrap))
        .with_one("average_precision", *average_precision_with_interval(probability, positive, bootstrap))
    )


def _calibration(
    rows: pd.DataFrame, validation: Sequence[tuple[float, bool]], params: EvaluateParams, bootstrap: PatientBootstrap
) -> dict[str, Any]:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    ece, interval = error_with_interval(probability, positive, params.calibration_bins, bootstrap)
    brier = Ratio.of((probability - positive) ** 2, np.ones(len(rows)))
    content: dict[str, Any] = {
        "ece": ece,
        "ece_interval": list(interval),
        "brier": brier.value,
        "brier_interval": list(bootstrap.ratios({"brier": brier})["brier"]),
        "reliability": reliability_table(probability, positive, params.calibration_bins),
    }
    if params.temperature_scaling:
        temperature = fit_temperature(
            np.array([item[0] for item in validation]), np.array([item[1] for item in validation], np.bool_)
        )
        scaled = apply_temperature(probability, temperature)
        after, after_interval = error_with_interval(scaled, positive, params.calibration_bins, bootstrap)
        content["temperature"] = temperature
        content["ece_after_temperature"] = after
        content["ece_after_temperature_interval"] = list(after_interval)
        content["brier_after_temperature"] = brier_score(scaled, positive)
    return content


def _notes(rows: pd.DataFrame, content: dict[str, Any], kind: str) -> list[str]:
    """What a reader must know before believing the figures, in sentences."""
    notes = []
    if rows["phantom"].any():
        notes.append("phantom data: these figures say nothing about patients")
    margin = content["beats_all_empty"]
    if margin["verdict"] != "better":
        notes.append(
            f"dice_all is not shown to beat the all-empty score: difference {margin['difference']:.4f}, "
            f"95 % interval {_text(margin['interval'])}"
        )
    margin = content["beats_plain_05"]
    if margin["verdict"] != "better":
        notes.append(
            f"the tuned rule is not shown to beat the plain threshold 0.5: difference {margin['difference']:.4f}, "
            f"95 % interval {_text(margin['interval'])}"
        )
    if not rows["called"].any():
        notes.append(f"every {kind} image is called negative: dice_all is the all-empty score")
    positive_patients = rows.loc[rows["pneumothorax"] == 1, "patient"].nunique()
    if positive_patients < _FEW_PATIENTS:
        noun = "patient" if positive_patients == 1 else "patients"
        notes.append(f"only {positive_patients} {kind} {noun} with pneumothorax: intervals are rough")
    without = content["n"] - int(rows["hd95_px"].notna().sum())
    if without:
        notes.append(f"surface distances leave out {without} of {content['n']} images, in which a mask is empty")
    return notes


def _text(interval: list[float]) -> str:
    low, high = interval
    return f"{low:.4f} to {high:.4f}" if np.isfinite([low, high]).all() else "not known"
