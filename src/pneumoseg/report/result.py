"""The head of the page: a plain judgement, the headline figures beside the all-empty score, every measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.report.inputs import Inputs, figure_of, mapping, texts_of
from pneumoseg.report.parts import Figure, Table, count_of, number, percent, sentence

#: Name in metrics/test.json, and in words.
MEASURES: Final[Mapping[str, str]] = {
    "dice_all": "Dice, all images",
    "all_empty": "all-empty Dice (share of negatives)",
    "dice_pos": "Dice, positives only",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1 of the image call",
    "accuracy": "accuracy of the image call",
    "false_positive_percent": "false positive calls, % of all images",
    "false_negative_percent": "false negative calls, % of all images",
    "auc": "AUC of the image probability",
    "average_precision": "average precision of the image probability",
    "iou": "IoU, all images",
    "iou_pos": "IoU, positives only",
    "pooled_dice": "pooled Dice (all pixels as one image; not comparable with the others)",
    "pooled_iou": "pooled IoU (all pixels as one image; not comparable with the others)",
    "hd95_mm": "95 % Hausdorff distance, mm",
    "mean_surface_distance_mm": "mean surface distance, mm",
    "hd95_px": "95 % Hausdorff distance, px",
    "mean_surface_distance_px": "mean surface distance, px",
    "prevalence": "prevalence",
}
_INSTANCES: Final = {"ap": "instance AP (mean over IoU .50 to .95)", "ap50": "instance AP50", "ap75": "instance AP75"}
#: Beginnings of notes of metrics/test.json that the judgement says in its own words.
_SAID: Final = ("dice_all is not shown", "the tuned rule is not shown", "phantom data", "every test image is called")


@dataclass(frozen=True)
class Verdict:
    """Sentences of judgement; kind is good, open or bad."""

    kind: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    name: str
    value: str
    note: str
    beside: str = ""


def judge(inputs: Inputs) -> Verdict:
    """Say plainly whether the model does better than marking nothing, and whether tuning helped."""
    kind, first = _against_all_empty(inputs)
    notes = [note for note in texts_of(inputs.test) if not note.startswith(_SAID)]
    sentences = [first, _on_positives(inputs), against_plain(inputs), *(sentence(note) for note in notes)]
    return Verdict(kind, tuple(sentence for sentence in sentences if sentence))


def _against_all_empty(inputs: Inputs) -> tuple[str, str]:
    score, empty = inputs.figure("dice_all").value, inputs.figure("all_empty").value
    margin = figure_of(mapping(inputs.test, "beats_all_empty"), "difference")
    interval = mapping(inputs.test, "beats_all_empty").get("interval") or (None, None)
    margin = Figure(margin.value, *interval)
    if score is None or empty is None or margin.value is None:
        return "bad", "No judgement: metrics/test.json has no Dice beside an all-empty score."
    if not (inputs.cases["predicted_px"] > 0).any():
        text = "Does not beat an all-empty prediction: it is one. No pixel of any test image is marked, so Dice"
        return "bad", f"{text} {score:.3f} is only the share of images without pneumothorax."
    spread = f" (95 % interval of the difference {margin.interval()})" if margin.interval() else ""
    beside = f"Dice {score:.3f} over all test images, beside {empty:.3f} for marking nothing{spread}."
    if margin.value <= 0:
        return "bad", f"Does not beat an all-empty prediction: {beside}"
    if margin.low is None or margin.low <= 0:
        return "open", f"Not shown to beat an all-empty prediction: {beside} More test images would be needed to tell."
    return "good", f"Beats an all-empty prediction: {beside}"


def _on_positives(inputs: Inputs) -> str:
    positives = inputs.cases[inputs.cases["truth_px"] > 0]
    if positives.empty:
        return "The test set has no pneumothorax: nothing can be said of how well one is found or outlined."
    found = int((positives["predicted_px"] > 0).sum())
    return (
        f"Of {count_of(len(positives), 'test image')} with pneumothorax, {found:,} {'has' if found == 1 else 'have'} "
        f"a marked pixel; mean Dice of all {len(positives):,} is {inputs.figure('dice_pos').text()}."
    )


def against_plain(inputs: Inputs) -> str:
    """Whether the tuned decision rule does better on the test images than a plain threshold of 0.5."""
    beats = mapping(inputs.test, "beats_plain_05")
    value = beats.get("difference")
    if value is None:
        return ""
    margin = Figure(float(value), *(beats.get("interval") or (None, None)))
    spread = f", 95 % interval {margin.interval()}" if margin.interval() else ""
    told = f"(difference of Dice over all test images {margin.value:+.3f}{spread})"
    if value == 0 and margin.low == margin.high:
        return f"On the test images the tuned decision rule scores just as a plain threshold of 0.5 {told}."
    if value <= 0:
        return f"The tuned decision rule does not beat a plain threshold of 0.5 {told}."
    if margin.low is None or margin.low <= 0:
        return f"The tuned decision rule is not shown to beat a plain threshold of 0.5 {told}."
    marked = bool((inputs.cases["predicted_px"] > 0).any())
    how = "" if marked else ", but only by calling every image negative"
    return f"The tuned decision rule beats a plain threshold of 0.5 {told}{how}."


def tiles(inputs: Inputs) -> tuple[Tile, ...]:
    """The headline figures; every Dice stands beside the all-empty score."""
    empty = inputs.figure("all_empty").value
    beside = {"dice_all": f"all-empty {number(empty)}", "dice_pos": "all-empty 0.000"}
    names = {
        "dice_all": "Dice, all images",
        "dice_pos": "Dice, positives only",
        "sensitivity": "Sensitivity (images)",
        "specificity": "Specificity (images)",
        "auc": "AUC (images)",
    }
    shown = []
    for key, name in names.items():
        figure = inputs.figure(key)
        note = figure.interval() or "no interval"
        shown.append(Tile(name, number(figure.value), note, beside.get(key, "")))
    prevalence = inputs.figure("prevalence").value
    positives = int((inputs.cases["truth_px"] > 0).sum())
    patients = inputs.test.get("n_patients")
    note = f"{positives:,} positive ({percent(prevalence)})"
    shown.append(Tile("Test images", f"{len(inputs.cases):,}", note, count_of(patients, "patient") if patients else ""))
    return tuple(shown)


def headline_chart(inputs: Inputs) -> Markup:
    """Headline figures with their intervals, and the all-empty score as a line."""
    keys = ("dice_all", "dice_pos", "sensitivity", "specificity", "auc", "average_precision")
    rows = [_row(inputs, key) for key in keys if key in inputs.test]
    empty = inputs.figure("all_empty").value
    return interval_chart(rows, "Headline figures with 95 % intervals", "score on the test images", empty)


def _row(inputs: Inputs, key: str) -> Interval:
    figure = inputs.figure(key)
    names = {"auc": "AUC", "average_precision": "average precision"}
    return Interval(
        names.get(key, MEASURES[key]),
        figure.value,
        figure.low,
        figure.high,
        f"({figure.low:.3f}\u2013{figure.high:.3f})" if figure.interval() else "",
    )


def measures(inputs: Inputs) -> Table:
    """Every figure of metrics/test.json that has a name here, with its interval."""
    surface, instances = mapping(inputs.test, "surface"), mapping(inputs.test, "instances")
    rows = []
    for key, name in MEASURES.items():
        source: Mapping[str, Any] = inputs.test if key in inputs.test else surface
        if key not in source:
            continue
        value = source[key]
        rows.append((name, number(value), Figure(value, *_interval(inputs.test, key)).interval() or number(None)))
    for key, name in _INSTANCES.items():
        if key in instances:
            figure = figure_of(instances, key)
            rows.append((name, number(figure.value), figure.interval() or number(None)))
    return Table("Every measure of the test set", ("measure", "value", "95 % interval"), tuple(rows))


def _interval(test: Mapping[str, Any], key: str) -> tuple[float | None, float | None]:
    low, high = mapping(test, "intervals").get(key) or (None, None)
    return low, high
