"""The statistical plots of the test images, each with the table it is drawn from; no radiograph among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pneumoseg.drawing.plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    new_figure,
    new_figures,
    save,
    say_nothing_to_draw,
)
from pneumoseg.evaluate.subgroups import SIZES
from pneumoseg.rule.decision import REFERENCE_PIXELS
from pneumoseg.shared.tables import write_table
from pneumoseg.stats.figures import column
from pneumoseg.stats.ranking import precision_recall_curve, roc_curve

_ONE_CLASS = "not defined: the test images\nhave one class only"
_NO_POSITIVE = "not defined: no test image\nhas a pneumothorax"


def write_plots(folder: Path, rows: pd.DataFrame, content: dict[str, Any]) -> None:
    """Write all plots.

    Args:
        folder: an empty one.
        rows: test_cases.csv.
        content: of metrics/test.json.
    """
    phantom = bool(content["phantom"])
    _plot_roc(folder, rows, content, phantom)
    _plot_precision_recall(folder, rows, content, phantom)
    _plot_reliability(folder, content, phantom)
    _plot_dice_by_size(folder, rows, content, phantom)
    _plot_subgroups(folder, content, phantom)


def _with_interval(name: str, value: float, interval: list[float]) -> str:
    """Such as ``AUC 0.91 (95 % interval 0.85-0.96)``."""
    if not np.isfinite(value):
        return f"{name} not defined"
    if not np.isfinite(interval).all():
        return f"{name} {value:.3f}"
    return f"{name} {value:.3f} (95 % interval {interval[0]:.3f}\u2013{interval[1]:.3f})"


def _write(path: Path, table: dict[str, Any]) -> None:
    frame = pd.DataFrame(table)
    write_table(path, frame, dict.fromkeys(frame.columns, "number"))


def _unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))


def _legend_below(figure: Figure, title: str | None = None) -> None:
    """A legend below the axes, where it covers no point."""
    figure.legend(
        loc="outside lower center",
        ncols=2,
        title=title,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _call_point(content: dict[str, Any]) -> tuple[float, float]:
    """Where the decision rule's own calls lie: false positive rate and sensitivity."""
    return 1 - content["specificity"], content["sensitivity"]


def _plot_roc(folder: Path, rows: pd.DataFrame, content: dict[str, Any], phantom: bool) -> None:
    false_rate, sensitivity, threshold = roc_curve(column(rows, "probability"), column(rows, "pneumothorax") > 0)
    _write(
        folder / "roc.csv",
        {"false_positive_rate": false_rate, "sensitivity": sensitivity, "probability": np.minimum(threshold, 1.0)},
    )
    title = _with_interval("AUC", content["auc"], content["intervals"]["auc"])
    figure, axes = new_figure(f"ROC of the image probability\n{title}", phantom, height=4.9)
    _unit_square(axes, "false positive rate (1 - specificity)", "sensitivity")
    if len(false_rate):
        axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
        axes.plot(false_rate, sensitivity, color=BLUE, label="image probability")
        axes.plot(*_call_point(content), "o", color=ORANGE, label="calls of the decision rule")
        axes.legend(loc="lower right", frameon=False)
    else:
        say_nothing_to_draw(axes, _ONE_CLASS)
    save(figure, folder / "roc.png")


def _plot_precision_recall(folder: Path, rows: pd.DataFrame, content: dict[str, Any], phantom: bool) -> None:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    recall, precision, threshold = precision_recall_curve(probability, positive)
    _write(folder / "precision_recall.csv", {"recall": recall, "precision": precision, "probability": threshold})
    title = _with_interval("average precision", content["average_precision"], content["intervals"]["average_precision"])
    figure, axes = new_figure(f"Precision and recall of the image probability\n{title}", phantom, height=4.9)
    _unit_square(axes, "recall (sensitivity)", "precision (positive predictive value)")
    if len(recall):
        axes.axhline(content["prevalence"], linestyle=":", color=GREY, label="chance (prevalence)")
        axes.step(
            np.concatenate([[0.0], recall]),
            np.concatenate([precision[:1], precision]),
            where="pre",
            color=BLUE,
            label="image probability",
        )
        if np.isfinite(content["ppv"]):
            axes.plot(content["sensitivity"], content["ppv"], "o", color=ORANGE, label="calls of the decision rule")
        _legend_below(figure)
    else:
        say_nothing_to_draw(axes, _NO_POSITIVE)
    save(figure, folder / "precision_recall.png")


