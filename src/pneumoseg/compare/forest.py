"""The charts of a comparison: differences with intervals, Dice against Dice, and training curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from pneumoseg.compare.comparing import Comparison
from pneumoseg.compare.differences import FIGURES, Difference
from pneumoseg.compare.wording import short_names, signed
from pneumoseg.drawing import svg
from pneumoseg.drawing.charts import Series, line_chart
from pneumoseg.report.parts import Drawing

#: So many experiments have a line style of their own in style.css.
STYLES = 6
_CURVES = (
    ("val_dice_pos", "validation Dice, positives only", (0.0, 1.0)),
    ("val_dice_all", "validation Dice, all images", (0.0, 1.0)),
    ("val_loss", "validation loss", None),
)


def style_of(index: int) -> str:
    """Line style of an experiment."""
    return f"s{index % STYLES + 1}"


@dataclass(frozen=True)
class _Line:
    label: str
    difference: Difference | None  # None: a heading
    style: str = "s2"


def forest_chart(comparison: Comparison) -> Markup:
    """Differences to the reference with their intervals, around a line at 0."""
    lines = _forest_lines(comparison)
    known = [line.difference for line in lines if line.difference and np.isfinite(line.difference.value)]
    ends = [abs(end) for found in known for end in (found.value, *found.interval) if np.isfinite(end)]
    limit = min(1.0, max([0.02, *ends]) * 1.08)
    left, right, step, top = 150, 204, 25, 26
    base = top + step * len(lines)

    def column(value: float) -> float:
        return round(left + (min(1.0, max(-1.0, value / limit)) + 1) / 2 * (svg.WIDTH - left - right), 2)

    body = [
        svg.text(column(0) - 8, 14, "← worse", anchor="end"),
        svg.text(column(0) + 8, 14, "better →"),
    ]
    right_ticks = [tick for tick in svg.ticks(0, limit, count=3) if tick > 0]
    for tick in (*(-tick for tick in right_ticks), 0, *right_ticks):
        body.append(svg.path("grid", f"M{column(tick)} {top}V{base}"))
        body.append(svg.text(column(tick), base + 17, f"{tick:g}", anchor="middle"))
    body.append(svg.path("axis zero", f"M{column(0)} {top}V{base}"))
    reference = short_names([item.name for item in comparison.experiments])[0]
    body.append(svg.text(column(0), base + 36, f"difference to {reference}", "label", "middle"))
    for index, line in enumerate(lines):
        y = top + step * (index + 0.5)
        if line.difference is None:
            body.append(svg.text(6, y + 5, line.label, "row heading"))
            continue
        found = line.difference
        body.append(svg.text(left - 10, y + 4, line.label, "row", "end"))
        body.append(svg.text(svg.WIDTH - right + 10, y + 4, signed(found.value, found.interval)))
        if not np.isfinite(found.value):
            continue
        if np.isfinite(found.interval).all():
            low, high = (column(end) for end in found.interval)
            body.append(svg.path(f"whisker {line.style}", f"M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"))
        body.append(svg.circle(f"dot {line.style}", column(found.value), y, 4.5))
    return svg.chart("Differences to the reference with 95 % intervals", base + 44, body)


def _forest_lines(comparison: Comparison) -> list[_Line]:
    names = short_names([item.name for item in comparison.experiments])[1:]
    lines = []
    for key, title in FIGURES.items():
        found = [item.differences.get(key) for item in comparison.against]
        if found[0] is None:
            continue
        label = title.removesuffix(" of the image probability")
        if len(names) == 1:
            lines.append(_Line(label, found[0]))
            continue
        lines.append(_Line(label, None))
        lines += [
            _Line(name, item, style_of(index + 1)) for index, (name, item) in enumerate(zip(names, found, strict=True))
        ]
    return lines


def dice_chart(comparison: Comparison, index: int) -> Markup:
    """Dice of each common positive image under the reference and under experiment ``index``."""
    names = short_names([item.name for item in comparison.experiments])
    left, top, side = 66, 12, 400
    base = top + side

    def place(x: float, y: float) -> tuple[float, float]:
        return round(left + x * side, 2), round(base - y * side, 2)

    body = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(tick, tick)
        body += [svg.path("grid", f"M{left} {y}H{left + side}"), svg.path("grid", f"M{x} {top}V{base}")]
        body += [
            svg.text(x, base + 17, f"{tick:g}", anchor="middle"),
            svg.text(left - 8, y + 4, f"{tick:g}", anchor="end"),
        ]
    body.append(svg.path("line reference", f"M{left} {base}L{left + side} {top}", "the same Dice"))
    body.append(svg.text(left + side / 2, base + 38, f"Dice, {names[0]}", "label", "middle"))
    body.append(svg.turned(16, top + side / 2, f"Dice, {names[index]}"))
    first, second = comparison.scores[0].dice, comparison.scores[index].dice
    for at in np.flatnonzero(comparison.pairing.positive):
        x, y = place(float(first[at]), float(second[at]))
        said = f"{comparison.pairing.ids[at]}: {names[0]} {first[at]:.3f}, {names[index]} {second[at]:.3f}"
        body.append(
            Markup('<circle class="case-dot {}" cx="{}" cy="{}" r="5"><title>{}</title></circle>').format(
                style_of(index), x, y, said
            )
        )
    title = f"Dice of each image with pneumothorax: {names[index]} against {names[0]}"
    return svg.chart(title, base + 46, body)


def curve_drawings(comparison: Comparison) -> tuple[Drawing, ...]:
    """Training curves of the first experiments, one chart for each fold and measure."""
    shown = comparison.experiments[:STYLES]
    names = short_names([item.name for item in comparison.experiments])
    drawings = []
    for fold in sorted({fold for item in shown for fold in item.curves}):
        for column, title, limits in _CURVES:
            series = [
                Series(names[index], points, style_of(index))
                for index, item in enumerate(shown)
                if (points := _points(item.curves.get(fold), column))
            ]
            if series:
                drawn = line_chart(series, f"{title}, fold {fold}", ("epoch", title), limits)
                drawings.append((drawn, f"Fold {fold}: {title} by epoch{_whose(series)}."))
    return tuple(drawings)


def _whose(series: Sequence[Series]) -> str:
    """Whose curve it is where there is one only, which has no legend."""
    return f", {series[0].name} alone" if len(series) == 1 else ""


def _points(frame: pd.DataFrame | None, column: str) -> tuple[tuple[float, float], ...]:
    if frame is None or column not in frame.columns:
        return ()
    values = pd.DataFrame(
        {"epoch": frame["epoch"], "value": pd.to_numeric(frame[column], errors="coerce")}, dtype="float64"
    ).dropna()
    return tuple((float(x), float(y)) for x, y in values.itertuples(index=False))
