"""The searched surface as tables and plots: what each threshold and each area would have given on validation images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pneumoseg.config.tune import TuneParams
from pneumoseg.drawing.plotting import BLUE, GREY, ORANGE, SKY, frame_cell, new_figure, save
from pneumoseg.rule.decision import DecisionRule, level_of, reaches_area
from pneumoseg.rule.dice import dice
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.stats.figures import dice_ratios


def threshold_table(counts: LevelCounts) -> pd.DataFrame:
    """The single threshold from 0.00 to 0.99, nothing else applied: Dice, sensitivity and specificity."""
    rows = []
    for percent in range(100):
        pixels, hits = counts.masks(percent / 100, cleaned=False)
        score = dice(hits, pixels, counts.truth_px)
        ratios = dice_ratios(counts.truth_px.astype(np.float64), pixels.astype(np.float64), score)
        row = {"threshold": percent / 100}
        row |= {
            name: ratios[name].value for name in ("dice_all", "dice_pos", "sensitivity", "specificity", "all_empty")
        }
        rows.append(row)
    return pd.DataFrame(rows)


def surface_table(counts: LevelCounts, rule: DecisionRule, params: TuneParams) -> pd.DataFrame:
    """Dice for each top threshold and area, at the chosen rule's gate, and with its best mask threshold.

    Columns: top_threshold, min_area_px_at_1024, mask_threshold, dice_all, dice_pos, specificity.
    """
    positive = counts.truth_px > 0
    empty = np.where(positive, 0.0, 1.0)
    gate = np.ones(len(positive)) if rule.gate_probability is None else counts.probability >= rule.gate_probability
    cleaned = bool(params.min_component_px_at_1024) or params.fill_holes
    columns = {}
    for threshold in sorted(params.mask_thresholds):
        pixels, hits = counts.masks(threshold, cleaned)
        columns[threshold] = (dice(hits, pixels, counts.truth_px) - empty) * gate
    rows = []
    for top in sorted(params.top_thresholds):
        lower = [threshold for threshold in columns if threshold <= top]
        for area in sorted(params.min_areas_px_at_1024) if lower else ():
            accepted = reaches_area(counts.above[:, level_of(top)], area, counts.image_px)
            scores = empty + accepted * np.stack([columns[threshold] for threshold in lower])  # (T, N)
            best = int(np.round(scores.mean(axis=1), 9).argmax())
            rows.append(
                {
                    "top_threshold": top,
                    "min_area_px_at_1024": float(area),
                    "mask_threshold": lower[best],
                    "dice_all": float(scores[best].mean()),
                    "dice_pos": _mean(scores[best][positive]),
                    "specificity": _mean(scores[best][~positive]),
                }
            )
    names = ["top_threshold", "min_area_px_at_1024", "mask_threshold", "dice_all", "dice_pos", "specificity"]
    return pd.DataFrame(rows, columns=names)


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def plot_thresholds(path: Path, table: pd.DataFrame, rule: DecisionRule, phantom: bool) -> None:
    """Draw threshold_table as lines, with the all-empty score and the chosen mask threshold."""
    figure, axes = new_figure("Single threshold on validation images", phantom)
    lines = {
        "dice_all": ("Dice, all images", BLUE, "-"),
        "dice_pos": ("Dice, positive images", ORANGE, "-"),
        "specificity": ("specificity", SKY, "--"),
    }
    for name, (label, color, style) in lines.items():
        axes.plot(table["threshold"], table[name], style, color=color, label=label)
    axes.axhline(float(table["all_empty"].iloc[0]), color=GREY, linestyle=":", label="all-empty score")
    axes.axvline(rule.mask_threshold, color=GREY, linewidth=0.8)
    axes.annotate(
        "chosen mask\nthreshold",
        (rule.mask_threshold, 0.02),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=10,
        color=GREY,
    )
    axes.set(xlabel="threshold t (pixel positive where p > t)", ylabel="value", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.4), ncols=2)
    save(figure, path)


def plot_surface(path: Path, table: pd.DataFrame, rule: DecisionRule, phantom: bool) -> None:
    """Draw surface_table as a heat map of Dice over all images; the chosen level is framed where it lies on it."""
    grid = table.pivot(index="min_area_px_at_1024", columns="top_threshold", values="dice_all")
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
