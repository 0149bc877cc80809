"""All figures of a set of images, test or external: Dice beside the all-empty score, calls, calibration, subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.measuring import measure, read_attributes, table_of
from pneumoseg.evaluate.metric import all_metrics, column, estimate, mean_of, of_masks
from pneumoseg.evaluate.metrics.core import DICE_ALL
from pneumoseg.evaluate.metrics.image_calls import predictive_values
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.evaluate.outputs import judge_outputs
from pneumoseg.evaluate.result import AtPrevalence, Bin, Calibration, Group, Instances, Note, Surface, TestResult
from pneumoseg.evaluate.subgroup_file import read_groups
from pneumoseg.evaluate.subgroups import group_tests, size_test, subgroup_table
from pneumoseg.rule.cases import Predictions, patient_codes
from pneumoseg.rule.decision import DecisionRule, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import map_threads
from pneumoseg.shared.tables import Columns, write_table
from pneumoseg.stats.bootstrap import FEW, Estimate, PatientBootstrap, Ratio, Weighted
from pneumoseg.stats.calibration import apply_temperature, calibration_error, fit_temperature, reliability_table
from pneumoseg.stats.margins import Margin, margin_of
from pneumoseg.stats.ranking import area_under_roc, delong_interval

_NOT_BETTER = ("worse", "not shown")


@dataclass(frozen=True)
class Judged:
    """The test images of a set under a rule.

    Attributes:
        rule: which one.
        rows: one an image, as test_cases.csv, ``instances``, and the columns of evaluate.subgroup_table.
        labels: probability and truth of the main set's validation images, for the temperature; empty for none.
        result: all figures.
    """

    rule: DecisionRule
    rows: pd.DataFrame
    labels: tuple[tuple[float, bool], ...]
    result: TestResult

    def write_rows(self, layout: Layout, columns: Columns, rows: pd.DataFrame | None = None) -> None:
        """Write the table of the images, or of rows that hold more about them."""
        table = self.rows if rows is None else rows
        write_table(layout.test_cases, table[[name for name in table if name in columns]], columns)


def judge(layout: Layout, predictions: Predictions, params: EvaluateParams, workers: int | None) -> Judged:
    """Measure the test images of the main set or of an external one under the rule tuned on the main set.

    Args:
        layout: of the set.
        predictions: its tables.
        params: section evaluate.
        workers: threads; None for one a core. No figure depends on it.

    Raises:
        DataError: there is no test image, or files contradict each other.
    """
    rule = read_rule(layout.main.thresholds)
    known = read_attributes(layout.metadata)
    cases = predictions.cases("test")
    if (cases[0].map is None) != (rule.mask_threshold is None):
        raise DataError(
            f"{layout.main.thresholds} holds a rule of kind {rule.kind}, but {layout.predictions} "
            f"{'has no maps' if cases[0].map is None else 'has maps'}; run dvc repro tune"
        )
    groups = read_groups(params.subgroup_table, layout, [case.image_id for case in cases])
    rows = table_of(
        map_threads(
            partial(measure, rule=rule, known=known, params=params), cases, workers, f"test images of {layout.name}"
        )
    ).join(groups, on="image_id")
    labels: tuple[tuple[float, bool], ...] = ()
    if params.temperature_scaling:
        main = predictions if layout.site is None else Predictions.read(layout.main)
        labels = tuple((case.probability, case.label) for case in main.cases("validation"))
    result = assess(rows, labels, params, "test" if layout.site is None else "external")
    told: dict[str, Any] = {"rule": (rule.describe(),)}
    outputs = predictions.outputs("test")
    if len(outputs.columns):
        limits = read_json(layout.main.thresholds).get("outputs") or {}
        chosen = {name: float(of["gate_probability"]) for name, of in limits.items()}
        told["outputs"] = judge_outputs(rows, outputs, chosen, params.bootstrap_replicates, params.seed)
    return Judged(rule, rows, labels, result.model_copy(update=told))


def assess(
    rows: pd.DataFrame, validation: Sequence[tuple[float, bool]], params: EvaluateParams, kind: str = "test"
) -> TestResult:
    """All figures of a set of images under the rule that they were measured with.

    Args:
        rows: as test_cases.csv, ``instances``, and columns whose values are further subgroups.
        validation: probability and truth of the validation images, for the temperature; empty for none.
        params: section evaluate.
        kind: of images, for the notes: test or external.
    """
    bootstrap = PatientBootstrap(patient_codes(list(rows["patient"])), params.bootstrap_replicates, params.seed)
    # Where it is empty, it is so for subgroups that have no positive image, too.
    rows = rows.assign(**{name: of_masks(rows, name) for name in ("dice", "plain_dice", "iou", "intersection_px")})
    figures = {
        section: estimate([metric for metric in all_metrics() if metric.section == section], rows, bootstrap)
        for section in ("", "surface", "instances")
    }
    plain = rows.assign(dice=rows["plain_dice"], called=rows["plain_called"])
    found = [item for item in rows["instances"] if item is not None]
    score = column(rows, "dice")
    result = TestResult(
        figures=figures[""],
        n=len(rows),
        n_positive=int(column(rows, "pneumothorax").sum()),
        n_patients=int(rows["patient"].nunique()),
        n_mask_known=int(rows["truth_px"].notna().sum()),
        phantom=int(rows["phantom"].any()),
        beats_all_empty=margin_of(score, 1 - column(rows, "pneumothorax"), bootstrap),
        beats_plain_05=margin_of(score, column(rows, "plain_dice"), bootstrap),
        plain_05=Group(figures=estimate([metric for metric in all_metrics() if metric.of_rule], plain, bootstrap)),
        surface=Surface(
            figures=figures["surface"],
            n_mm=int(rows["hd95_mm"].notna().sum()),
            n_px=int(rows["hd95_px"].notna().sum()),
        ),
        instances=Instances(
            figures=figures["instances"],
            truths=sum(item.truths for item in found) if found else None,
            predictions=sum(len(item.scores) for item in found) if found else None,
        ),
        calibration=_calibration(rows, validation, params, bootstrap),
        size_test=size_test(rows, bootstrap, params.permutations, params.seed),
        subgroups=subgroup_table(rows, bootstrap),
        group_tests=group_tests(rows, bootstrap, params.permutations, params.seed),
        delong=_delong(rows),
        at_prevalence=tuple(
            AtPrevalence(prevalence=share, figures=bootstrap.estimates(predictive_values(rows, share)))
            for share in params.prevalences
        ),
    )
    return result.model_copy(update={"notes": _notes(rows, result, kind)})


def _delong(rows: pd.DataFrame) -> Group:
    scores, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    interval = delong_interval(scores, positive)
    return Group(figures={AUC.name: Estimate.of(area_under_roc(scores, positive).value, interval)})


def _calibration(
    rows: pd.DataFrame, validation: Sequence[tuple[float, bool]], params: EvaluateParams, bootstrap: PatientBootstrap
) -> Calibration:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    bins = params.calibration_bins

    def gap(values: Any) -> Weighted:
        return Weighted(partial(calibration_error, values, positive, bins), len(rows))

    brier = mean_of((probability - positive) ** 2)
    content: dict[str, Any] = {
        "reliability": [Bin.model_validate(row) for row in reliability_table(probability, positive, bins)]
    }
    figures: dict[str, Ratio | Weighted] = {"ece": gap(probability), "brier": brier}
    if params.temperature_scaling:
        temperature = fit_temperature(
            np.array([item[0] for item in validation]), np.array([item[1] for item in validation], np.bool_)
        )
        scaled = apply_temperature(probability, temperature)
        figures["ece_after_temperature"] = gap(scaled)
        content["temperature"] = Estimate.of(temperature).value
        content["brier_after_temperature"] = Estimate.of(mean_of((scaled - positive) ** 2).value).value
    return Calibration(figures=bootstrap.estimates(figures), **content)


def _notes(rows: pd.DataFrame, result: TestResult, kind: str) -> tuple[Note, ...]:
    """What a reader must know before believing the figures."""
    no_map, masks = bool(rows["predicted_px"].isna().all()), result.n_mask_known or 0
    patients = rows.loc[rows["pneumothorax"] == 1, "patient"].nunique()
    empty, plain = result.beats_all_empty, result.beats_plain_05
    no_mask = not no_map and bool(patients) and result.figure(DICE_ALL.name).value is None
    without = 0 if no_map or no_mask else masks - (result.surface.n_px)
    told = {
        "phantom": result.phantom and "phantom data: these figures say nothing about patients",
        "no_map": no_map and "the networks give no map: figures of masks cannot be had",
        "no_positive_mask": no_mask
        and f"no {kind} image with pneumothorax has a known mask: Dice and all other figures of masks cannot be had, "
        "those of calls and probabilities can",
        "mask_unknown": masks < result.n
        and not no_mask
        and f"figures of masks leave out {result.n - masks} of {result.n} images, whose mask is not known",
        "all_empty_not_beaten": empty.verdict in _NOT_BETTER
        and f"{DICE_ALL.name} is not shown to beat the all-empty score: {_text(empty)}",
        "plain_not_beaten": plain.verdict in _NOT_BETTER
        and f"the tuned rule is not shown to beat the plain threshold 0.5: {_text(plain)}",
        "all_called_negative": not rows["called"].any()
        and f"every {kind} image is called negative"
        + (f": {DICE_ALL.name} is the all-empty score" * (not no_map and not no_mask)),
        "no_positives": not patients
        and f"no {kind} image has a pneumothorax: nothing can be said of how well one is found",
        "few_patients": 0 < patients < FEW
        and f"only {patients} {kind} patient{'s' * (patients > 1)} with pneumothorax: intervals are rough",
        "lung_crop": _cut(rows),
        "surface_left_out": without
        and f"surface distances leave out {without} of {masks} images, in which a mask is empty",
    }
    return tuple(Note(code=code, text=text) for code, text in told.items() if text)


def _cut(rows: pd.DataFrame) -> str:
    """What networks that see the lungs alone could not see; empty where they see all."""
    cuts = {name: cut for name, cut in zip(rows["image_id"], rows.get("cut", ()), strict=False) if cut is not None}
    if not cuts:
        return ""
    lost = {name: cut.lesion_px for name, cut in cuts.items() if cut.lesion_px}
    whole = sum(cut.whole for cut in cuts.values())
    text = f"networks see the lungs alone: {whole} of {len(cuts)} images, without two lungs found, were seen whole; "
    if not lost:
        return text + "no pixel of a lesion lies outside of what was seen"
    px = rows.set_index("image_id")["truth_px"]
    worst = max(lost, key=lambda name: lost[name] / px[name])
    return (
        f"{text}{sum(lost.values()):,} of {int(px[list(cuts)].sum()):,} px of lesions lie outside of what was seen, at "
        f"worst {lost[worst] / px[worst]:.1%} of one ({worst})"
    )


def _text(margin: Margin) -> str:
    spread = "not known" if None in margin.interval else "{:.4f} to {:.4f}".format(*margin.interval)
    return f"difference {margin.difference:.4f}, 95 % interval {spread}"
