"""The head of the page: a plain judgement, the headline figures beside the all-empty score, every measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.evaluate.metric import Metric, all_metrics
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL, DICE_POS, PREVALENCE
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.report.inputs import Figures, Inputs
from pneumoseg.report.parts import Drawing, Table, count_of, number, percent, sentence, spread, told

#: Codes of notes that the judgement, or the banner, says in its own words.
_SAID: Final = ("phantom", "all_empty_not_beaten", "plain_not_beaten", "all_called_negative", "no_positives")


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


def headline_metrics() -> tuple[Metric, ...]:
    """The figures that stand at the head of the page."""
    return tuple(metric for metric in all_metrics() if metric.headline)


def short(metric: Metric) -> str:
    """Its label where there is little room."""
    return metric.label.partition(" of the ")[0]


def judge(inputs: Figures) -> Verdict:
    """Say plainly whether the model does better than marking nothing, and whether tuning helped."""
    kind, verdict = _against_all_empty(inputs) if _outlines(inputs) else _against_chance(inputs)
    notes = (sentence(note.text) for note in inputs.test.notes if note.code not in _SAID)
    sentences = (_counted(inputs), verdict, _on_positives(inputs), _told_apart(inputs), against_plain(inputs), *notes)
    return Verdict(kind, tuple(sentence for sentence in sentences if sentence))


def _outlines(inputs: Figures) -> bool:
    """Whether masks are judged: networks give them, and of some test images with pneumothorax the true one is known."""
    return inputs.maps and "no_positive_mask" not in inputs.test.codes()


def _counted(inputs: Figures) -> str:
    """What was found and what was marked wrongly, in images; beside it the Dice, which never stands alone."""
    called, positive = inputs.cases["called"] == 1, inputs.cases["pneumothorax"] == 1
    found, n = int((called & positive).sum()), int(positive.sum())
    beside = int((called & positive & (inputs.cases["dice"] == 0)).sum())
    marked = "marked" if inputs.maps else "called positive"
    text = (
        f"Found {found:,} of {count_of(n, 'test image')} with pneumothorax" if n else "No test image with pneumothorax"
    )
    text += f" ({beside:,} of them marked elsewhere only)" if beside else ""
    text += f", {marked} {int((called & ~positive).sum()):,} of {int((~positive).sum()):,} without"
    score, empty = inputs.test.figure(DICE_ALL.name).value, inputs.test.figure(ALL_EMPTY.name).value
    if score is None or empty is None:
        return f"{text}."
    return f"{text}: Dice {score:.3f} over all images, beside {empty:.3f} for marking nothing."


def _against_all_empty(inputs: Figures) -> tuple[str, str]:
    margin = inputs.test.beats_all_empty.estimate
    if margin.value is None:
        return "bad", f"No judgement: {inputs.layout.test} has no Dice beside an all-empty score."
    if not inputs.cases["called"].any():
        return "bad", (
            "Does not beat an all-empty prediction: it is one. No pixel of any test image is marked, so its Dice is "
            "only the share of images without pneumothorax."
        )
    by = f"difference of Dice {margin.value:+.3f}"
    by += f", 95 % interval {spread(margin)}" if spread(margin) else ""
    if margin.value <= 0:
        return "bad", f"Does not beat an all-empty prediction ({by})."
    if margin.low is None or margin.low <= 0:
        return "open", f"Not shown to beat an all-empty prediction ({by}). More test images would be needed to tell."
    return "good", f"Beats an all-empty prediction ({by})."


def _against_chance(inputs: Figures) -> tuple[str, str]:
    """The same without a map, or a mask to hold it against: does the probability rank images better than chance?"""
    area = inputs.test.figure(AUC.name)
    if area.value is None:
        return "bad", "No judgement: the test images do not give an AUC."
    beside = f"AUC {told(area)}, beside 0.5 for chance."
    if area.value <= 0.5:
        return "bad", f"Does not rank images better than chance: {beside}"
    if area.low is None or area.low <= 0.5:
        return "open", f"Not shown to rank images better than chance: {beside}"
    return "good", f"Ranks images with pneumothorax above those without: {beside}"


def _on_positives(inputs: Figures) -> str:
    positives = inputs.cases[inputs.cases["pneumothorax"] == 1]
    if positives.empty:
        return "The test set has no pneumothorax: nothing can be said of how well one is found or outlined."
    if not _outlines(inputs):
        return ""
    known = int(positives["dice"].notna().sum())
    whose = f"all {known:,}" if known == len(positives) else f"the {known:,} whose mask is known"
    dice = told(inputs.test.figure(DICE_POS.name))
    return f"Mean Dice of {whose} images with pneumothorax: {dice}."


def _told_apart(inputs: Figures) -> str:
    """What a detector's own findings are worth, whatever the rule; empty where networks tell none apart."""
    if not inputs.told_apart:
        return ""
    found, test = inputs.test.instances, inputs.test
    figures = [
        f"{name} {told(test.figure(mask))} by mask, {told(test.figure(box))} by box"
        for name, mask, box in (("AP", "ap", "box_ap"), ("AP50", "ap50", "box_ap50"), ("AP75", "ap75", "box_ap75"))
    ]
    return (
        f"It tells findings apart: {number(found.predictions)} of any score, for {number(found.truths)} true ones; "
        f"{'; '.join(figures)}."
    )


