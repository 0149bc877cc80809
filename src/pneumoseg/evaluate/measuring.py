"""What is measured on each test image, once, while its map is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.distances import surface_distances
from pneumoseg.evaluate.instances import ImageInstances, count_components, match_findings, match_instances
from pneumoseg.rule.cases import Case
from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE, PLAIN_RULE, REFERENCE_PIXELS, DecisionRule, Map, Mask
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.tables import METADATA, Columns, read_table

#: metrics/test_cases.csv: one row for every test image, sorted by image_id. Empty cells: not defined for this image.
TEST_CASES: Columns = {
    "image_id": "text",
    "patient": "text",
    "pneumothorax": "integer",
    "called": "integer",  # 1: the predicted mask has a pixel
    "probability": "number",
    "image_px": "integer",
    "truth_px": "integer",
    "predicted_px": "integer",
    "intersection_px": "integer",
    "dice": "number",
    "iou": "number",
    "plain_called": "integer",
    "plain_predicted_px": "integer",  # the same under the plain rule p > 0.5
    "plain_intersection_px": "integer",
    "plain_dice": "number",
    "hd95_mm": "number",  # only where both masks have a pixel and the pixel spacing is known
    "mean_surface_distance_mm": "number",
    "hd95_px": "number",
    "mean_surface_distance_px": "number",
    "truth_components": "integer",
    "predicted_components": "integer",
    "lesion_size": "text",  # small, medium, large; empty without pneumothorax
    "sex": "text",
    "age_band": "text",
    "view_position": "text",
    "phantom": "integer",
}
#: What is known of an image while the stage runs, beside its row: ImageInstances and Cut, or None.
UNWRITTEN = ["instances", "cut"]
_UNKNOWN = float("nan")


class Cut(NamedTuple):
    """Of an image that networks saw by its lungs: pixels of the lesion outside, and whether it was seen whole."""

    lesion_px: int
    whole: bool


def size_group(truth_px: float, image_px: int, limits_px_at_1024: tuple[int, int]) -> str:
    """Small below the first limit, large from the second on; empty where there is no mask or it is not known."""
    if not truth_px > 0:
        return ""
    area = truth_px * REFERENCE_PIXELS / image_px
    return "small" if area < limits_px_at_1024[0] else "medium" if area < limits_px_at_1024[1] else "large"


def age_band(age_years: float, limits_years: tuple[int, ...]) -> str:
    """Such as ``18-39``, ``<18`` or ``>=80``; ``unknown`` for a missing age or one that no person has (0 to 120)."""
    if not 0 <= age_years <= 120:  # also not a number
        return "unknown"
    if not limits_years:
        return "all ages"
    if age_years < limits_years[0]:
        return f"<{limits_years[0]}"
    for low, high in pairwise(limits_years):
        if age_years < high:
            return f"{low}-{high - 1}"
    return f">={limits_years[-1]}"


@dataclass(frozen=True)
class Attributes:
    """What the tables know of an image."""

    rows: int
    columns: int
    spacing_mm: tuple[float, float] | None  # rows, columns
    sex: str
    age_years: float
    view_position: str
    phantom: int


def read_attributes(metadata_csv: Path) -> Mapping[str, Attributes]:
    """Read metadata.csv by image_id.

    Raises:
        DataError: the table is not readable, or an image has two rows.
    """
    metadata = read_table(metadata_csv, METADATA).set_index("image_id")
    if not metadata.index.is_unique:
        raise DataError(f"{metadata_csv}: {metadata.index[metadata.index.duplicated()][0]} has two rows; run dvc repro")
    found = {}
    for image_id, row in metadata.to_dict("index").items():
        spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
        found[str(image_id)] = Attributes(
            rows=int(row["rows"]),
            columns=int(row["columns"]),
            spacing_mm=spacing if min(spacing) > 0 and np.isfinite(spacing).all() else None,
            sex=row["sex"],
            age_years=row["age_years"],
            view_position=row["view_position"],
            phantom=0 if pd.isna(row["phantom"]) else int(row["phantom"]),
        )
    return found


def measure(case: Case, rule: DecisionRule, known: Mapping[str, Attributes], params: EvaluateParams) -> dict[str, Any]:
    """Read one image, decide it by the rule and by the plain one, and measure both.

    Returns:
        Its row of test_cases.csv, NaN where that is empty; ``instances``: ImageInstances, None where mask or map are
        not known; and ``cut``.

    Raises:
        DataError: its files or tables contradict each other.
    """
    if case.image_id not in known:
        raise DataError(f"{case.image_id} has a prediction but no row in metadata.csv; run dvc repro")
    about = known[case.image_id]
    shape = (about.rows, about.columns)
    levels = case.read_map()
    if levels is not None and levels.shape != shape:
        raise DataError(
            f"{case.map} has {levels.shape} pixels, metadata.csv {about.rows} x {about.columns}; run dvc repro"
        )
    truth = case.read_truth(shape)
    predicted, called = _decide(case, levels, rule)
    plain, plain_called = _decide(case, levels, PLAIN_PROBABILITY_RULE if levels is None else PLAIN_RULE)
    truth_px = _UNKNOWN if truth is None else int(np.count_nonzero(truth))
    return {
        "image_id": case.image_id,
        "patient": case.patient,
        "pneumothorax": int(case.label),
        "called": called,
        "plain_called": plain_called,
        "probability": case.probability,
        "image_px": about.rows * about.columns,
        "truth_px": truth_px,
        **_overlap(predicted, truth, ""),
        **_overlap(plain, truth, "plain_"),
        **_distances(predicted, truth, about.spacing_mm),
        "truth_components": _UNKNOWN if truth is None else count_components(truth),
        "predicted_components": _UNKNOWN if predicted is None else count_components(predicted),
        "lesion_size": size_group(truth_px, about.rows * about.columns, params.size_limits_px_at_1024),
        "sex": about.sex or "unknown",
        "age_band": age_band(about.age_years, params.age_limits_years),
        "view_position": about.view_position or "unknown",
        "phantom": about.phantom,
        "instances": _instances(case, predicted, truth, levels),
        "cut": _cut(case, truth),
    }


def _cut(case: Case, truth: Mask | None) -> Cut | None:
    """What of the lesion no network saw; None where networks see all of an image."""
    box = case.read_box()
    if box is None:
        return None
    outside = 0 if truth is None else int(np.count_nonzero(truth)) - int(np.count_nonzero(box.cut(truth)))
    return Cut(outside, bool(box.whole))


def _instances(case: Case, predicted: Mask | None, truth: Mask | None, levels: Map | None) -> ImageInstances | None:
    """Hits among a detector's own findings, which no rule has touched, or else among the components of the mask."""
    if predicted is None or truth is None or levels is None:
        return None
    findings = case.read_findings((levels.shape[0], levels.shape[1]))
    return match_instances(predicted, truth, levels) if findings is None else match_findings(findings, truth)


