"""The galleries with their cases: picture files written, facts in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoseg.config.report import ReportParams
from pneumoseg.report.galleries import choose_galleries
from pneumoseg.report.inputs import Inputs
from pneumoseg.report.parts import number
from pneumoseg.report.pictures import CasePictures, PictureWriter
from pneumoseg.shared.errors import DataError

#: A row of a table.
_Row = dict[str, Any]


@dataclass(frozen=True)
class CaseView:
    """One case as the page shows it; paths are relative to the report, empty where there is nothing to show."""

    image_id: str
    has_truth: bool
    radiograph: str
    truth: str
    prediction: str
    agreement: str
    facts: tuple[str, ...]
    spoken: str


@dataclass(frozen=True)
class GalleryView:
    """A gallery with its cases."""

    key: str
    title: str
    rule: str
    cases: tuple[CaseView, ...]


def show_galleries(inputs: Inputs, out: Path, params: ReportParams) -> tuple[GalleryView, ...]:
    """Choose the cases, write their pictures below ``out``, and describe them.

    Raises:
        DataError: a file is missing or damaged, or a mask is not the one that was measured.
    """
    writer = PictureWriter(inputs.root / "data", out, inputs.rule, params)
    rows, metadata = _by_id(inputs.cases), _by_id(inputs.metadata)
    absent = sorted({*rows, *inputs.predicted["image_id"]} - set(metadata))
    if absent:
        raise DataError(f"{inputs.root / 'data' / 'metadata.csv'}: no row for {absent[0]}, which has a prediction")
    views = []
    for gallery in choose_galleries(inputs.cases, inputs.size_limits_px_at_1024, params.cases_per_gallery):
        shown = tuple(_test_case(inputs, rows[name], metadata[name], writer) for name in gallery.image_ids)
        views.append(GalleryView(gallery.key, gallery.title, gallery.rule, shown))
    unlabelled = inputs.predicted[inputs.predicted["set"] == "unlabelled"]
    if len(unlabelled) and params.unlabelled_cases:
        first = unlabelled.head(params.unlabelled_cases)
        shown = tuple(_unlabelled_case(row, metadata[name], writer) for name, row in _by_id(first).items())
        rule = (
            f"The first {len(shown)} of {len(unlabelled):,} by id; no truth is known, so nothing is measured on them."
        )
        views.append(GalleryView("unlabelled", "Images without annotation", rule, shown))
    return tuple(views)


def _test_case(inputs: Inputs, row: _Row, about: _Row, writer: PictureWriter) -> CaseView:
    image_id, probability = str(row["image_id"]), float(row["probability"])
    pictures = writer.write(image_id, "test", probability)
    measured = (int(row["truth_px"]), int(row["predicted_px"]))
    if (pictures.truth_px, pictures.predicted_px) != measured:
        raise DataError(
            f"{inputs.root / 'metrics' / 'test_cases.csv'}: {image_id} has {measured[0]} true and {measured[1]} marked "
            f"pixels, its files {pictures.truth_px} and {pictures.predicted_px}; run dvc repro evaluate"
        )
    outcome = _outcome(*measured, float(row["dice"]))
    area = _square_centimetres(about)
    facts = []
    if measured[0]:
        facts.append(f"annotated {_area(measured[0], area)}, {row['lesion_size']}")
    if measured[1]:
        facts.append(f"marked {_area(measured[1], area)}")
    if pd.notna(row["hd95_mm"]):
        facts.append(f"95\u00a0% Hausdorff distance {float(row['hd95_mm']):.1f} mm")
    facts.append(f"image probability {probability:.2f}")
    facts += _attributes(about)
    return _case(image_id, True, pictures, facts, outcome)


def _unlabelled_case(row: _Row, about: _Row, writer: PictureWriter) -> CaseView:
    image_id, probability = str(row["image_id"]), float(row["probability"])
    pictures = writer.write(image_id, "unlabelled", probability)
    area = _square_centimetres(about)
    outcome = f"marked {_area(pictures.predicted_px, area)}" if pictures.predicted_px else "nothing marked"
    facts = [f"image probability {probability:.2f}", *_attributes(about)]
    return _case(image_id, False, pictures, facts, outcome)


def _case(image_id: str, has_truth: bool, pictures: CasePictures, facts: list[str], outcome: str) -> CaseView:
    return CaseView(
        image_id=image_id,
        has_truth=has_truth,
        radiograph=pictures.radiograph,
        truth=pictures.truth,
        prediction=pictures.prediction,
        agreement=pictures.agreement,
        facts=tuple(facts),
        spoken=outcome,
    )


def _outcome(truth_px: int, predicted_px: int, score: float) -> str:
    if truth_px and predicted_px:
        return f"Dice {score:.3f}"
    if truth_px:
        return "missed: Dice 0"
    return "false positive: Dice 0" if predicted_px else "correctly empty: Dice 1"


def _square_centimetres(about: _Row) -> float | None:
    """Area of a pixel of the original image in cm²; None where the spacing is not known."""
    area = float(about["pixel_spacing_row_mm"]) * float(about["pixel_spacing_column_mm"]) / 100
    return area if area > 0 else None


def _area(pixels: int, square_centimetres: float | None) -> str:
    told = f"{number(pixels)} px"
    return told if square_centimetres is None else f"{told} ({pixels * square_centimetres:.1f} cm²)"


def _attributes(about: _Row) -> list[str]:
    age = about["age_years"]
    return [
        f"view {about['view_position'] or 'not recorded'}",
        f"sex {about['sex'] or 'not recorded'}",
        f"{float(age):.0f} years" if pd.notna(age) else "age not recorded",
    ]


def _by_id(frame: pd.DataFrame) -> dict[str, _Row]:
    """The rows of a table by image_id, in order."""
    return {str(row["image_id"]): {str(name): value for name, value in row.items()} for row in frame.to_dict("records")}
