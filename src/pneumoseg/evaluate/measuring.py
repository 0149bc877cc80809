"""What is measured on each test image, once, while its map is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.evaluate.distances import surface_distances
from pneumoseg.evaluate.instances import ImageInstances, components, match_instances
from pneumoseg.rule.cases import Case
from pneumoseg.rule.decision import PLAIN_RULE, REFERENCE_PIXELS, DecisionRule, Mask
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, Columns, read_table

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


@dataclass(frozen=True)
class Measured:
    """One test image: its row of test_cases.csv and its instances."""

    row: dict[str, Any]
    instances: ImageInstances


def size_group(truth_px: int, image_px: int, limits_px_at_1024: tuple[int, int]) -> str:
    """Small below the first limit, large from the second on; empty where there is no mask."""
    if not truth_px:
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
    pneumothorax: int | None  # None: not annotated


def read_attributes(metadata_csv: Path, annotations_csv: Path) -> Mapping[str, Attributes]:
    """Join metadata.csv and annotations.csv by image_id.

    Raises:
        DataError: a table is not readable, or an image has two rows.
    """
    metadata = read_table(metadata_csv, METADATA).set_index("image_id")
    annotations = read_table(annotations_csv, ANNOTATIONS).set_index("image_id")
    for path, frame in ((metadata_csv, metadata), (annotations_csv, annotations)):
        if not frame.index.is_unique:
            raise DataError(f"{path}: {frame.index[frame.index.duplicated()][0]} has two rows; run dvc repro")
    joined = metadata.join(annotations[["pneumothorax"]], how="left")
    found = {}
    for image_id, row in joined.to_dict("index").items():
        spacing = (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"])
        found[str(image_id)] = Attributes(
            rows=int(row["rows"]),
            columns=int(row["columns"]),
            spacing_mm=spacing if min(spacing) > 0 and np.isfinite(spacing).all() else None,
            sex=row["sex"],
            age_years=row["age_years"],
            view_position=row["view_position"],
            phantom=0 if pd.isna(row["phantom"]) else int(row["phantom"]),
            pneumothorax=None if pd.isna(row["pneumothorax"]) else int(row["pneumothorax"]),
        )
    return found


def check_attributes(case: Case, known: Mapping[str, Attributes]) -> Attributes:
    """Give what is known of a test case.

    Raises:
        DataError: it is in no table, or its label contradicts its mask: a lost mask would make it a negative.
    """
    if case.image_id not in known:
        raise DataError(f"{case.image_id} has a prediction but no row in metadata.csv; run dvc repro")
    found = known[case.image_id]
    if found.pneumothorax != int(case.mask is not None):
        label = "not annotated" if found.pneumothorax is None else f"pneumothorax = {found.pneumothorax}"
        mask = "no mask" if case.mask is None else "a mask"
        raise DataError(
            f"{case.image_id} is {label} in annotations.csv but has {mask} in data/masks; run dvc repro masks"
        )
    return found


def measure(case: Case, rule: DecisionRule, known: Mapping[str, Attributes], params: EvaluateParams) -> Measured:
    """Read one test image, decide it by the rule and by the plain one, and measure both.

    Raises:
        DataError: its files or tables contradict each other.
    """
    about = check_attributes(case, known)
    levels = case.read_map()
    if levels.shape != (about.rows, about.columns):
        raise DataError(
            f"{case.map} has {levels.shape} pixels, metadata.csv {about.rows} x {about.columns}; run dvc repro"
        )
    truth = case.read_truth(levels.shape)
    if truth is None:
        truth = np.zeros(levels.shape, np.bool_)
    predicted = rule.apply(levels, case.probability)
    plain = PLAIN_RULE.apply(levels, case.probability)
    row = {
        "image_id": case.image_id,
        "patient": case.patient,
        "pneumothorax": about.pneumothorax,
        "called": int(predicted.any()),
        "probability": case.probability,
        "image_px": levels.size,
        **_overlap(predicted, truth, ""),
        **_overlap(plain, truth, "plain_"),
        **_distances(predicted, truth, about.spacing_mm),
        "truth_components": components(truth)[0],
        "predicted_components": components(predicted)[0],
        "lesion_size": size_group(int(truth.sum()), truth.size, params.size_limits_px_at_1024),
        "sex": about.sex or "unknown",
        "age_band": age_band(about.age_years, params.age_limits_years),
        "view_position": about.view_position or "unknown",
        "phantom": about.phantom,
    }
    return Measured(row, match_instances(predicted, truth, levels))


def _overlap(predicted: Mask, truth: Mask, prefix: str) -> dict[str, Any]:
    predicted_px, truth_px = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    shared_px = int(np.count_nonzero(predicted & truth))
    union_px = predicted_px + truth_px - shared_px
    return {
        "truth_px": truth_px,
        f"{prefix}predicted_px": predicted_px,
        f"{prefix}intersection_px": shared_px,
        f"{prefix}dice": float(dice(shared_px, predicted_px, truth_px)),
        # Empty masks agree, as for Dice.
        f"{prefix}iou": shared_px / union_px if union_px else 1.0,
    }


def _distances(predicted: Mask, truth: Mask, spacing_mm: tuple[float, float] | None) -> dict[str, float]:
    unknown = float("nan")
    in_px = surface_distances(predicted, truth)
    in_mm = surface_distances(predicted, truth, spacing_mm) if in_px and spacing_mm else None
    return {
        "hd95_px": in_px.hd95 if in_px else unknown,
        "mean_surface_distance_px": in_px.mean if in_px else unknown,
        "hd95_mm": in_mm.hd95 if in_mm else unknown,
        "mean_surface_distance_mm": in_mm.mean if in_mm else unknown,
    }


def table_of(measured: list[Measured]) -> pd.DataFrame:
    """The rows of measured images as the table test_cases.csv."""
    frame = pd.DataFrame([item.row for item in measured], columns=list(TEST_CASES))
    return frame.sort_values("image_id", ignore_index=True)
