"""The charts of the pages: lines over a common axis, and values with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pneumoseg.drawing.plotting import BLUE, GREEN, GREY, OLIVE, ORANGE, PURPLE, WIDTH, blank_figure, inline

#: Colour and dashes of the first, second, … line, so that print in grey tells them too.
LINES = (
    (BLUE, "-"),
    (ORANGE, (0, (4, 2))),
    (GREEN, (0, (1, 1.6))),
    (PURPLE, (0, (5, 2, 1, 2))),
    (OLIVE, (0, (2.5, 1.5))),
    (GREY, "-"),
)
REFERENCE = (GREY, (0, (2, 2)))
_ROW, _LABELS, _VALUES = 0.25, 0.32, 0.375  # inches a row; shares of the width beside the axes
_LETTER: Final = 10.4  # points


@dataclass(frozen=True)
class Series:
    """One line: finite points in order of x; ``look`` is one of LINES or REFERENCE."""

    name: str
    points: tuple[tuple[float, float], ...]
    look: tuple[str, object] = LINES[0]


@dataclass(frozen=True)
class Interval:
    """One row of an interval chart; a value of None: the data do not give it.

    ``note`` stands behind the value; a ``heading`` has neither value nor mark.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    colour: str = BLUE
    heading: bool = False


def line_chart(
    series: Sequence[Series], title: str, labels: tuple[str, str], y_range: tuple[float, float] | None = None
) -> Markup:
    """Lines over a shared x axis, with a legend below where there is more than one.

    Args:
        series: the lines.
        title: what a screen reader says.
        labels: of the x and the y axis, with units.
        y_range: fixed limits; None takes those of the points.
    """
    if not any(line.points for line in series):
        return Markup('<p class="muted">{}: no values.</p>').format(title)
    figure = blank_figure("", height=2.8 + 0.22 * ((len(series) + 1) // 2))
    axes = figure.subplots()
    for line in series:
        colour, dashes = line.look
        mark = "o" if len(line.points) == 1 else ""
        axes.plot(*zip(*line.points, strict=True), color=colour, ls=dashes, marker=mark, label=line.name)
    axes.set(xlabel=labels[0], ylabel=labels[1], ylim=y_range)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(axis="y")
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=2, handlelength=2.6)
    return inline(figure, title)


def interval_chart(rows: Sequence[Interval], title: str, x_label: str, reference: float | None = None) -> Markup:
    """Values with their intervals, one row each, on a scale from 0 to 1 (a forest plot).

    Args:
        rows: from top to bottom; a row without value says so.
        title: what a screen reader says.
        x_label: what is measured.
        reference: a dashed vertical line, such as the all-empty score; the caption names it.
    """
    figure, axes = _rows_figure(len(rows), x_label)
    if reference is not None:
        axes.axvline(reference, color=REFERENCE[0], ls=REFERENCE[1], lw=1.4)
    for place, row in enumerate(rows):
        shown = "no value" if row.value is None else f"{row.value:.3f}"
        draw_interval(axes, place, row, f"{shown} {row.note}".rstrip())
    axes.set(xlim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))
    return inline(figure, title)


def difference_chart(rows: Sequence[tuple[Interval, str]], title: str, x_label: str) -> Markup:
    """Differences with their intervals around a line at 0.

    Args:
        rows: from top to bottom, each with what stands beside it.
        title: what a screen reader says.
        x_label: what the differences are to.
    """
    ends = [abs(end) for row, _ in rows for end in (row.value, row.low, row.high) if end is not None]
    limit = min(1.0, max([0.02, *ends]) * 1.08)
    figure, axes = _rows_figure(len(rows), x_label, top=0.3)
    axes.axvline(0, color=GREY, lw=1.6)
    for place, (row, shown) in enumerate(rows):
        draw_interval(axes, place, row, shown)
    axes.set_xlim(-limit, limit)
    axes.locator_params(axis="x", nbins=4)
    for text, anchor, shift in (("← worse", "right", -6), ("better →", "left", 6)):
        axes.annotate(text, (0, -0.5), (shift, 5), textcoords="offset points", ha=anchor, color=GREY)
    return inline(figure, title)


def _rows_figure(count: int, x_label: str, top: float = 0.08) -> tuple[Figure, Axes]:
    """A figure with room for labels to the left and values to the right, which pages set in a narrower letter."""
    height = top + _ROW * count + 0.55
    figure = blank_figure("", height=height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((_LABELS, 0.55 / height, 1 - _LABELS - _VALUES, _ROW * count / height))
    axes.set(ylim=(count - 0.5, -0.5), yticks=(), xlabel=x_label)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure, axes


def draw_interval(axes: Axes, place: int, row: Interval, shown: str) -> None:
    """Draw one row: label, whisker, dot, and the value in words."""
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "size": _LETTER}
    if row.heading:
        axes.text(-0.97 * _LABELS / (1 - _LABELS - _VALUES), place, row.label, weight="bold", **beside)
        return
    gap = 6 / (72 * WIDTH * (1 - _LABELS - _VALUES))  # 6 points of the width of the axes
    axes.text(-gap, place, row.label, ha="right", **beside)
    axes.text(1 + gap, place, shown, color=GREY, **beside)
    if row.value is None:
        return
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [place] * 2, "|-", color=row.colour, ms=7, clip_on=False)
    axes.plot([row.value], [place], "o", color=row.colour, ms=6, clip_on=False, mfc=row.colour, mec="none")
