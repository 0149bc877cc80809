"""The section on training: curves and kept epochs of every fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from pneumoseg.drawing.charts import LINES, REFERENCE, Series, line_chart
from pneumoseg.evaluate.metric import all_metrics
from pneumoseg.evaluate.metrics.core import ALL_EMPTY, DICE_ALL
from pneumoseg.report.headline import headline_metrics, short
from pneumoseg.report.parts import Drawing, Part, Table, number
from pneumoseg.shared.files import read_object
from pneumoseg.shared.tables import read_history

_LOSSES: Final = (("train_loss", "training", LINES[0]), ("val_loss", "validation", LINES[1]))
_COUNTS: Final = (
    ("kept", "kept weights"),
    ("best_epoch", "best epoch"),
    ("epochs", "epochs"),
    ("n_manifest", "training samples"),
    ("n_validation", "validation images"),
)
#: What train.keep did, in words.
_KEPT: Final = {
    "best": "Its weights were kept.",
    "last": "The weights of the last epoch were kept, and the figures of the table are theirs.",
    "averaged": "Averaged weights were kept, and the figures of the table are theirs.",
}


def _columns() -> tuple[tuple[str, str], ...]:
    """Columns of metrics/train/fold<k>.csv for the figures of the test too, with what they are called there."""
    return tuple((f"val_{metric.name}", metric.title) for metric in all_metrics() if metric.of_rule or metric.headline)


def training_part(folder: Path, folds: tuple[int, ...]) -> Part:
    """Curves and figures of the trained folds.

    Args:
        folder: metrics/train, with fold<k>.json and fold<k>.csv.
        folds: the trained folds; files of others are left alone.

    Raises:
        DataError: a file is missing or lacks the column of epochs.
    """
    summaries = {fold: read_object(folder / f"fold{fold}.json") for fold in folds}
    drawings: list[Drawing] = []
    for fold in folds:
        drawings += _curves(folder / f"fold{fold}.csv", fold, summaries[fold])
    return Part("Training", _notes(summaries), drawings=tuple(drawings), tables=(_table(summaries),))


def _notes(summaries: Mapping[int, Mapping[str, Any]]) -> tuple[str, ...]:
    metrics = sorted(
        {str(summary["selection_metric"]) for summary in summaries.values() if summary.get("selection_metric")}
    )
    notes = [
        "Validation figures are measured at a plain threshold of 0.5 and at the original size, on images of the fold "
        "that was left out of training. They chose the epoch, so they flatter; the test figures above do not."
    ]
    kept = {str(summary.get("kept", "best")) for summary in summaries.values()}
    if metrics:
        notes.append(f"The curves mark the epoch with the best {', '.join(metrics)}. {_KEPT[next(iter(kept))]}")
    for fold, summary in summaries.items():
        if summary.get("n_mean_teacher"):
            notes.append(
                f"Fold {fold}: {summary['n_mean_teacher']} images without annotation took part through a mean teacher."
            )
        if "n_pseudo_positive" in summary:
            notes.append(
                f"Fold {fold}: an earlier model's pseudo-labels added {summary['n_pseudo_positive']} positive and "
                f"{summary['n_pseudo_negative']} negative images; {summary['n_pseudo_unsure']} unsure ones stayed out."
                + _contradicted(summary)
            )
        if summary.get("n_validation_mask_unknown"):
            notes.append(
                f"Fold {fold}: of {summary['n_validation_mask_unknown']} of the {summary['n_validation']} validation "
                "images the mask is not known; figures of masks leave them out."
            )
        if "lesion_cut_px" in summary:
            notes.append(
                f"Fold {fold}: networks see the lungs alone; {number(summary['n_seen_whole'])} images, without two "
                f"lungs found, are seen whole, and {number(summary['lesion_cut_px'])} of "
                f"{number(summary['lesion_px'])} px of training and validation lesions lie outside of what is seen."
            )
        if summary.get("collapse"):
            notes.append(f"Fold {fold} collapsed. Its kept weights on the validation images: {summary['collapse']}.")
        if summary.get("unmoved_since"):
            notes.append(
                f"Fold {fold}: the figure that chose the epoch, {summary.get('selection_metric')}, has not moved since "
                f"epoch {summary['unmoved_since']}; by it the epochs cannot be told apart."
            )
    return tuple(notes)


def _contradicted(summary: Mapping[str, Any]) -> str:
    """What weak labels kept out, where there were any."""
    if "n_pseudo_no_weak_label" not in summary:
        return ""
    return (
        f" So did {summary['n_pseudo_no_weak_label']} without a weak label, "
        f"{summary['n_pseudo_map_positive_label_negative']} found positive but labelled negative, and "
        f"{summary['n_pseudo_map_negative_label_positive']} found negative but labelled positive."
    )


def _table(summaries: Mapping[int, Mapping[str, Any]]) -> Table:
    held = {key for summary in summaries.values() for key, value in summary.items() if value is not None}
    shown = [(key, label) for key, label in (*_COUNTS, *_columns()) if key in held]
    rows = tuple(
        (f"fold {fold}", *(number(summary.get(key)) for key, _ in shown)) for fold, summary in summaries.items()
    )
    return Table("Kept weights of each fold", ("", *(label for _, label in shown)), rows)


def _curves(path: Path, fold: int, summary: Mapping[str, Any]) -> list[Drawing]:
    frame = read_history(path)
    best = summary.get("best_epoch")
    named = {f"val_{metric.name}": short(metric) for metric in headline_metrics()}
    shown = [(name, label) for name, label in named.items() if name in frame and frame[name].notna().any()]
    scores = [_series(frame, name, label, look) for (name, label), look in zip(shown, LINES, strict=False)]
    empty = summary.get(f"val_{ALL_EMPTY.name}") if f"val_{DICE_ALL.name}" in dict(shown) else None
    epochs = (float(frame["epoch"].min()), float(frame["epoch"].max()))
    if isinstance(empty, float | int):
        scores.append(Series("all-empty Dice", ((epochs[0], float(empty)), (epochs[1], float(empty))), REFERENCE))
    beside = "" if empty is None else ", beside the Dice of an all-empty prediction"
    losses = [_series(frame, name, label, style) for name, label, style in _LOSSES if name in frame.columns]
    highest = max((y for line in losses for _, y in line.points), default=1.0)
    if isinstance(best, int):
        scores.append(Series(f"best epoch {best}", ((best, 0.0), (best, 1.0)), LINES[5]))
        losses.append(Series(f"best epoch {best}", ((best, 0.0), (best, highest)), LINES[5]))
    loss_chart = line_chart(losses, f"Loss, fold {fold}", ("epoch", "loss"), (0.0, highest * 1.04 or 1.0))
    score_chart = line_chart(scores, f"Validation, fold {fold}", ("epoch", "validation score"), (0.0, 1.0))
    return [
        (score_chart, f"Fold {fold}: validation scores by epoch{beside}."),
        (loss_chart, f"Fold {fold}: loss by epoch."),
    ]


def _series(frame: pd.DataFrame, name: str, label: str, look: tuple[str, object]) -> Series:
    return Series(label, points_of(frame, name), look)


def points_of(frame: pd.DataFrame, column: str) -> tuple[tuple[float, float], ...]:
    """(epoch, value) of every epoch that has the value."""
    values = frame[["epoch", column]].dropna()
    return tuple((float(x), float(y)) for x, y in values.itertuples(index=False))
