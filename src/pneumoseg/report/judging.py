"""The sections on subgroups, decision rule and calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.evaluate.metric import Metric, all_metrics
from pneumoseg.evaluate.metrics.core import DICE_ALL, PREVALENCE
from pneumoseg.evaluate.result import GroupTest, Subgroup
from pneumoseg.report.headline import against_plain, headline_metrics, short
from pneumoseg.report.inputs import Inputs
from pneumoseg.report.parts import Drawing, Part, Table, count_of, number, percent, sentence, told
from pneumoseg.stats.bootstrap import FEW, Estimate


def grouped_metrics() -> tuple[Metric, ...]:
    """The headline figures that do not rest on how frequent pneumothorax is among the images."""
    return tuple(metric for metric in headline_metrics() if metric.subgroups in ("any", "against_negatives"))


def subgroup_part(inputs: Inputs, plots: tuple[Drawing, ...]) -> Part:
    """Figures by lesion size, components, sex, age and view, and the test between small and large."""
    groups = inputs.test.subgroups
    drawings: list[Drawing] = []
    for metric in grouped_metrics():
        rows = [_group_row(group, metric) for group in groups if metric.name in group.figures]
        if any(row.value is not None for row in rows):
            name = sentence(short(metric)).removesuffix(".")
            overall = inputs.test.figure(metric.name).value
            caption = f"{name} by subgroup with 95 % intervals; the dashed line is the whole test set."
            drawings.append((interval_chart(rows, f"{name} by subgroup", name, overall), caption))
    shown = [
        metric
        for metric in headline_metrics()
        if metric.subgroups and any(group.figure(metric.name).value is not None for group in groups)
    ]
    counts = {"n": "n", "positives": "positives", "patients": "patients"}
    if any(group.n_mask_known not in (None, group.n) for group in groups):
        counts["n_mask_known"] = "mask known"
    table_rows = tuple(
        (
            group_name(group),
            *(number(getattr(group, name)) for name in counts),
            *(told(group.figure(metric.name), 2) if metric.name in group.figures else "" for metric in shown),
        )
        for group in groups
    )
    titles = ("group", *counts.values(), *(metric.title for metric in shown))
    table = Table("Subgroups", titles, table_rows, folded="The figures as a table")
    return Part("Subgroups", _subgroup_notes(inputs), drawings=(*drawings, *plots), tables=(table,))


def group_name(group: Subgroup) -> str:
    """Such as ``view position: AP``."""
    return f"{group.by.replace('_', ' ')}: {group.group}"


def small_groups(inputs: Inputs) -> tuple[str, ...]:
    """Subgroups that have too few positive images to say anything."""
    return tuple(group_name(group) for group in inputs.test.subgroups if group.positives < FEW)


def _group_row(group: Subgroup, metric: Metric) -> Interval:
    figure = group.figure(metric.name)
    note = f"({group.positives:,} of {group.n:,})"
    return Interval(group_name(group), figure.value, figure.low, figure.high, note)


def _subgroup_notes(inputs: Inputs) -> tuple[str, ...]:
    groups = inputs.test.subgroups
    if not groups:
        return ("The test set gives no subgroups.",)
    notes = ["Beside each value: images with pneumothorax, of all images of the group."]
    small = small_groups(inputs)
    if small:
        notes.append(
            f"{len(small)} of {len(groups)} groups have fewer than {FEW} images with pneumothorax: their "
            "figures are examples, not findings."
        )
    test = inputs.test.size_test
    gap = test.figure("dice_difference")
    if gap.value is not None:
        notes.append(
            f"Large against small pneumothoraces ({number(test.n_large)} and {number(test.n_small)} images): Dice "
            f"differs by {told(gap)}, permutation test p = {number(test.dice_permutation_p, 4)}; AUC differs by "
            f"{told(test.figure('auc_difference'))}{_p(test.auc_permutation_p)}."
        )
    elif test.figure("auc_difference").value is not None:
        notes.append(
            f"Large against small pneumothoraces ({number(test.n_large)} and {number(test.n_small)} images): AUC "
            f"differs by {told(test.figure('auc_difference'))}{_p(test.auc_permutation_p)}."
        )
    notes += [told_test(test) for test in inputs.test.group_tests]
    return tuple(notes)


def told_test(test: GroupTest) -> str:
    """Such as ``chest tube: no against yes (20 and 12 images with pneumothorax): AUC differs by …``."""
    counts = f"{number(test.n_first)} and {number(test.n_second)} images with pneumothorax"
    return (
        f"{sentence(test.by.replace('_', ' ')).removesuffix('.')}: {test.first} against {test.second} ({counts}): AUC "
        f"differs by {told(test.figure('auc_difference'))}{_p(test.auc_permutation_p)}."
    )


def _p(value: float | None) -> str:
    return "" if value is None else f", permutation test p = {number(value, 4)}"


def decision_part(inputs: Inputs, plots: tuple[Drawing, ...]) -> Part:
    """The rule in use, and what it gives beside a plain threshold, on test and validation images."""
    thresholds, test = inputs.thresholds, inputs.test
    columns: list[tuple[str, Callable[[str], Estimate]]] = [
        ("tuned rule, test", test.figure),
        ("plain 0.5, test", test.plain_05.figure),
    ]
    for key, name in (
        ("cross_fitted", "tuned rule, validation, cross-fitted"),
        ("optimistic", "tuned rule, validation, optimistic"),
        ("plain_05", "plain 0.5, validation"),
    ):
        if thresholds.get(key):
            columns.append((name, _of_outcome(thresholds[key])))
    other = thresholds.get("other_objective")
    if other:
        columns.append(
            (f"tuned for {other['objective']}, validation, cross-fitted", _of_outcome(other["cross_fitted"]))
        )
    compared = [metric for metric in all_metrics() if metric.of_rule and metric.name != PREVALENCE.name]
    found = [(metric, [figure(metric.name) for _, figure in columns]) for metric in compared]
    rows = tuple(
        (metric.title, *map(told, figures))
        for metric, figures in found
        if any(figure.value is not None for figure in figures)
    )
    notes = [f"In use: {inputs.rule.describe()}.", _tuned_for(thresholds), against_plain(inputs)]
    if thresholds.get("cross_fitted"):
        notes.append(
            "Validation images chose the rule, so its figures on them are optimistic; cross-fitted means that each "
            "patient's images were decided by a rule chosen without that patient's group."
        )
    notes += [sentence(f"tuning: {warning}") for warning in thresholds.get("warnings") or ()]
    table = Table("Decision rules compared", ("", *(name for name, _ in columns)), rows)
    return Part(
        "Decision rule", tuple(note for note in notes if note), drawings=plots, tables=(table, _searched(thresholds))
    )


def _tuned_for(thresholds: Mapping[str, Any]) -> str:
    """At which prevalence the rule was chosen, and what the other objective would have chosen."""
    share = (thresholds.get("optimistic") or {}).get(PREVALENCE.name)
    if share is None or not thresholds.get("objective"):
        return ""
    text = f"Tuned for {thresholds['objective']} on validation images of which {percent(share)} have a pneumothorax"
    if thresholds["objective"] == DICE_ALL.name:
        text += "; at another prevalence another rule would be best"
    other = thresholds.get("other_objective")
    return f"{text}." + (f" Tuned for {other['objective']} it would be: {other['description']}." if other else "")


def _of_outcome(outcome: Mapping[str, Any]) -> Callable[[str], Estimate]:
    """The figures of an object of thresholds.json by name."""
    intervals = outcome.get("intervals") or {}
    return lambda name: Estimate(outcome.get(name), *(intervals.get(name) or (None, None)))


def _searched(thresholds: Mapping[str, Any]) -> Table:
    """The families of rules that were searched, with what the best of each reached on validation images."""
    rows = tuple(
        (
            f"{found['family']}{' (chosen)' if found['chosen'] else ''}",
            number(found["rules"]),
            number(found["objective_cross_fitted"], 4),
            number(found["objective_optimistic"], 4),
            str(found["best"]),
        )
        for found in thresholds.get("searched") or ()
    )
    columns = ("kind", "rules", "cross-fitted", "optimistic", "best of the kind")
    return Table("Rules searched", columns, rows, numeric=False, folded="Rules that were searched")


def calibration_part(inputs: Inputs, plots: tuple[Drawing, ...]) -> Part:
    """Whether image probabilities mean what they say."""
    title, calibration = "Detection and calibration", inputs.test.calibration
    if calibration.figure("ece").value is None:
        return Part(title, ("Calibration was not measured on this test set.",), drawings=plots)
    notes = [
        f"Expected calibration error {told(calibration.figure('ece'))}, Brier score "
        f"{told(calibration.figure('brier'))}; 0 is perfect for both."
    ]
    if calibration.temperature is not None:
        notes.append(
            f"With one temperature, {number(calibration.temperature)}, fitted on the validation images: expected "
            f"calibration error {told(calibration.figure('ece_after_temperature'))}, Brier score "
            f"{number(calibration.brier_after_temperature)}."
        )
    bins = calibration.reliability
    rows = tuple(
        (
            f"{number(row.low, 2)} to {number(row.high, 2)}",
            number(row.n),
            number(row.mean_probability),
            number(row.share_positive),
        )
        for row in bins
    )
    notes.append(f"Images are grouped by probability into {count_of(len(bins), 'bin')} of equal width.")
    columns = ("probability", "images", "mean probability", "share with pneumothorax")
    table = Table("Reliability", columns, rows, folded="Reliability as a table")
    return Part(title, tuple(notes), drawings=plots, tables=(table,))