def against_plain(inputs: Figures) -> str:
    """Whether the tuned decision rule does better on the test images than a plain threshold of 0.5."""
    margin = inputs.test.beats_plain_05.estimate
    if margin.value is None:
        return ""
    within = f", 95 % interval {spread(margin)}" if spread(margin) else ""
    difference = f"(difference of Dice over all test images {margin.value:+.3f}{within})"
    if margin.value == 0 and margin.low == margin.high:
        return f"On the test images the tuned decision rule scores just as a plain threshold of 0.5 {difference}."
    if margin.value <= 0:
        return f"The tuned decision rule does not beat a plain threshold of 0.5 {difference}."
    if margin.low is None or margin.low <= 0:
        return f"The tuned decision rule is not shown to beat a plain threshold of 0.5 {difference}."
    how = "" if inputs.cases["called"].any() else ", but only by calling every image negative"
    return f"The tuned decision rule beats a plain threshold of 0.5 {difference}{how}."


def tiles(inputs: Inputs) -> tuple[Tile, ...]:
    """The headline figures that can be had; every Dice stands beside the all-empty score."""
    test = inputs.test
    empty = number(test.figure(ALL_EMPTY.name).value)
    beside = {DICE_ALL.name: f"all-empty {empty}", DICE_POS.name: "all-empty 0.000"}
    shown = []
    for metric in headline_metrics():
        figure = test.figure(metric.name)
        if figure.value is not None:
            title = f"{metric.title[:1].upper()}{metric.title[1:]}"
            shown.append(
                Tile(title, number(figure.value), spread(figure) or "no interval", beside.get(metric.name, ""))
            )
    note = f"{test.n_positive:,} positive ({percent(test.figure(PREVALENCE.name).value)})"
    patients = count_of(test.n_patients, "patient") if test.n_patients else ""
    return (*shown, Tile("Test images", f"{test.n:,}", note, patients))


def headline_chart(inputs: Inputs) -> Drawing:
    """Headline figures with their intervals, and the all-empty score as a line."""
    rows = []
    for metric in headline_metrics():
        figure = inputs.test.figure(metric.name)
        if figure.value is not None and not metric.unit:
            note = f"({figure.low:.3f}\u2013{figure.high:.3f})" if spread(figure) else ""
            rows.append(Interval(short(metric), figure.value, figure.low, figure.high, note))
    empty = inputs.test.figure(ALL_EMPTY.name).value if inputs.maps else None
    caption = "Headline figures with their 95 % intervals" + (
        "." if empty is None else "; the dashed line is the all-empty Dice over all images."
    )
    return interval_chart(rows, "Headline figures with 95 % intervals", "score on the test images", empty), caption


def measures(inputs: Inputs) -> Table:
    """Every figure of the list with its interval; without those that cannot be had without a map, if there is none."""
    figures = [(metric.title, inputs.test.figure(metric.name)) for metric in all_metrics()]
    rows = tuple(
        (title, number(figure.value), spread(figure) or number(None))
        for title, figure in figures
        if inputs.maps or figure.value is not None
    )
    return Table("Every measure of the test set", ("measure", "value", "95 % interval"), rows)
