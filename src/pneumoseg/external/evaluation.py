"""Stage external_evaluate: the figures of an external set under the rule that was tuned on the project's own images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.assessing import assess, validation_labels
from pneumoseg.evaluate.measuring import TEST_CASES, Measured, measure, read_attributes, table_of
from pneumoseg.rule.cases import for_each, read_cases
from pneumoseg.rule.decision import read_rule
from pneumoseg.shared.files import write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import Columns, write_table
from pneumoseg.split.overlap import PARTS, REASONS, find_shared

logger = logging.getLogger(__name__)

#: cases.csv of a set: as test_cases.csv, and how and with which part of data.root an image is shared (see overlap).
CASES: Columns = {**TEST_CASES, "shared_by": "text", "shared_with": "text"}
#: Told of the images that are left when those shared with data.root are taken out.
_WITHOUT = (
    "n", "n_positive", "n_patients", "dice_all", "dice_pos", "sensitivity", "specificity", "all_empty", "prevalence",
    "auc", "ppv", "npv",
)  # fmt: skip


@dataclass(frozen=True)
class Own:
    """The project's own files that a set is judged with."""

    predictions: Path
    masks: Path
    metadata: Path
    folds: Path
    thresholds: Path


def evaluate_site(site: Layout, own: Own, params: EvaluateParams, workers: int | None = None) -> dict[str, Any]:
    """Judge a set: the same figures as of the test images, under the same rule and temperature.

    Nothing is tuned on the set. Images that data.root has too are counted, and figures without them are given beside.

    Args:
        site: the set, extracted and predicted; its figures and cases are written.
        own: the project's own files; rule and temperature come from its validation images.
        params: section evaluate.
        workers: threads; None one a core. No output depends on it.

    Returns:
        What was written to ``site.test``, NaN where that has null.

    Raises:
        DataError: files are missing or contradict each other.
    """
    rule = read_rule(own.thresholds)
    known = read_attributes(site.metadata, site.annotations)
    cases = read_cases(site.predictions, site.folds, site.masks, "test")
    measured = for_each(partial(measure, rule=rule, known=known, params=params), cases, workers, site.name)
    rows = table_of(measured)
    labels = validation_labels(own.predictions, own.folds, own.masks) if params.temperature_scaling else []
    shared = find_shared(site, own.metadata, own.folds)
    content = assess(rows, measured, labels, params, "external") | {"rule": [rule.describe()]}
    content["overlap"] = _overlap(shared)
    if len(shared):
        content["without_shared"] = _without(rows, measured, set(shared["image_id"]), labels, params)
        note = _note(content["overlap"], content["n"])
        content["notes"] = [note, *content["notes"]]
        logger.warning("external set %s: %s", site.name, note)
    columns = {"reason": "shared_by", "part": "shared_with"}
    table = rows.merge(shared.rename(columns=columns), on="image_id", how="left")
    write_table(site.test_cases, table.fillna(dict.fromkeys(columns.values(), "")), CASES)
    write_json(site.test, content)
    return content


def _overlap(shared: pd.DataFrame) -> dict[str, Any]:
    """Counts of shared images: all, by reason and by part of data.root; every one is listed, also with 0."""
    return {
        "images": len(shared),
        "by": {reason: int((shared["reason"] == reason).sum()) for reason in REASONS},
        "with": {part: int((shared["part"] == part).sum()) for part in PARTS},
    }


def _without(
    rows: pd.DataFrame,
    measured: Sequence[Measured],
    shared: set[str],
    labels: Sequence[tuple[float, bool]],
    params: EvaluateParams,
) -> dict[str, Any]:
    """The main figures of the images that are not shared; only n where none is left."""
    keep = ~rows["image_id"].isin(shared)
    if not keep.any():
        return {"n": 0}
    left = [item for item, kept in zip(measured, keep, strict=True) if kept]
    content = assess(rows[keep].reset_index(drop=True), left, labels, params, "external")
    figures = {name: content[name] for name in _WITHOUT}
    return figures | {"intervals": {name: content["intervals"][name] for name in _WITHOUT[3:]}}


def _note(overlap: Mapping[str, Any], count: int) -> str:
    training = overlap["with"]["training"]
    learnt = f"{training} of them with images that networks or rule were made with" if training else "none in training"
    known = ", ".join(f"{number} by {reason}" for reason, number in overlap["by"].items() if number)
    return (
        f"{overlap['images']} of {count} images share their radiograph or patient with data.root ({known}; {learnt}): "
        "for these the set is not external"
    )
