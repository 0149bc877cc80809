"""Small charts as inline SVG: sharp at every width, coloured by the page's style, readable in print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pneumoseg.drawing import svg

_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 14, 50


@dataclass(frozen=True)
class Series:
    """One line: finite points in order of x; ``style`` is a class of style.css (s1 … s6, reference)."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: str = "s1"
    markers: bool = False


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart; None where the data do not give the number."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class _Frame:
    """The plotting area of a chart and its two linear scales."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: int

    def column(self, value: float) -> float:
        """Horizontal position in SVG units of a value of x."""
        span = (self.x[1] - self.x[0]) or 1.0
        return round(_LEFT + (value - self.x[0]) / span * (svg.WIDTH - _LEFT - _RIGHT), 2)

    def row(self, value: float) -> float:
        """Vertical position in SVG units of a value of y."""
        span = (self.y[1] - self.y[0]) or 1.0
        return round(self.height - _BOTTOM - (value - self.y[0]) / span * (self.height - _TOP - _BOTTOM), 2)


def line_chart(
    series: Sequence[Series],
    title: str,
    labels: tuple[str, str],
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    height: int = 290,
) -> Markup:
    """Lines over a shared x axis, with a legend below where there is more than one.

    Args:
        series: the lines.
        title: what a screen reader says.
        labels: of the x and the y axis, with units.
        y_range: fixed limits; None takes those of the points.
        x_range: the same for x.
        height: in SVG units, at a width of 540.
    """
    points = [point for line in series for point in line.points]
    if not points:
        return Markup('<p class="muted">{}: no values.</p>').format(title)
    frame = _Frame(
        x=x_range or _limits([x for x, _ in points]), y=y_range or _limits([y for _, y in points]), height=height
    )
    drawn = svg.chart(title, height, [_axes(frame, labels), *(_line(frame, line) for line in series)])
    if len(series) == 1:
        return drawn
    entry = Markup('<li><svg class="key" viewBox="0 0 28 10" aria-hidden="true">{}</svg>{}</li>')
    keys = Markup("").join(entry.format(svg.path(f"line {line.style}", "M1 5H27"), line.name) for line in series)
    return drawn + Markup('<ul class="chart-legend">{}</ul>').format(keys)


def interval_chart(
    rows: Sequence[Interval], title: str, x_label: str, reference: float | None = None, reference_name: str = ""
) -> Markup:
    """Values with their intervals, one row each, on a scale from 0 to 1 (a forest plot).

    Args:
        rows: from top to bottom; a row without value says so.
        title: what a screen reader says.
        x_label: what is measured.
        reference: a dashed vertical line, such as the all-empty score.
        reference_name: what that line is; shown on hovering.
    """
    left, right, step, top = 164, 172, 26, 12
    base = top + step * len(rows)

    def column(value: float) -> float:
        return round(left + min(1.0, max(0.0, value)) * (svg.WIDTH - left - right), 2)

    body = []
    for tick in (0, 0.5, 1):
        body.append(svg.path("grid", f"M{column(tick)} {top}V{base}"))
        body.append(svg.text(column(tick), base + 16, f"{tick:g}", anchor="middle"))
    body.append(svg.text(column(0.5), base + 34, x_label, "label", "middle"))
    if reference is not None:
        body.append(svg.path("line reference", f"M{column(reference)} {top}V{base}", reference_name))
    for index, row in enumerate(rows):
        y = top + step * (index + 0.5)
        shown = "no value" if row.value is None else f"{row.value:.3f}"
        body.append(svg.text(left - 12, y + 4, row.label, "row", "end"))
        body.append(svg.text(svg.WIDTH - right + 12, y + 4, f"{shown} {row.note}" if row.note else shown))
        if row.value is None:
            continue
        if row.low is not None and row.high is not None:
            low, high = column(row.low), column(row.high)
            body.append(svg.path("whisker", f"M{low} {y}H{high}M{low} {y - 4}v8M{high} {y - 4}v8"))
        body.append(svg.circle("dot", column(row.value), y, 4.5))
    return svg.chart(title, base + 42, body)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """The range of values with a small margin, that never crosses zero."""
    low, high = min(values), max(values)
    pad = (high - low) * 0.04 or max(abs(high), 1.0) * 0.04
    return (low - pad if low < 0 else max(0.0, low - pad), high + pad)


def _axes(frame: _Frame, labels: tuple[str, str]) -> Markup:
    base, right = frame.height - _BOTTOM, svg.WIDTH - _RIGHT
    parts = []
    for value in svg.ticks(*frame.y):
        parts.append(svg.path("grid", f"M{_LEFT} {frame.row(value)}H{right}"))
        parts.append(svg.text(_LEFT - 7, frame.row(value) + 4, f"{value:g}", anchor="end"))
    parts += [
        svg.text(frame.column(value), base + 17, f"{value:g}", anchor="middle")
        for value in svg.ticks(*frame.x, count=8)
    ]
    parts.append(svg.path("axis", f"M{_LEFT} {base}H{right}"))
    parts.append(svg.text((_LEFT + right) / 2, base + 40, labels[0], "label", "middle"))
    parts.append(svg.turned(14, (_TOP + base) / 2, labels[1]))
    return Markup("").join(parts)


def _line(frame: _Frame, line: Series) -> Markup:
    places = [(frame.column(x), frame.row(y)) for x, y in line.points]
    data = " ".join(f"{'M' if index == 0 else 'L'}{x} {y}" for index, (x, y) in enumerate(places))
    drawn = svg.path(f"line {line.style}", data, line.name)
    if not (line.markers or len(places) == 1):
        return drawn
    return drawn + Markup("").join(svg.circle(f"marker {line.style}", x, y, 3.5) for x, y in places)
