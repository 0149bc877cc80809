"""The charts of a comparison: differences with intervals, Dice against Dice, and training curves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from pneumoseg.compare.comparing import Comparison
from pneumoseg.compare.differences import Difference
from pneumoseg.compare.wording import short_names, signed
from pneumoseg.drawing.charts import LINES, REFERENCE, Interval, Series, difference_chart, line_chart
from pneumoseg.drawing.plotting import INK, blank_figure, inline
from pneumoseg.evaluate.metric import column
from pneumoseg.evaluate.metrics.core import DICE_ALL, DICE_POS
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.report.headline import short
from pneumoseg.report.learning_curves import points_of
from pneumoseg.report.parts import Drawing

#: So many experiments have a look of their own.
STYLES = len(LINES)


def _look(index: int) -> tuple[str, object]:
    """Colour and dashes of an experiment."""
    return LINES[index % STYLES]


def forest_chart(comparison: Comparison) -> Markup:
    """Differences to the reference with their intervals, around a line at 0."""
    reference, *names = short_names([item.name for item in comparison.experiments])
    rows: list[tuple[Interval, str]] = []
    for key in comparison.against[0].differences:
        found = [item.differences[key] for item in comparison.against]
        label = short(found[0].metric)
        if len(names) > 1:
            rows.append((Interval(label, None, heading=True), ""))
        for index, (name, item) in enumerate(zip(names, found, strict=True), start=1):
            rows.append((_row(label if len(names) == 1 else name, item, index), signed(item.value, item.interval)))
    return difference_chart(rows, "Differences to the reference with 95 % intervals", f"difference to {reference}")


def _row(label: str, found: Difference, index: int) -> Interval:
    # To the right is better.
    sign = -1 if found.metric.better == "lower" else 1
    value, low, high = (sign * end if np.isfinite(end) else None for end in (found.value, *found.interval))
    return Interval(label, value, low, high, colour=_look(index)[0])


def dice_chart(comparison: Comparison, index: int) -> Markup:
    """Dice of each common positive image with a known mask, under the reference and under experiment ``index``."""
    names = short_names([item.name for item in comparison.experiments])
    dice = np.stack([column(comparison.rows[place], "dice") for place in (0, index)])
    # matplotlib draws no dot, which a text could belong to, for NaN.
    chosen = comparison.pairing.positive & np.isfinite(dice).all(axis=0)
    first, second = dice[:, chosen]
    figure = blank_figure("", height=5.2)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=REFERENCE[0], ls=REFERENCE[1])
    dots = axes.scatter(first, second, s=42, color=_look(index)[0], alpha=0.5, edgecolors=INK, lw=0.6, clip_on=False)
    axes.set(xlabel=f"Dice, {names[0]}", ylabel=f"Dice, {names[index]}", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.grid()
    ids = np.array(comparison.pairing.ids)[chosen]
    said = [
        f"{image}: {names[0]} {one:.3f}, {names[index]} {other:.3f}"
        for image, one, other in zip(ids, first, second, strict=True)
    ]
    return inline(figure, f"Dice of each image with pneumothorax: {names[index]} against {names[0]}", {dots: said})


def _curves() -> tuple[tuple[str, str, tuple[float, float] | None], ...]:
    """Columns of metrics/train/fold<k>.csv that are drawn: name, title, limits."""
    shown = ((f"val_{metric.name}", f"validation {metric.title}", (0.0, 1.0)) for metric in (DICE_POS, DICE_ALL, AUC))
    return (*shown, ("val_loss", "validation loss", None))


def curve_drawings(comparison: Comparison) -> Iterator[Drawing]:
    """Training curves of the first experiments, one chart for each fold and measure."""
    shown = comparison.experiments[:STYLES]
    names = short_names([item.name for item in comparison.experiments])
    for fold in sorted({fold for item in shown for fold in item.curves}):
        for value, title, limits in _curves():
            series = [
                Series(names[index], points, _look(index))
                for index, item in enumerate(shown)
                if (frame := item.curves.get(fold)) is not None
                and value in frame
                and (points := points_of(frame, value))
            ]
            if series:
                # Whose curve it is where there is one only, which has no legend.
                whose = f", {series[0].name} alone" if len(series) == 1 else ""
                drawn = line_chart(series, f"{title}, fold {fold}", ("epoch", title), limits)
                yield drawn, f"Fold {fold}: {title} by epoch{whose}."
