"""Stage tune: choose the decision rule on validation images and say what it is worth elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.cases import Case, read_cases
from pneumoseg.rule.decision import PLAIN_RULE, DecisionRule
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import Cleaning, LevelCounts, count_levels
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.tables import METADATA, read_table, write_table
from pneumoseg.stats.bootstrap import PatientBootstrap
from pneumoseg.stats.figures import Figures, dice_ratios, margin_of
from pneumoseg.tune.search import Search, families
from pneumoseg.tune.selection import Choice, choose, objective, patient_groups, search_family
from pneumoseg.tune.surface_plots import plot_surface, plot_thresholds, surface_table, threshold_table

_LOGGER = logging.getLogger("pneumoseg")
# Of the intervals in thresholds.json; those of the test set have a parameter.
_REPLICATES = 2000


def tune(
    predictions: Path,
    masks: Path,
    folds_csv: Path,
    metadata_csv: Path,
    out_json: Path,
    out_dir: Path,
    params: TuneParams,
    workers: int | None = None,
) -> DecisionRule:
    """Choose the decision rule on the out-of-fold maps of the validation images.

    Args:
        predictions: folder with images.csv and validation/<image_id>.png, uint8 maps of round(255 p).
        masks: folder of true masks, positives only.
        folds_csv: image_id, patient, fold.
        metadata_csv: says which images are phantoms.
        out_json: the rule, what it reached, and warnings.
        out_dir: the searched surface as tables and plots.
        params: section tune.
        workers: threads; None for one a core. No output depends on it.

    Raises:
        DataError: there is no validation image, or files contradict each other.
    """
    cases = read_cases(predictions, folds_csv, masks, "validation")
    phantom = is_phantom(metadata_csv, cases)
    cleaning = Cleaning(params.mask_thresholds, params.min_component_px_at_1024, params.fill_holes)
    counts = count_levels(cases, cleaning, workers)
    positive = counts.truth_px > 0
    groups = patient_groups(counts.patients, positive, params.cross_fit_groups, params.seed)
    reason = _too_little(positive, groups)
    choice: Choice | None = None
    searched: list[dict[str, Any]] = []
    if not reason:
        choice, searched = _search(counts, groups, params)
    rule = PLAIN_RULE if choice is None else choice.rule
    bootstrap = PatientBootstrap(counts.patients, _REPLICATES, params.seed)
    warnings = _warnings(counts, rule, reason)
    content = {
        "rule": rule.to_json(),
        "description": rule.describe(),
        "phantom": int(phantom),
        "objective": params.objective,
        "optimistic": _outcome(counts, *counts.predicted(rule), bootstrap),
        "cross_fitted": None if choice is None else _cross_fitted(counts, groups, choice, bootstrap),
        "plain_05": _outcome(counts, *counts.predicted(PLAIN_RULE), bootstrap),
        "searched": searched,
        "collapse": int(not counts.predicted(rule)[0].any()),
        "warnings": warnings,
    }
    for warning in warnings:
        _LOGGER.warning("tune: %s", warning)
    write_json(out_json, content)
    _write_surfaces(fresh_dir(out_dir), counts, rule, params, phantom)
    return rule


def is_phantom(metadata_csv: Path, cases: tuple[Case, ...]) -> bool:
    """Whether any of the cases is a phantom: then nothing from them may pass for a result on patients.

    Raises:
        DataError: a case has no row in metadata.csv.
    """
    known = read_table(metadata_csv, METADATA).set_index("image_id")["phantom"]
    missing = sorted({case.image_id for case in cases} - set(known.index))
    if missing:
        raise DataError(f"{metadata_csv}: no row for {missing[0]}, which has a prediction; run dvc repro")
    return bool(known[[case.image_id for case in cases]].fillna(0).any())


def _too_little(positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> str:
    """Why no rule can be chosen on these images; empty where one can."""
    if not positive.any():
        return "no validation image has a pneumothorax: nothing to tune on, the plain rule p > 0.5 is used"
    if len(np.unique(groups)) < 3:
        return "fewer than three validation patients: nothing to tune on, the plain rule p > 0.5 is used"
    return ""


def _search(counts: LevelCounts, groups: NDArray[np.int64], params: TuneParams) -> tuple[Choice, list[dict[str, Any]]]:
    search = Search(counts, groups, params)
    results = [search_family(search, family, params.objective) for family in families(params)]
    choice = choose(results, search.images, params.objective)
    images = search.images.sum(axis=0)
    searched = []
    for result in results:
        best = result.best[frozenset()]
        searched.append(
            {
                "family": result.family.name,
                "rules": result.rules,
                "objective_optimistic": float(objective(best.sums.sum(axis=0), images, params.objective)),
                "objective_cross_fitted": choice.cross_fitted[result.family.name],
                "chosen": result.family == choice.family,
                "best": best.rule.describe(),
            }
        )
    return choice, searched


def _outcome(
    counts: LevelCounts, predicted_px: NDArray[np.int64], hit_px: NDArray[np.int64], bootstrap: PatientBootstrap
) -> dict[str, Any]:
    """The figures of masks known by their counts, with n and with the difference from the all-empty score."""
    score = dice(hit_px, predicted_px, counts.truth_px)
    truth_px, marked_px = counts.truth_px.astype(np.float64), predicted_px.astype(np.float64)
    figures = Figures().with_ratios(dice_ratios(truth_px, marked_px, score), bootstrap)
    return {
        **figures.values,
        "n": len(score),
        "n_patients": len(np.unique(counts.patients)),
        "beats_all_empty": margin_of(score, (counts.truth_px == 0).astype(np.float64), bootstrap),
        "intervals": {name: list(interval) for name, interval in figures.intervals.items()},
    }


def _cross_fitted(
    counts: LevelCounts, groups: NDArray[np.int64], choice: Choice, bootstrap: PatientBootstrap
) -> dict[str, Any]:
    """Every image decided by the rule that was chosen without its patient's group."""
    predicted_px, hit_px = np.zeros_like(counts.truth_px), np.zeros_like(counts.truth_px)
    for group, rule in enumerate(choice.without_group):
        inside = groups == group
        every_px, every_hit_px = counts.predicted(rule)
        predicted_px[inside], hit_px[inside] = every_px[inside], every_hit_px[inside]
    return {
        **_outcome(counts, predicted_px, hit_px, bootstrap),
        "groups": len(choice.without_group),
        "rules_of_groups": [rule.describe() for rule in choice.without_group],
    }


