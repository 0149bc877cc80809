"""The section on external sets: one row a set beside the test set, and what the card says of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pneumoseg.drawing.charts import Interval, interval_chart
from pneumoseg.evaluate.metric import Metric
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL, PREVALENCE
from pneumoseg.evaluate.metrics.image_calls import NPV, PPV
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.evaluate.result import Subgroup, TestResult, WithoutShared
from pneumoseg.report.headline import headline_metrics, short
from pneumoseg.report.inputs import Inputs
from pneumoseg.report.judging import grouped_metrics, told_test
from pneumoseg.report.parts import Drawing, Part, Table, count_of, listed, number, percent, told

_OWN: Final = "own test set"
_PHANTOM: Final = " (phantom data)"
_LABEL: Final = 21  # characters that have room beside a chart
#: Codes of notes that the table, or another section, says already.
_SAID: Final = ("phantom", "surface_left_out", "plain_not_beaten")
_ONE_SOURCE: Final = "All images come from one source; how the model does elsewhere was not measured."
_Set = TestResult | WithoutShared


def shown_metrics(sets: Iterable[_Set]) -> tuple[Metric, ...]:
    """Headline figures, the all-empty score beside the first Dice, and predictive values: those that any set gives."""
    metrics: list[Metric] = []
    for metric in (*headline_metrics(), PPV, NPV):
        metrics += [metric, ALL_EMPTY] if metric.name == DICE_ALL.name else [metric]
    known = list(sets)
    return tuple(metric for metric in metrics if any(item.figure(metric.name).value is not None for item in known))


def external_part(inputs: Inputs) -> Part:
    """Figures by set, first those of the project's own test set."""
    title = "External sets"
    if not inputs.external:
        return Part(title, (f"No set is given. {_ONE_SOURCE} evaluate.external in params.yaml names such sets.",))
    rows = list(_rows(inputs))
    drawings: list[Drawing] = []
    for metric in grouped_metrics():
        places = [_place(label, found, metric) for label, found in rows]
        if any(place.value is not None for place in places):
            chart = interval_chart(
                places, f"{metric.label} by set", metric.label, inputs.test.figure(metric.name).value
            )
            drawings.append((chart, f"{metric.label} by set with 95 % intervals; the dashed line is the {_OWN}."))
    metrics = shown_metrics(found for _, found in rows)
    cells = tuple((label, *_counts(found), *(_cell(found, metric) for metric in metrics)) for label, found in rows)
    columns = ("set", "images", "with pneumothorax", "patients", *(metric.title for metric in metrics))
    tables = (Table(title, columns, cells), _sizes(inputs), published_table(inputs))
    return Part(title, tuple(_notes(inputs)), drawings=tuple(drawings), tables=tables)


def _rows(inputs: Inputs) -> Iterable[tuple[str, _Set]]:
    """Label and figures of every row; a set that shares images with data.root has a second one, without them."""
    yield _OWN, inputs.test
    for name, found in _measured(inputs).items():
        yield _label(name, found), found
        if found.without_shared and found.without_shared.n:
            yield f"{name}, not shared", found.without_shared


def _measured(inputs: Inputs) -> dict[str, TestResult]:
    """The sets that have labels."""
    return {name: found for name, found in inputs.external.items() if found.n}


def _label(name: str, found: TestResult) -> str:
    return f"{name}{_PHANTOM}" if found.phantom else name


def _counts(found: _Set) -> tuple[str, str, str]:
    positives = f"{number(found.n_positive)} ({percent(found.figure(PREVALENCE.name).value)})"
    return number(found.n), positives, number(found.n_patients)


def _cell(found: _Set, metric: Metric) -> str:
    figure = found.figure(metric.name)
    return number(figure.value, 2) if metric.better is None else told(figure, 2)


def _place(label: str, found: _Set, metric: Metric) -> Interval:
    figure = found.figure(metric.name)
    name = label.removesuffix(_PHANTOM)
    cut = name if len(name) <= _LABEL else f"{name[: _LABEL - 9]}…{name[-8:]}"
    return Interval(cut, figure.value, figure.low, figure.high, f"({number(found.n_positive)} of {number(found.n)})")


