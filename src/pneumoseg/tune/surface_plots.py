"""The searched surface as tables and plots: what each threshold and each area would have given on validation images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoseg.config.tune import TuneParams
from pneumoseg.drawing.plotting import BLUE, GREY, ORANGE, SKY, frame_cell, new_figure, save
from pneumoseg.evaluate.metric import all_metrics
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL, DICE_POS, SENSITIVITY, SPECIFICITY
from pneumoseg.rule.decision import DecisionRule, Level, level_of, reaches_area
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.tables import write_table
from pneumoseg.tune.probability_rule import ImageCalls, rule_at


def judged_rows(rows: pd.DataFrame, mask_unknown: int) -> pd.DataFrame:
    """Outcomes without Dice where all positives are among the images left out: negatives say nothing of masks."""
    return rows.assign(dice=np.nan) if mask_unknown and not rows["pneumothorax"].any() else rows


def write_mask_surfaces(
    folder: Path, counts: LevelCounts, rule: DecisionRule, params: TuneParams, phantom: bool, mask_unknown: int
) -> None:
    """Write the tables of single thresholds and of top thresholds and areas, and draw them.

    Without a positive image among the counts, while some were left out for their unknown masks, there is no second.
    """
    thresholds = threshold_table(
        lambda threshold: judged_rows(counts.outcomes(DecisionRule("single", threshold)), mask_unknown)
    )
    _write(folder / "thresholds.csv", thresholds)
    _plot_thresholds(folder / "thresholds.png", thresholds, rule, phantom)
    if mask_unknown and not counts.truth_px.any():
        return
    surface = surface_table(counts, rule, params)
    _write(folder / "surface.csv", surface)
    if len(surface):  # no areas or no top thresholds were given
        _plot_surface(folder / "surface.png", surface, rule, phantom)


def write_call_surface(folder: Path, calls: ImageCalls, rule: DecisionRule, phantom: bool) -> None:
    """Write the table of limits of the image probability, and draw it."""
    thresholds = threshold_table(lambda threshold: calls.outcomes(rule_at(threshold)))
    _write(folder / "thresholds.csv", thresholds)
    _plot_thresholds(folder / "thresholds.png", thresholds, rule, phantom)


def _write(path: Path, table: pd.DataFrame) -> None:
    write_table(path, table, dict.fromkeys(table.columns, "number"))


def _figures(rows: pd.DataFrame) -> dict[str, float]:
    return {metric.name: metric.of(rows).value for metric in all_metrics() if metric.of_rule}


def threshold_table(outcomes: Callable[[float], pd.DataFrame]) -> pd.DataFrame:
    """The figures of a rule for a single threshold from 0.00 to 0.99, nothing else applied."""
    rows = ({"threshold": percent / 100, **_figures(outcomes(percent / 100))} for percent in range(100))
    return pd.DataFrame(rows)


def surface_table(counts: LevelCounts, rule: DecisionRule, params: TuneParams) -> pd.DataFrame:
    """The figures for each top threshold and area, at the chosen rule's gate, and with its best mask threshold.

    Columns: top_threshold, min_area_px_at_1024, mask_threshold, and figures by name.
    """
    empty = np.where(counts.truth_px > 0, 0.0, 1.0)
    cleaned = bool(params.min_component_px_at_1024) or params.fill_holes
    gains = {}
    for threshold in sorted(params.mask_thresholds):
        pixels, hits = counts.masks(threshold, cleaned)
        gains[threshold] = (dice(hits, pixels, counts.truth_px) - empty) * rule.opens(counts.probability)
    rows = []
    for top in sorted(params.top_thresholds):
        lower = [threshold for threshold in gains if threshold <= top]
        for area in sorted(params.min_areas_px_at_1024) if lower else ():
            accepted = reaches_area(counts.above[:, level_of(top)], area, counts.image_px)
            scores = empty + accepted * np.stack([gains[threshold] for threshold in lower])  # (T, N)
            best = lower[int(np.round(scores.mean(axis=1), 9).argmax())]
            cell = DecisionRule(
                "min_area" if best == top else "triplet", best, (Level(top, area),),
                rule.gate_probability, params.min_component_px_at_1024, params.fill_holes,
            )  # fmt: skip
            place = {"top_threshold": top, "min_area_px_at_1024": float(area), "mask_threshold": best}
            rows.append(place | _figures(counts.outcomes(cell)))
    columns = ["top_threshold", "min_area_px_at_1024", "mask_threshold", DICE_ALL.name]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def _plot_thresholds(path: Path, table: pd.DataFrame, rule: DecisionRule, phantom: bool) -> None:
    """Draw threshold_table as lines, with the all-empty score and the chosen threshold."""
    figure, axes = new_figure("Single threshold on validation images", phantom)
    if rule.mask_threshold is None:
        what, chosen = "image positive where its probability is at least t", rule.gate_probability or 0.0
        lines = [(SENSITIVITY, BLUE, "-"), (SPECIFICITY, SKY, "--")]
    else:
        what, chosen = "pixel positive where p > t", rule.mask_threshold
        lines = [(DICE_ALL, BLUE, "-"), (DICE_POS, ORANGE, "-"), (SPECIFICITY, SKY, "--")]
        axes.axhline(float(table[ALL_EMPTY.name].iloc[0]), color=GREY, linestyle=":", label="all-empty score")
    for metric, color, style in lines:
        axes.plot(table["threshold"], table[metric.name], style, color=color, label=metric.label)
    axes.axvline(chosen, color=GREY, linewidth=0.8)
    axes.annotate(
        "chosen\nthreshold", (chosen, 0.02), xytext=(4, 0), textcoords="offset points", fontsize=10, color=GREY
    )
    axes.set(xlabel=f"threshold t ({what})", ylabel="value", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.4), ncols=2)
    save(figure, path)


def _plot_surface(path: Path, table: pd.DataFrame, rule: DecisionRule, phantom: bool) -> None:
    """Draw surface_table as a heat map of Dice over all images; the chosen level is framed where it lies on it."""
    grid = table.pivot(index="min_area_px_at_1024", columns="top_threshold", values=DICE_ALL.name)
    tops, areas = [float(value) for value in grid.columns], [float(value) for value in grid.index]
    level = rule.levels[-1] if rule.levels else None
    shown = level is not None and level.threshold in tops and level.min_area_px_at_1024 in areas
    title = "Dice, all validation images, by top threshold and area" + (" (framed: the chosen rule)" if shown else "")
    figure, axes = new_figure(title, phantom, height=4.9)
    image = axes.imshow(grid.to_numpy(), origin="lower", aspect="auto", cmap="viridis", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="Dice, all images (best mask threshold)")
    axes.set_xticks(range(len(tops)), [f"{value:g}" for value in tops], rotation=60)
    axes.set_yticks(range(len(areas)), [f"{value:g}" for value in areas])
    axes.set(xlabel="top threshold", ylabel="smallest area above it, px at 1024 x 1024")
    if level and shown:
        frame_cell(axes, tops.index(level.threshold), areas.index(level.min_area_px_at_1024))
    save(figure, path)
