"""Every test image as a row: what it is, what was said of it, how well; the page's script sorts and filters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pneumoseg.report.inputs import Figures
from pneumoseg.report.parts import number

_FIGURES = (
    ("dice", "Dice", 3),
    ("probability", "probability", 3),
    ("truth_px", "annotated, px", 0),
    ("predicted_px", "marked, px", 0),
)
_GROUPS = (("lesion_size", "size"), ("sex", "sex"), ("age_band", "age"), ("view_position", "view"))


@dataclass(frozen=True)
class CaseRow:
    """One image; ``shown`` where the page has its pictures. ``figures`` are text and the number to sort by."""

    image_id: str
    shown: bool
    outcome: str
    figures: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class CaseTable:
    """The head of the columns and the rows, the lowest Dice first."""

    figures: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[CaseRow, ...]


def case_table(inputs: Figures, shown: Collection[str]) -> CaseTable:
    """All test images.

    Args:
        inputs: the test figures.
        shown: ids of the images whose pictures are on the page.
    """
    cases = inputs.cases
    figures = [item for item in _FIGURES if cases[item[0]].notna().any()]
    groups = [item for item in _GROUPS if (cases[item[0]].fillna("") != "").any()]
    ordered = cases.sort_values(["dice", "probability", "image_id"]).to_dict("records")
    rows = tuple(
        CaseRow(
            image_id=str(row["image_id"]),
            shown=row["image_id"] in shown,
            outcome=_outcome(row["pneumothorax"] == 1, row["called"] == 1),
            figures=tuple(_figure(row[name], digits) for name, _, digits in figures),
            groups=tuple("" if pd.isna(row[name]) else str(row[name]) for name, _ in groups),
        )
        for row in ordered
    )
    return CaseTable(tuple(label for _, label, _ in figures), tuple(label for _, label in groups), rows)


def _figure(value: Any, digits: int) -> tuple[str, str]:
    if pd.isna(value):
        return number(None), ""
    return number(float(value), digits) if digits else number(int(value)), repr(float(value))


def _outcome(positive: bool, called: bool) -> str:
    if positive:
        return "found" if called else "missed"
    return "false positive" if called else "correctly negative"
