"""The figures of the data set: counts, incidence, masks, heat map, correlations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from pneumoseg.drawing.plotting import BLUE, GREY, INK, OLIVE, ORANGE, PALE, SKY, blank_figure, save
from pneumoseg.explore.joined import LABELS, NOT_RECORDED
from pneumoseg.explore.statistics import CODING, Correlation

_LABEL_PT = 10  # the smallest text that a phone still shows at 9 px
MISSING = "not recorded in this data set"

_LABEL_COLOURS = dict(zip(LABELS.values(), (ORANGE, SKY, PALE, GREY, OLIVE, BLUE, INK), strict=True))
_SEX_NAMES = {"all": "all", "M": "male", "F": "female", "O": "other"}
_SEX_STYLES = {"all": (INK, "D"), "M": (BLUE, "s"), "F": (ORANGE, "o"), "O": (OLIVE, "^")}


@dataclass(frozen=True)
class Look:
    """What all figures of one data set share."""

    dpi: int
    mark: str
    confidence: float

    @property
    def interval(self) -> str:
        """How the intervals are named."""
        return f"Wilson {self.confidence * 100:g} % interval"


def draw_missing(path: Path, title: str, text: str, note: str, look: Look) -> None:
    """Draw, in place of a figure, why the data set cannot fill it."""
    drawing = blank_figure(title, look.mark, height=1, note=note)
    axes = drawing.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=INK, style="italic")
    save(drawing, path, look.dpi)


def draw_counts(path: Path, counts: pd.DataFrame, look: Look) -> None:
    """Draw the images by label, sex and view position, from statistics.count_images."""
    panels = {"label": "Label", "sex": "Sex", "view_position": "View position"}
    tables = {name: counts[counts["variable"] == name] for name in panels}
    heights = [len(table) + 0.8 for table in tables.values()]
    note = (
        f"Below each count: share with pneumothorax among annotated images, {look.interval} in brackets; it takes "
        "images as independent.\n"
        "Images without annotation are not negatives: they are in no share."
    )
    total = int(counts["images"].iloc[0])
    title = f"Images by label, sex and view position, n = {total:,}"
    drawing = blank_figure(title, look.mark, height=1.4 + 0.42 * sum(heights), note=note)
    grid = drawing.subplots(3, 1, height_ratios=heights, sharex=True)
    for axes, (name, text) in zip(grid, panels.items(), strict=True):
        _stacked_bars(axes, tables[name], total, look)
        axes.set_title(text, loc="left", fontweight="bold")
        if name != "label" and set(tables[name]["value"]) == {NOT_RECORDED}:
            axes.set_title(f"{text}: {MISSING}", loc="left", fontweight="bold")
    grid[-1].set_xlabel("images")
    grid[-1].xaxis.set_major_formatter("{x:,.0f}")
    drawing.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(drawing, path, look.dpi)


def _stacked_bars(axes: Axes, table: pd.DataFrame, total: int, look: Look) -> None:
    places = np.arange(len(table))
    left = np.zeros(len(table))
    for text, colour in _LABEL_COLOURS.items():
        if text.replace(" ", "_") not in table:
            continue
        widths = table[text.replace(" ", "_")].to_numpy(float)
        axes.barh(places, widths, left=left, color=colour, height=0.72, label=text)
        left += widths
    percents = 100 * table[["incidence", "interval_low", "interval_high"]].to_numpy(float)
    for place, width, (share, low, high) in zip(places.tolist(), left.tolist(), percents.tolist(), strict=True):
        words = f"{width:,.0f} ({100 * width / total:.1f} %)"
        if np.isfinite(share):
            words += f"\n{share:.1f} % [{low:.1f}, {high:.1f}]"
        axes.text(width + 0.012 * total, place, words, va="center", fontsize=10, color=INK)
    axes.set_yticks(places, table["value"])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(0, total * 1.45)


def draw_incidence(path: Path, incidence: pd.DataFrame, without_age: int, without_sex: int, look: Look) -> None:
    """Draw pneumothorax incidence by age band and sex over the numbers of images, from statistics.incidence_by_age.

    Args:
        path: the PNG.
        incidence: the table.
        without_age: annotated images without a plausible age.
        without_sex: annotated images without sex.
        look: shared look.
    """
    bands = incidence[incidence["age_from_years"].notna()]
    title = "Pneumothorax incidence by age and sex"
    note = (
        f"Share of annotated images with pneumothorax; {look.interval}, images taken as independent.\n"
        f"Annotated images left out: {without_age:,} without a plausible age"
        + (f"; without sex: {without_sex:,}." if set(bands["sex"]) - {"all"} else ".")
    )
    if bands.empty:
        draw_missing(path, title, f"Age is {MISSING}", note, look)
        return
    drawing = blank_figure(title, look.mark, height=5.4, note=note)
    top, bottom = drawing.subplots(2, 1, height_ratios=(2, 1), sharex=True)
    starts = sorted(set(bands["age_from_years"]))
    sexes = [sex for sex in bands["sex"].unique() if sex != "all"] or ["all"]
    _incidence_points(top, bands, starts, sexes)
    _incidence_counts(bottom, bands, starts, sexes)
    ends = dict(zip(bands["age_from_years"], bands["age_below_years"], strict=True))
    bottom.set_xticks(range(len(starts)), [f"{start} to {ends[start] - 1}" for start in starts], rotation=60)
    bottom.set_xlabel("age in years" + ("" if sexes != ["all"] else f"; sex is {MISSING}"))
    save(drawing, path, look.dpi)


def _shift(index: int, count: int) -> float:
    """Set marks of several sexes side by side within a band of width 1."""
    return (index - (count - 1) / 2) * 0.8 / count


def _incidence_points(axes: Axes, bands: pd.DataFrame, starts: Sequence[int], sexes: Sequence[str]) -> None:
    for index, sex in enumerate(sexes):
        table = bands[(bands["sex"] == sex) & (bands["images"] > 0)]
        x = np.array([starts.index(start) for start in table["age_from_years"]]) + _shift(index, len(sexes))
        y = 100 * table["incidence"].to_numpy(float)
        # Where rounding leaves the interval's end a hair beyond the share, the length is 0 and not negative.
        below = np.maximum(y - 100 * table["interval_low"].to_numpy(float), 0)
        above = np.maximum(100 * table["interval_high"].to_numpy(float) - y, 0)
        colour, marker = _SEX_STYLES.get(sex, (GREY, "v"))
        name = _SEX_NAMES.get(sex, sex)
        axes.errorbar(x, y, (below, above), fmt=marker, color=colour, ms=5, lw=1.2, capsize=2, label=name)
    highest = 100 * float(bands["interval_high"][bands["sex"].isin(sexes)].max())
    # Room for whole markers at 0 and 100 %.
    axes.set_ylim(-0.04 * highest, 1.04 * highest)
    axes.set_ylabel("with pneumothorax (%)")
    axes.grid(axis="y", color=PALE, lw=0.6)
    # Above the axes: inside, wide intervals of small groups would run through it.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, handletextpad=0.2, columnspacing=1)


def _incidence_counts(axes: Axes, bands: pd.DataFrame, starts: Sequence[int], sexes: Sequence[str]) -> None:
    width = 0.8 / len(sexes)
    for index, sex in enumerate(sexes):
        table = bands[bands["sex"] == sex].set_index("age_from_years").reindex(np.asarray(starts))
        counts = table["images"].fillna(0).astype(int)
        x = np.arange(len(starts)) + _shift(index, len(sexes))
        bars = axes.bar(x, counts, width, color=_SEX_STYLES.get(sex, (GREY, "v"))[0], alpha=0.85)
        _label_bars(axes, bars, counts, 320 / (len(starts) * len(sexes)))
    axes.set_ylabel("images (n)")
    _count_ticks(axes)


def _label_bars(axes: Axes, bars: BarContainer, counts: Iterable[int], width_pt: float) -> None:
    """Write each count over its bar: upright where bars are narrow, and not at all where it could not be read."""
    texts = [f"{count:,}" for count in counts]
    upright = max(map(len, texts)) * 0.64 * _LABEL_PT > width_pt
    if width_pt >= _LABEL_PT:
        axes.bar_label(bars, texts, fontsize=_LABEL_PT, padding=2, rotation=90 if upright else 0)
    axes.margins(y=0.5 if upright else 0.22)


def _count_ticks(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")


def draw_masks(path: Path, areas: pd.DataFrame, components: pd.DataFrame, summary: str, look: Look) -> None:
    """Draw how large the masks are and of how many parts, from statistics.area_histogram and component_counts."""
    n = int(areas["images"].sum())
    note = "Components: 8-connected parts of the merged mask. Rows: annotation rows merged (OR) to one mask."
    title = f"Masks of images with pneumothorax, n = {n:,}"
    if not n:
        draw_missing(path, title, "No image of this data set has a mask of a pneumothorax", note, look)
        return
    drawing = blank_figure(title, look.mark, height=5.6, note=note)
    left, middle, right = drawing.subplot_mosaic("aa;bc").values()
    widths = areas["area_percent_below"] - areas["area_percent_from"]
    left.bar(areas["area_percent_from"], areas["images"], widths, align="edge", color=ORANGE, ec="white", lw=0.5)
    left.set_xscale("log")
    decades = np.log10(areas["area_percent_below"].max() / areas["area_percent_from"].min())
    left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_formatter(NullFormatter())
    _count_ticks(left)
    left.set_xlabel("mask area, % of the image (log scale)")
    left.set_ylabel("images")
    left.set_title(summary, fontsize=10, loc="left")
    for axes, name, text in ((middle, "components", "components"), (right, "rle_count", "annotation rows")):
        _count_bars(axes, components[components["variable"] == name], text)
    save(drawing, path, look.dpi)


def _count_bars(axes: Axes, table: pd.DataFrame, text: str, most: int = 8) -> None:
    """Draw counts of 1, 2, …; whatever is above ``most`` shares the last bar."""
    counts = table.set_index("value")["images"]
    counts = counts.groupby(counts.index.where(counts.index <= most, most + 1)).sum()
    values = np.arange(1, int(counts.index.max()) + 1)
    counts = counts.reindex(values, fill_value=0)
    _label_bars(axes, axes.bar(values, counts, color=BLUE), counts, 140 / len(values))
    axes.set_xticks(values, [f">{most}" if value > most else str(value) for value in values])
    _count_ticks(axes)
    axes.set_xlabel(f"{text} in an image")


def draw_heat_map(path: Path, shares: NDArray[np.float64] | None, n: int, left_out: int, look: Look) -> None:
    """Draw where masks lie.

    Args:
        path: the PNG.
        shares: (bins, bins) float64 in [0, 1], mean coverage of each place, first axis from top to bottom; None without
            a mask.
        n: images with pneumothorax that it rests on.
        left_out: images with pneumothorax of views that are not frontal.
        look: shared look.
    """
    title = f"Where pneumothorax masks lie, n = {n:,}"
    note = (
        "Relative position in the whole image, not in the lung. Radiological orientation: the patient's\n"
        "right is on the viewer's left, as frontal radiographs are displayed; images as stored, none flipped.\n"
        f"Left out: {left_out:,} images with a view other than AP and PA; images without a view count as frontal."
    )
    if shares is None:
        draw_missing(path, title, "No frontal image of this data set has a mask of a pneumothorax", note, look)
        return
    drawing = blank_figure(title, look.mark, height=4.9, note=note)
    axes = drawing.subplots()
    top = max(float(shares.max()) * 100, 1e-6)
    drawn = axes.imshow(
        shares * 100, cmap="cividis", vmin=0, vmax=top, extent=(0, 100, 100, 0), interpolation="nearest"
    )
    axes.axvline(50, color="white", lw=0.6, ls=":")
    axes.text(2, 4, "patient's right", color="white", va="center")
    axes.text(98, 4, "patient's left", color="white", ha="right", va="center")
    axes.set_xlabel("from the image's left edge (% of its width)")
    axes.set_ylabel("from its top (% of its height)")
    axes.spines[:].set_visible(False)
    drawing.colorbar(drawn, ax=axes, shrink=0.82, label="masks that cover the place (%)")
    save(drawing, path, look.dpi)


def draw_correlation(path: Path, correlation: Correlation, look: Look) -> None:
    """Draw the correlation matrix, from statistics.correlate."""
    kept = correlation.kept
    left_out = "; ".join(f"{name} ({reason})" for name, reason in correlation.dropped.items()) or "none"
    note = (
        "Pearson's r over annotated images with both values (n). "
        + "Coding: "
        + ", ".join(f"{name} = {code}" for name, code in CODING.items())
        + f".\nLeft out: {left_out}."
    )
    note = note.replace("view =", "\nview =", 1)
    title = "Correlation of age, sex, view and pneumothorax"
    if len(kept) < 2:
        draw_missing(path, title, "Fewer than two of the variables vary in this data set", note, look)
        return
    drawing = blank_figure(title, look.mark, height=4.9, note=note)
    axes = drawing.subplots()
    r = correlation.table["correlation"].to_numpy(float).reshape(len(kept), -1)
    n = correlation.table["images"].to_numpy(int).reshape(len(kept), -1)
    drawn = axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(r):
        words = f"{round(value, 2) + 0.0:+.2f}" if np.isfinite(value) else "none"
        colour = "white" if abs(value) > 0.6 else "black"
        axes.text(column, row, f"{words}\nn = {n[row, column]:,}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(kept)), kept)
    axes.set_yticks(range(len(kept)), kept)
    axes.spines[:].set_visible(False)
    drawing.colorbar(drawn, ax=axes, shrink=0.85, label="Pearson's r")
    save(drawing, path, look.dpi)
