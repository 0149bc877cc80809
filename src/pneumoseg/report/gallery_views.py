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
    """One case as the page shows it; paths are relative to the report, empty where there is nothing to show.

    ``panels`` are picture, layer above it, style and caption of each of its panes.
    """

    image_id: str
    radiograph: str
    truth: str
    prediction: str
    agreement: str
    activation: str
    lateral: str
    panels: tuple[tuple[str, str, str, str], ...]
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
    writer = PictureWriter(inputs.layout, out, inputs.rule, params, inputs.laterals)
    rows, metadata = _by_id(inputs.cases), _by_id(inputs.metadata)
    absent = sorted({*rows, *inputs.predicted["image_id"]} - set(metadata))
    if absent:
        raise DataError(f"{inputs.layout.metadata}: no row for {absent[0]}, which has a prediction")
    views = []
    limits = inputs.params.evaluate.size_limits_px_at_1024
    for gallery in choose_galleries(inputs.cases, limits, params.cases_per_gallery):
        shown = tuple(_test_case(inputs, rows[name], metadata[name], writer) for name in gallery.image_ids)
        views.append(GalleryView(gallery.key, gallery.title, gallery.rule, shown))
    unlabelled = inputs.predicted[inputs.predicted["set"] == "unlabelled"]
    if len(unlabelled) and params.unlabelled_cases:
        first = unlabelled.head(params.unlabelled_cases)
        shown = tuple(_unlabelled_case(inputs, row, metadata[name], writer) for name, row in _by_id(first).items())
        rule = (
            f"The first {len(shown)} of {len(unlabelled):,} by id; no truth is known, so nothing is measured on them."
        )
        views.append(GalleryView("unlabelled", "Images without annotation", rule, shown))
    return tuple(views)


def _test_case(inputs: Inputs, row: _Row, about: _Row, writer: PictureWriter) -> CaseView:
    image_id, probability = str(row["image_id"]), float(row["probability"])
    truth_px, predicted_px = _pixels(row["truth_px"]), _pixels(row["predicted_px"])
    pictures = writer.write(image_id, "test", probability, mask_known=truth_px is not None)
    if (pictures.truth_px, pictures.predicted_px) != (truth_px, predicted_px):
        raise DataError(
            f"{inputs.layout.test_cases}: {image_id} has {truth_px} true and {predicted_px} marked pixels, its files "
            f"{pictures.truth_px} and {pictures.predicted_px}; run dvc repro evaluate"
        )
    area = _square_centimetres(about)
    facts = []
    if truth_px is None:
        facts.append("annotated, place not known")
    elif truth_px:
        facts.append(f"annotated {_area(truth_px, area)}, {row['lesion_size']}")
    if predicted_px:
        facts.append(f"marked {_area(predicted_px, area)}")
    if pd.notna(row["hd95_mm"]):
        facts.append(f"95\u00a0% Hausdorff distance {float(row['hd95_mm']):.1f} mm")
    facts += [f"image probability {probability:.2f}", *_attributes(about)]
    return _case(image_id, pictures, facts, _outcome(row["pneumothorax"] == 1, row["called"] == 1, row["dice"]))


def _pixels(count: float) -> int | None:
    return None if pd.isna(count) else int(count)


def _unlabelled_case(inputs: Inputs, row: _Row, about: _Row, writer: PictureWriter) -> CaseView:
    image_id, probability = str(row["image_id"]), float(row["probability"])
    pictures = writer.write(image_id, "unlabelled", probability, mask_known=False)
    if pictures.predicted_px is None:
        outcome = f"called {'positive' if inputs.rule.opens(probability) else 'negative'}"
    elif pictures.predicted_px:
        outcome = f"marked {_area(pictures.predicted_px, _square_centimetres(about))}"
    else:
        outcome = "nothing marked"
    return _case(image_id, pictures, [f"image probability {probability:.2f}", *_attributes(about)], outcome)


def _case(image_id: str, pictures: CasePictures, facts: list[str], outcome: str) -> CaseView:
    front = pictures.radiograph
    panels = [(front, "", "", "radiograph")]
    if pictures.lateral:
        panels.append((pictures.lateral, "", "", "lateral"))
    if pictures.truth_px is not None:
        panels.append((front, pictures.truth, "", "truth" if pictures.truth else "truth: none"))
    if pictures.predicted_px is not None:
        panels.append((front, pictures.prediction, "", "prediction" if pictures.prediction else "prediction: none"))
    if pictures.truth_px is not None and pictures.predicted_px is not None:
        panels.append((front, pictures.agreement, "agreement", "agreement"))
    if pictures.activation:
        panels.append((front, pictures.activation, "", "where it looked (class activation map)"))
    return CaseView(
        image_id=image_id,
        radiograph=front,
        truth=pictures.truth,
        prediction=pictures.prediction,
        agreement=pictures.agreement,
        activation=pictures.activation,
        lateral=pictures.lateral,
        panels=tuple(panels),
        facts=tuple(facts),
        spoken=outcome,
    )


def _outcome(positive: bool, called: bool, score: float) -> str:
    """The call and, where it is known, the Dice."""
    if positive and called:
        return "found" if pd.isna(score) else f"Dice {score:.3f}"
    told = "missed" if positive else "false positive" if called else "correctly empty"
    if pd.isna(score):
        return told if positive or called else "correctly called negative"
    return f"{told}: Dice {score:.0f}"


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
