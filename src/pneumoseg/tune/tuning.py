"""Stage tune: choose the decision rule on validation images and say what it is worth elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.tune import CallObjective, MaskObjective, TuneParams
from pneumoseg.evaluate.metric import all_metrics, column, estimate
from pneumoseg.rule.cases import Case, Predictions
from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE, PLAIN_RULE, DecisionRule
from pneumoseg.rule.level_counts import Cleaning, LevelCounts, count_levels
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import METADATA, read_table
from pneumoseg.stats.bootstrap import FEW, PatientBootstrap
from pneumoseg.stats.margins import margin_of
from pneumoseg.tune.output_limits import output_limits
from pneumoseg.tune.probability_rule import CallSearch, ImageCalls
from pneumoseg.tune.search import Family, Search, families
from pneumoseg.tune.selection import Choice, Judged, choose, objective, patient_groups, search_family
from pneumoseg.tune.surface_plots import judged_rows, write_call_surface, write_mask_surfaces

_LOGGER = logging.getLogger("pneumoseg")
# Of the intervals in thresholds.json; those of the test set have a parameter.
_REPLICATES = 2000


def tune(layout: Layout, params: TuneParams, workers: int | None = None) -> DecisionRule:
    """Choose the decision rule on the out-of-fold maps of the validation images.

    Images whose mask is not known are left out. Where the networks give no map, limits of the image probability are
    searched instead, whatever ``params.kinds`` says, on all images: for Youden's index or a least sensitivity all that
    there can be, else those of ``params.gate_probabilities``, for balanced accuracy.

    Args:
        layout: of the main set; metrics/thresholds.json and metrics/tune are written.
        params: section tune.
        workers: threads; None for one a core. No output depends on it.

    Raises:
        DataError: there is no validation image, or files contradict each other.
    """
    predictions = Predictions.read(layout)
    cases = predictions.cases("validation")
    phantom = is_phantom(layout.metadata, cases)
    without_map = cases[0].map is None
    used = cases if without_map else tuple(case for case in cases if case.mask_known)
    if not used:
        raise DataError(f"{layout.annotations}: no validation image has a known mask; nothing can be tuned")
    images = ImageCalls.of(used) if without_map else _count(used, params, workers)
    rule, content = _choose(images, params, len(cases) - len(used))
    outputs = predictions.outputs("validation")
    if without_map and len(outputs.columns):
        content["outputs"] = output_limits(cases, outputs, params, content["objective"])
    for warning in content["warnings"]:
        _LOGGER.warning("tune: %s", warning)
    write_json(layout.thresholds, content | {"phantom": int(phantom)})
    folder = fresh_dir(layout.tune)
    if isinstance(images, ImageCalls):
        write_call_surface(folder, images, rule, phantom)
    else:
        write_mask_surfaces(folder, images, rule, params, phantom, len(cases) - len(used))
    return rule


def _choose(
    images: LevelCounts | ImageCalls, params: TuneParams, mask_unknown: int
) -> tuple[DecisionRule, dict[str, Any]]:
    """The rule, and what metrics/thresholds.json tells of it."""
    without_map = isinstance(images, ImageCalls)
    of_calls = params.objective in get_args(CallObjective)
    plain, goal = _plain(images), "balanced" if without_map and not of_calls else params.objective
    positive = column(images.outcomes(plain), "pneumothorax") > 0
    groups = patient_groups(images.patients, positive, params.cross_fit_groups, params.seed)
    no_limits = without_map and not of_calls and not params.gate_probabilities
    reason = _too_little(positive, groups, no_limits, mask_unknown)
    found = None if reason else _search(images, groups, params, goal)
    choice = None if found is None else found.choices[goal]
    rule = plain if choice is None else choice.rule
    bootstrap = PatientBootstrap(images.patients, _REPLICATES, params.seed)
    chosen = judged_rows(images.outcomes(rule), mask_unknown)
    warnings = _warnings(chosen, images.patients, reason, mask_unknown)
    if goal != params.objective:
        warnings.append(
            f"the networks give no map: tune.objective {params.objective} is taken as {goal}, of the calls; youden and "
            "sensitivity_at_least are made for them"
        )
    return rule, {
        "rule": rule.to_json(),
        "description": rule.describe(),
        "objective": goal,
        **({"least_sensitivity": params.least_sensitivity} if goal == "sensitivity_at_least" else {}),
        "mask_unknown": mask_unknown,
        "optimistic": _outcome(chosen, bootstrap),
        "cross_fitted": None if choice is None else _cross_fitted(images, groups, choice, bootstrap),
        "plain_05": _outcome(judged_rows(images.outcomes(plain), mask_unknown), bootstrap),
        "searched": [] if found is None else found.searched,
        "other_objective": None if found is None else found.other(images, groups, goal, bootstrap),
        "collapse": int(not chosen["called"].any()),
        "warnings": warnings,
    }


def _plain(images: LevelCounts | ImageCalls) -> DecisionRule:
    return PLAIN_PROBABILITY_RULE if isinstance(images, ImageCalls) else PLAIN_RULE


def _count(cases: Sequence[Case], params: TuneParams, workers: int | None) -> LevelCounts:
    return count_levels(
        cases, Cleaning(params.mask_thresholds, params.min_component_px_at_1024, params.fill_holes), workers
    )


def is_phantom(metadata_csv: Path, cases: Sequence[Case]) -> bool:
    """Whether any of the cases is a phantom: then nothing from them may pass for a result on patients.

    Raises:
        DataError: a case has no row in metadata.csv.
    """
    known = read_table(metadata_csv, METADATA).set_index("image_id")["phantom"]
    missing = sorted({case.image_id for case in cases} - set(known.index))
    if missing:
        raise DataError(f"{metadata_csv}: no row for {missing[0]}, which has a prediction; run dvc repro")
    return bool(known[[case.image_id for case in cases]].fillna(0).any())


def _too_little(positive: NDArray[np.bool_], groups: NDArray[np.int64], no_limits: bool, mask_unknown: int) -> str:
    """Why no rule can be chosen on these images; empty where one can."""
    if no_limits:
        return "tune.gate_probabilities is empty and the networks give no map: nothing to tune, the limit 0.5 is used"
    if not positive.any():
        image = "image with a known mask" if mask_unknown else "image"
        text = f"no validation {image} has a pneumothorax: nothing to tune on, the plain rule p > 0.5 is used"
        return text + ("; networks without maps have their image probability tuned on labels" * bool(mask_unknown))
    if len(np.unique(groups)) < 3:
        return "fewer than three validation patients: nothing to tune on, the plain rule p > 0.5 is used"
    return ""


@dataclass(frozen=True)
class _Found:
    """What the search gave: the choice under each objective, and a line for each kind of rule under the wanted one."""

    choices: dict[str, Choice]
    searched: list[dict[str, Any]]

    def other(
        self, images: LevelCounts | ImageCalls, groups: NDArray[np.int64], goal: str, bootstrap: PatientBootstrap
    ) -> dict[str, Any] | None:
        """What the objective that was not asked for would have given; None where there is one alone."""
        names = [name for name in self.choices if name != goal]
        if not names:
            return None
        choice = self.choices[names[0]]
        figures = _cross_fitted(images, groups, choice, bootstrap)
        return {
            "objective": names[0],
            "description": choice.rule.describe(),
            # Values alone: dvc exp show has a column for each number of this file.
            "cross_fitted": {metric.name: figures[metric.name] for metric in all_metrics() if metric.of_rule},
        }


def _search(images: LevelCounts | ImageCalls, groups: NDArray[np.int64], params: TuneParams, goal: str) -> _Found:
    positive = column(images.outcomes(_plain(images)), "pneumothorax") > 0
    if isinstance(images, ImageCalls):
        calls, goals = CallSearch(images, groups, params), (goal,)
        found = search_family(calls, Family("probability", gated=False), goals, params.least_sensitivity)
        results, sizes = [found], calls.images
        judged = Judged(
            images.patients,
            groups,
            positive,
            lambda rule: rule.opens(images.probability) == positive,
            params.least_sensitivity,
        )
    else:
        masks, goals = Search(images, groups, params), get_args(MaskObjective)
        results, sizes = [search_family(masks, family, goals) for family in families(params)], masks.images
        judged = Judged(images.patients, groups, positive, lambda rule: column(images.outcomes(rule), "dice"))
    choices = {name: choose([result[name] for result in results], sizes, name, judged) for name in goals}
    searched = []
    for result in (of_goal[goal] for of_goal in results):
        best = result.best[frozenset()]
        searched.append(
            {
                "family": result.family.name,
                "rules": result.rules,
                "objective_optimistic": float(
                    objective(best.sums.sum(axis=0), sizes.sum(axis=0), goal, params.least_sensitivity)
                ),
                "objective_cross_fitted": choices[goal].cross_fitted[result.family.name],
                "chosen": result.family == choices[goal].family,
                "best": best.rule.describe(),
            }
        )
    return _Found(choices, searched)


def _outcome(rows: pd.DataFrame, bootstrap: PatientBootstrap) -> dict[str, Any]:
    """The figures of a rule's outcomes, with n and with the difference from the all-empty score."""
    figures = estimate([metric for metric in all_metrics() if metric.of_rule], rows, bootstrap)
    return {
        **{name: figure.value for name, figure in figures.items()},
        "n": len(rows),
        "n_patients": len(np.unique(bootstrap.patients)),
        "beats_all_empty": margin_of(column(rows, "dice"), 1 - column(rows, "pneumothorax"), bootstrap).model_dump(),
        "intervals": {name: figure.interval for name, figure in figures.items()},
    }


