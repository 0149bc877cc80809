"""The sections on subgroups, decision rule and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.report.inputs import Inputs, figure_of, mapping
from pneumoseg.report.parts import Drawing, Figure, Section, Table, count_of, number, sentence
from pneumoseg.report.result import MEASURES, against_plain

#: Fewer images than this with pneumothorax: the page and the card say that a subgroup tells little.
FEW_IMAGES: Final = 20
_COMPARED: Final = ("dice_all", "all_empty", "dice_pos", "sensitivity", "specificity")
_GROUPED: Final = (("dice_pos", "Dice, positives only"), ("sensitivity", "Sensitivity"), ("auc", "AUC"))


def subgroup_section(inputs: Inputs) -> Section:
    """Figures by lesion size, components, sex, age and view, and the test between small and large."""
    records = [record for record in inputs.test.get("subgroups") or () if isinstance(record, Mapping)]
    drawings: list[Drawing] = []
    for key, name in _GROUPED:
        rows = [_group_row(record, key) for record in records if key in record]
        if rows:
            overall = inputs.figure(key).value
            drawing = interval_chart(rows, f"{name} by subgroup", name, overall)
            drawings.append(
                (drawing, f"{name} by subgroup with 95 % intervals; the dashed line is the whole test set.")
            )
    columns = ("n", "positives", "patients")
    measures = ("dice_all", "dice_pos", "sensitivity", "specificity", "auc")
    table_rows = tuple(
        (
            group_name(record),
            *(number(record.get(column)) for column in columns),
            *(figure_of(record, key).text(2) if key in record else "" for key in measures),
        )
        for record in records
    )
    titles = ("group", *columns, *(MEASURES[key] for key in measures))
    return Section(_subgroup_notes(inputs, records), tuple(drawings), Table("Subgroups", titles, table_rows))


def group_name(record: Mapping[str, Any]) -> str:
    """Such as ``view position: AP``."""
    return f"{str(record.get('by', '')).replace('_', ' ')}: {record.get('group', '')}"


def small_groups(inputs: Inputs) -> tuple[str, ...]:
    """Subgroups that have too few positive images to say anything."""
    records = [record for record in inputs.test.get("subgroups") or () if isinstance(record, Mapping)]
    return tuple(group_name(record) for record in records if (record.get("positives") or 0) < FEW_IMAGES)


def _group_row(record: Mapping[str, Any], key: str) -> Interval:
    figure = figure_of(record, key)
    note = f"({number(record.get('positives'))} of {number(record.get('n'))})"
    return Interval(group_name(record), figure.value, figure.low, figure.high, note)


def _subgroup_notes(inputs: Inputs, records: list[Mapping[str, Any]]) -> tuple[str, ...]:
    if not records:
        return ("The test set gives no subgroups.",)
    notes = ["Beside each value: images with pneumothorax, of all images of the group."]
    small = small_groups(inputs)
    if small:
        notes.append(
            f"{len(small)} of {len(records)} groups have fewer than {FEW_IMAGES} images with pneumothorax: their "
            "figures are examples, not findings."
        )
    test = mapping(inputs.test, "size_test")
    if test.get("dice_difference") is not None:
        gap = figure_of(test, "dice_difference")
        notes.append(
            f"Large against small pneumothoraces ({number(test.get('n_large'))} and {number(test.get('n_small'))} "
            f"images): Dice differs by {gap.text()}, permutation test p = {number(test.get('dice_permutation_p'), 4)}; "
            f"AUC differs by {figure_of(test, 'auc_difference').text()}."
        )
    return tuple(notes)


def decision_section(inputs: Inputs) -> Section:
    """The rule in use, and what it gives beside a plain threshold, on test and validation images."""
    thresholds, test = inputs.thresholds, inputs.test
    columns: list[tuple[str, Mapping[str, Any]]] = [
        ("tuned rule, test", test),
        ("plain 0.5, test", {"all_empty": test["all_empty"], **mapping(test, "plain_05")}),
        ("tuned rule, validation, cross-fitted", mapping(thresholds, "cross_fitted")),
        ("tuned rule, validation, optimistic", mapping(thresholds, "optimistic")),
        ("plain 0.5, validation", mapping(thresholds, "plain_05")),
    ]
    columns = [(name, source) for name, source in columns if source]
    rows = tuple((MEASURES[key], *(figure_of(source, key).text() for _, source in columns)) for key in _COMPARED)
    notes = [f"In use: {inputs.rule.describe()}.", against_plain(inputs)]
    if mapping(thresholds, "cross_fitted"):
        notes.append(
            "Validation images chose the rule, so its figures on them are optimistic; cross-fitted means that each "
            "patient's images were decided by a rule chosen without that patient's group."
        )
    notes += [sentence(f"tuning: {warning}") for warning in thresholds.get("warnings") or ()]
    table = Table("Decision rules compared", ("", *(name for name, _ in columns)), rows)
    return Section(tuple(note for note in notes if note), (), table)


def searched_table(inputs: Inputs) -> Table:
    """The families of rules that were searched, with what the best of each reached on validation images."""
    rows = []
    for found in inputs.thresholds.get("searched") or ():
        if not isinstance(found, Mapping):
            continue
        best = found.get("best")
        rows.append(
            (
                f"{found['family']}{' (chosen)' if found.get('chosen') else ''}",
                number(found.get("rules")),
                number(found.get("objective_cross_fitted"), 4),
                number(found.get("objective_optimistic"), 4),
                "; ".join(map(str, best)) if isinstance(best, list) else str(best or ""),
            )
        )
    columns = ("kind", "rules", "cross-fitted", "optimistic", "best of the kind")
    return Table("Rules searched", columns, tuple(rows), numeric=False)


def calibration_section(inputs: Inputs) -> Section:
    """Whether image probabilities mean what they say."""
    calibration = mapping(inputs.test, "calibration")
    if calibration.get("ece") is None:
        return Section(("Calibration was not measured on this test set.",))
    notes = [
        f"Expected calibration error {figure_of(calibration, 'ece').text()}, "
        f"Brier score {figure_of(calibration, 'brier').text()}; 0 is perfect for both."
    ]
    if calibration.get("temperature") is not None:
        notes.append(
            f"With one temperature, {number(calibration['temperature'])}, fitted on the validation images: expected "
            f"calibration error {figure_of(calibration, 'ece_after_temperature').text()}, Brier score "
            f"{Figure(calibration.get('brier_after_temperature')).text()}."
        )
    bins = [row for row in calibration.get("reliability") or () if isinstance(row, Mapping)]
    rows = tuple(
        (
            f"{number(row.get('from'), 2)} to {number(row.get('to'), 2)}",
            number(row.get("n")),
            number(row.get("mean_probability")),
            number(row.get("share_positive")),
        )
        for row in bins
    )
    notes.append(f"Images are grouped by probability into {count_of(len(bins), 'bin')} of equal width.")
    columns = ("probability", "images", "mean probability", "share with pneumothorax")
    return Section(tuple(notes), (), Table("Reliability", columns, rows))