def _decide(case: Case, levels: Map | None, rule: DecisionRule) -> tuple[Mask | None, int]:
    """The mask, None where there is no map, and whether the image is called positive."""
    if levels is None:
        return None, int(rule.opens(case.probability))
    mask = rule.apply(levels, case.probability)
    return mask, int(mask.any())


def _overlap(predicted: Mask | None, truth: Mask | None, prefix: str) -> dict[str, float]:
    """Pixels of both masks, Dice and IoU; NaN where a mask is not known."""
    predicted_px = _UNKNOWN if predicted is None else int(np.count_nonzero(predicted))
    shared_px = union_px = score = _UNKNOWN
    if predicted is not None and truth is not None:
        truth_px, shared_px = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted & truth))
        union_px = predicted_px + truth_px - shared_px
        score = float(dice(shared_px, predicted_px, truth_px))
    return {
        f"{prefix}predicted_px": predicted_px,
        f"{prefix}intersection_px": shared_px,
        f"{prefix}dice": score,
        # Empty masks agree, as for Dice.
        f"{prefix}iou": shared_px / union_px if union_px else 1.0,
    }


def _distances(predicted: Mask | None, truth: Mask | None, spacing_mm: tuple[float, float] | None) -> dict[str, float]:
    in_px = in_mm = None
    if predicted is not None and truth is not None:
        in_px = surface_distances(predicted, truth)
        in_mm = surface_distances(predicted, truth, spacing_mm) if in_px and spacing_mm else None
    return {
        "hd95_px": in_px.hd95 if in_px else _UNKNOWN,
        "mean_surface_distance_px": in_px.mean if in_px else _UNKNOWN,
        "hd95_mm": in_mm.hd95 if in_mm else _UNKNOWN,
        "mean_surface_distance_mm": in_mm.mean if in_mm else _UNKNOWN,
    }


def table_of(measured: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Measured images as the table test_cases.csv, sorted by image_id, and the columns of UNWRITTEN."""
    frame = pd.DataFrame(measured, columns=[*TEST_CASES, *UNWRITTEN])
    return frame.sort_values("image_id", ignore_index=True)
