"""The statistical plots of the test images, each with the table it is drawn from; no radiograph among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from sklearn.metrics import precision_recall_curve, roc_curve

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
from pneumoseg.evaluate.metric import all_metrics, column
from pneumoseg.evaluate.metrics.core import DICE_POS, SENSITIVITY, SPECIFICITY
from pneumoseg.evaluate.metrics.image_calls import PPV
from pneumoseg.evaluate.metrics.image_ranking import AUC, AVERAGE_PRECISION
from pneumoseg.evaluate.result import Subgroup, TestResult
from pneumoseg.evaluate.subgroups import SIZES
from pneumoseg.rule.decision import REFERENCE_PIXELS
from pneumoseg.shared.tables import write_table
from pneumoseg.stats.bootstrap import Estimate

_ONE_CLASS = "not defined: the test images\nhave one class only"
_NO_POSITIVE = "not defined: no test image\nhas a pneumothorax"


def write_plots(folder: Path, rows: pd.DataFrame, result: TestResult) -> None:
    """Write all plots.

    Args:
        folder: an empty one.
        rows: test_cases.csv.
        result: all figures.
    """
    phantom = bool(result.phantom)
    _plot_roc(folder, rows, result, phantom)
    _plot_precision_recall(folder, rows, result, phantom)
    _plot_reliability(folder, result, phantom)
    _plot_dice_by_size(folder, rows, result, phantom)
    _plot_subgroups(folder, result, phantom)


def _with_interval(name: str, figure: Estimate) -> str:
    """Such as ``AUC 0.91 (95 % interval 0.85-0.96)``."""
    if figure.value is None:
        return f"{name} not defined"
    if figure.low is None:
        return f"{name} {figure.value:.3f}"
    return f"{name} {figure.value:.3f} (95 % interval {figure.low:.3f}\u2013{figure.high:.3f})"


def _write(path: Path, table: pd.DataFrame) -> None:
    write_table(path, table, {name: "text" if name in ("by", "group") else "number" for name in table.columns})


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


def _plot_roc(folder: Path, rows: pd.DataFrame, result: TestResult, phantom: bool) -> None:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    false_rate = sensitivity = threshold = np.empty(0)
    if positive.any() and not positive.all():
        false_rate, sensitivity, threshold = roc_curve(positive, probability, drop_intermediate=False)
    _write(
        folder / "roc.csv",
        pd.DataFrame(
            {"false_positive_rate": false_rate, "sensitivity": sensitivity, "probability": np.minimum(threshold, 1.0)}
        ),
    )
    title = _with_interval("AUC", result.figure(AUC.name))
    figure, axes = new_figure(f"ROC of the image probability\n{title}", phantom, height=4.9)
    _unit_square(axes, "false positive rate (1 - specificity)", "sensitivity")
    if len(false_rate):
        axes.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
        axes.plot(false_rate, sensitivity, color=BLUE, label="image probability")
        specificity, sensitive = (result.figure(metric.name).value or 0.0 for metric in (SPECIFICITY, SENSITIVITY))
        axes.plot(1 - specificity, sensitive, "o", color=ORANGE, label="calls of the decision rule")
        axes.legend(loc="lower right", frameon=False)
    else:
        say_nothing_to_draw(axes, _ONE_CLASS)
    save(figure, folder / "roc.png")


def _plot_precision_recall(folder: Path, rows: pd.DataFrame, result: TestResult, phantom: bool) -> None:
    probability, positive = column(rows, "probability"), column(rows, "pneumothorax") > 0
    recall = precision = threshold = np.empty(0)
    if positive.any():
        # From the highest threshold to the lowest, without the point that scikit-learn adds beyond the first.
        points = precision_recall_curve(positive, probability)
        precision, recall, threshold = (values[: len(points[2])][::-1] for values in points)
    _write(
        folder / "precision_recall.csv",
        pd.DataFrame({"recall": recall, "precision": precision, "probability": threshold}),
    )
    title = _with_interval("average precision", result.figure(AVERAGE_PRECISION.name))
    figure, axes = new_figure(f"Precision and recall of the image probability\n{title}", phantom, height=4.9)
    _unit_square(axes, "recall (sensitivity)", "precision (positive predictive value)")
    if len(recall):
        axes.axhline(positive.mean(), linestyle=":", color=GREY, label="chance (prevalence)")
        axes.step(
            np.concatenate([[0.0], recall]),
            np.concatenate([precision[:1], precision]),
            where="pre",
            color=BLUE,
            label="image probability",
        )
        sensitive, ppv = (result.figure(metric.name).value for metric in (SENSITIVITY, PPV))
        if sensitive is not None and ppv is not None:
            axes.plot(sensitive, ppv, "o", color=ORANGE, label="calls of the decision rule")
        _legend_below(figure)
    else:
        say_nothing_to_draw(axes, _NO_POSITIVE)
    save(figure, folder / "precision_recall.png")


def _plot_reliability(folder: Path, result: TestResult, phantom: bool) -> None:
    calibration = result.calibration
    table = pd.DataFrame([bar.model_dump(by_alias=True) for bar in calibration.reliability])
    _write(folder / "reliability.csv", table)
    title = _with_interval("ECE", calibration.figure("ece"))
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


def _plot_dice_by_size(folder: Path, rows: pd.DataFrame, result: TestResult, phantom: bool) -> None:
    positive = rows[(rows["pneumothorax"] == 1) & rows["dice"].notna()]
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
        p = result.size_test.dice_permutation_p
        title = None if p is None else f"large against small: {_p_text(p)}"
        _legend_below(figure, title)
    else:
        say_nothing_to_draw(axes, "not defined: no test image\nwith pneumothorax has a Dice")
    save(figure, folder / "dice_by_size.png")


def _p_text(p: float) -> str:
    return "permutation test p < 0.001" if p < 0.001 else f"permutation test p = {p:.3f}"


def _plot_subgroups(folder: Path, result: TestResult, phantom: bool) -> None:
    whole = Subgroup(
        by="all",
        group="test images",
        n=result.n,
        positives=result.n_positive,
        patients=result.n_patients,
        figures=result.figures,
    )
    groups = [whole, *result.subgroups]
    told = [
        metric.name
        for metric in all_metrics()
        if metric.subgroups and any(item.figure(metric.name).value is not None for item in groups)
    ]
    first = DICE_POS if DICE_POS.name in told else SENSITIVITY
    rows = []
    for item in groups:
        row: dict[str, Any] = {name: getattr(item, name) for name in ("by", "group", "n", "positives", "patients")}
        for name in told:
            found = item.figure(name)
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    _write(folder / "subgroups.csv", pd.DataFrame(rows))
    title = "Test images and subgroups (positive of all images), with 95 % intervals over patients"
    figure, halves = new_figures(title, phantom, 2, width=9.0, height=1 + 0.27 * len(groups))
    labels = [f"{item.by.replace('_', ' ')}: {item.group} ({item.positives} of {item.n})" for item in groups]
    for part, metric in zip(halves, (first, AUC), strict=True):
        _forest(part, groups, metric.name)
        part.set(xlabel=metric.label, xlim=(0, 1.01))
    halves[0].set_yticks(range(len(groups)), labels)
    halves[0].invert_yaxis()
    save(figure, folder / "subgroups.png")


def _forest(axes: Axes, groups: Sequence[Subgroup], name: str) -> None:
    axes.grid(axis="x", alpha=0.3)
    for place, item in enumerate(groups):
        found = item.figure(name)
        if found.value is None:
            continue
        color = ORANGE if item.by == "all" else BLUE
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], "-", color=color)
        axes.plot(found.value, place, "o", color=color)