def _warnings(counts: LevelCounts, rule: DecisionRule, reason: str) -> list[str]:
    found = [reason] if reason else []
    predicted_px = counts.predicted(rule)[0]
    positives = len(np.unique(counts.patients[counts.truth_px > 0]))
    if not predicted_px.any():
        found.append(
            "collapse: the rule calls every validation image negative, so its Dice is the all-empty score, and no rule "
            "of the grid does better; train longer or otherwise, or set tune.objective: balanced"
        )
    elif (predicted_px > 0).all() and (counts.truth_px == 0).any():
        found.append("the rule calls every validation image positive: its specificity is 0")
    if 0 < positives < 20:
        found.append(f"only {positives} validation patients with pneumothorax: the choice rests on few masks")
    return found


def _write_surfaces(out_dir: Path, counts: LevelCounts, rule: DecisionRule, params: TuneParams, phantom: bool) -> None:
    thresholds, surface = threshold_table(counts), surface_table(counts, rule, params)
    write_table(out_dir / "thresholds.csv", thresholds, dict.fromkeys(thresholds.columns, "number"))
    plot_thresholds(out_dir / "thresholds.png", thresholds, rule, phantom)
    write_table(out_dir / "surface.csv", surface, dict.fromkeys(surface.columns, "number"))
    if len(surface):  # no areas or no top thresholds were given
        plot_surface(out_dir / "surface.png", surface, rule, phantom)