def _cross_fitted(
    images: LevelCounts | ImageCalls, groups: NDArray[np.int64], choice: Choice, bootstrap: PatientBootstrap
) -> dict[str, Any]:
    """Every image decided by the rule that was chosen without its patient's group."""
    parts = [images.outcomes(rule)[groups == group] for group, rule in enumerate(choice.without_group)]
    return {
        **_outcome(pd.concat(parts).sort_index(), bootstrap),
        "groups": len(choice.without_group),
        "rules_of_groups": [rule.describe() for rule in choice.without_group],
    }


def _warnings(rows: pd.DataFrame, patients: NDArray[np.int64], reason: str, mask_unknown: int) -> list[str]:
    found = [reason] if reason else []
    positives = len(np.unique(patients[rows["pneumothorax"]]))
    if not rows["called"].any():
        found.append(
            "collapse: the rule calls every validation image negative, so its Dice is the all-empty score, and no rule "
            "of the grid does better; train longer or otherwise, or set tune.objective: balanced"
            if not reason
            else "the rule calls every validation image negative"
        )
    elif rows["called"].all() and not rows["pneumothorax"].all():
        found.append("the rule calls every validation image positive: its specificity is 0")
    if 0 < positives < FEW:
        found.append(f"only {positives} validation patients with pneumothorax: the choice rests on few masks")
    if mask_unknown:
        found.append(f"{mask_unknown} validation images are left out: it is not known where their pneumothorax is")
    return found