def _sizes(inputs: Inputs) -> Table:
    """Small and large pneumothoraces of each set, as Thian et al. 2021 set them side by side."""
    sets = ((_OWN, inputs.test), *((_label(*item), item[1]) for item in _measured(inputs).items()))
    groups = [{group.group: group for group in found.subgroups if group.by == "lesion_size"} for _, found in sets]
    metrics = [
        metric
        for metric in grouped_metrics()
        if any(group.figure(metric.name).value is not None for held in groups for group in held.values())
    ]
    known = {"auc": "AUC", "dice": "Dice"}
    tested = [
        name
        for name in known
        if any(getattr(found.size_test, f"{name}_permutation_p") is not None for _, found in sets)
    ]
    rows = []
    for (label, found), held in zip(sets, groups, strict=True):
        pair: list[Subgroup | None] = [held.get(size) for size in ("small", "large")]
        cells = [number(group.n if group else 0) for group in pair]
        cells += [told(group.figure(item.name), 2) if group else number(None) for item in metrics for group in pair]
        gap = found.size_test.figure("auc_difference")
        ps = [number(getattr(found.size_test, f"{name}_permutation_p"), 4) for name in tested]
        rows.append((label, *cells, number(None) if gap.value is None else told(gap, 2), *ps))
    titles = [f"{short(metric)}, {size}" for metric in metrics for size in ("small", "large")]
    named = [f"p of the {known[name]} difference" for name in tested]
    columns = ("set", "images, small", "images, large", *titles, "AUC, large - small", *named)
    return Table("Small and large pneumothoraces by set", columns, tuple(rows), headed=True)


def published_table(inputs: Inputs) -> Table:
    """The AUC as papers print it, and predictive values at stated prevalences, of every set."""
    sets = ((_OWN, inputs.test), *((_label(*item), item[1]) for item in _measured(inputs).items()))
    shares = [item.prevalence for item in inputs.test.at_prevalence]
    rows = []
    for label, found in sets:
        held = {item.prevalence: item for item in found.at_prevalence}
        values = [told(held[share].figure(m.name), 2) for share in shares if share in held for m in (PPV, NPV)]
        rows.append((label, told(found.figure(AUC.name)), told(found.delong.figure(AUC.name)), *values))
    titles = [f"{name} at {percent(share)}" for share in shares for name in ("PPV", "NPV")]
    columns = ("set", "AUC, bootstrap over patients", "AUC, DeLong (images as independent)", *titles)
    return Table("AUC as papers print it, and predictive values at stated prevalences", columns, tuple(rows))


def _notes(inputs: Inputs) -> Iterable[str]:
    yield (
        "Radiographs from elsewhere, judged by the same networks and the same decision rule: nothing was tuned on "
        "them. Predictive values and the Dice of all images rest on how frequent pneumothorax is in a set; AUC, "
        "sensitivity, specificity and the Dice of positives do not."
    )
    if any(found.overlap and found.overlap.images for found in inputs.external.values()):
        yield (
            "A set that shares radiographs or patients with data.root is not external as a whole: its second row "
            "leaves those images out."
        )
    for name, found in _measured(inputs).items():
        yield from (f"{name}: {told_test(test)}" for test in found.group_tests)
    for name, found in inputs.external.items():
        notes = [note.text for note in found.notes if note.code not in _SAID]
        if notes:
            yield f"{name}: {'; '.join(notes)}."


def card_points(inputs: Inputs) -> Iterable[str]:
    """What the model card says of each set."""
    for name, found in _measured(inputs).items():
        yield _card_point(_label(name, found), found)
        shared = found.overlap.images if found.overlap else 0
        if not shared:
            continue
        said = f"{name} shares the radiograph or the patient of {count_of(shared, 'image')} with the project's own data"
        left = found.without_shared
        yield f"{said}; {_card_point('without them', left)}" if left and left.n else f"{said}: all it has."


def _card_point(label: str, found: _Set) -> str:
    figures = ", ".join(f"{metric.title} {told(found.figure(metric.name))}" for metric in shown_metrics([found]))
    return f"{label}, {count_of(found.n, 'image')} ({number(found.n_positive)} with pneumothorax): {figures}."


def card_limit(inputs: Inputs) -> str:
    """What is known of the model outside its own data, as a limit."""
    real = [name for name, found in _measured(inputs).items() if not found.phantom]
    if real:
        names = f"{count_of(len(real), 'external set')} ({listed(real)})"
        return f"Outside its own data the model was measured on {names}: how it does anywhere else was not."
    if _measured(inputs):
        return "The external sets are phantoms: how the model does on other hospitals' radiographs was not measured."
    return _ONE_SOURCE