def _plot_reliability(folder: Path, content: dict[str, Any], phantom: bool) -> None:
    calibration = content["calibration"]
    table = pd.DataFrame(calibration["reliability"])
    _write(folder / "reliability.csv", {name: table[name] for name in table.columns})
    title = _with_interval("ECE", calibration["ece"], calibration["ece_interval"])
    figure, axes = new_figure(f"Reliability of the image probability\n{title}", phantom, height=4.9)
    _unit_square(axes, "mean probability of the bin", "share with pneumothorax")
    filled = table[table["n"] > 0]
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="perfect")
    axes.plot(
        filled["mean_probability"], filled["share_positive"], "o-", color=BLUE, label="test images (n at the point)"
    )
    for row in filled.itertuples():
        axes.annotate(
            f"{row.n}",
            (row.mean_probability, row.share_positive),
            xytext=(5, -11),
            fontsize=10,
            textcoords="offset points",
            color=GREY,
            annotation_clip=False,
        )
    _legend_below(figure)
    save(figure, folder / "reliability.png")


def _plot_dice_by_size(folder: Path, rows: pd.DataFrame, content: dict[str, Any], phantom: bool) -> None:
    positive = rows[rows["pneumothorax"] == 1]
    figure, axes = new_figure("Dice of test images with pneumothorax, by size of the true mask", phantom)
    for size, color in zip(SIZES, (SKY, BLUE, GREEN), strict=True):
        group = positive[positive["lesion_size"] == size]
        if len(group):
            area = column(group, "truth_px") * REFERENCE_PIXELS / column(group, "image_px")
            label = f"{size}: n = {len(group)}, mean {column(group, 'dice').mean():.2f}"
            axes.plot(area, group["dice"], "o", color=color, alpha=0.75, label=label)
    axes.set(xlabel="area of the true mask, px at 1024 x 1024", ylabel="Dice", ylim=(-0.02, 1.02))
    if len(positive):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        p = content["size_test"]["dice_permutation_p"]
        title = None if not np.isfinite(p) else f"large against small: {_p_text(p)}"
        _legend_below(figure, title)
    else:
        say_nothing_to_draw(axes, _NO_POSITIVE)
    save(figure, folder / "dice_by_size.png")


def _p_text(p: float) -> str:
    return "permutation test p < 0.001" if p < 0.001 else f"permutation test p = {p:.3f}"


def _plot_subgroups(folder: Path, content: dict[str, Any], phantom: bool) -> None:
    records = content["subgroups"]
    names = ("dice_all", "dice_pos", "sensitivity", "specificity", "auc", "prevalence")
    whole = {"by": "all", "group": "test images", "n": content["n"], "positives": content["n_positive"]}
    whole |= {"patients": content["n_patients"]} | {name: content[name] for name in names}
    whole |= {f"{name}_interval": content["intervals"][name] for name in names}
    lines = [whole, *records]
    _write_subgroups(folder / "subgroups.csv", lines)
    title = "Test images and subgroups (positive of all images), with 95 % intervals over patients"
    figure, halves = new_figures(title, phantom, 2, width=9.0, height=1 + 0.27 * len(lines))
    labels = [f"{line['by'].replace('_', ' ')}: {line['group']} ({line['positives']} of {line['n']})" for line in lines]
    for part, (name, title) in zip(halves, (("dice_pos", "Dice, positive images"), ("auc", "AUC")), strict=True):
        _forest(part, lines, name)
        part.set(xlabel=title, xlim=(0, 1.01))
    halves[0].set_yticks(range(len(lines)), labels)
    halves[0].invert_yaxis()
    save(figure, folder / "subgroups.png")


def _forest(axes: Axes, lines: list[dict[str, Any]], name: str) -> None:
    axes.grid(axis="x", alpha=0.3)
    for place, line in enumerate(lines):
        value, interval = line[name], line[f"{name}_interval"]
        if not np.isfinite(value):
            continue
        color = ORANGE if line["by"] == "all" else BLUE
        if np.isfinite(interval).all():
            axes.plot(interval, [place, place], "-", color=color)
        axes.plot(value, place, "o", color=color)


def _write_subgroups(path: Path, lines: list[dict[str, Any]]) -> None:
    names = ("dice_all", "dice_pos", "sensitivity", "specificity", "auc", "prevalence")
    table = []
    for line in lines:
        row = {name: line[name] for name in ("by", "group", "n", "positives", "patients")}
        for name in names:
            low, high = line.get(f"{name}_interval", (None, None))
            row |= {name: line.get(name), f"{name}_low": low, f"{name}_high": high}
        table.append(row)
    frame = pd.DataFrame(table)
    write_table(path, frame, {name: "text" if name in ("by", "group") else "number" for name in frame.columns})
