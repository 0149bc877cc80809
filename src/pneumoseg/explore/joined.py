"""One row an image with all that exploration looks at, brought together from metadata.csv and annotations.csv."""

from __future__ import annotations

import pandas as pd

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, Columns, read_table

NOT_RECORDED = "not recorded"

#: Column status of annotations.csv in the words of the figures, in their order.
LABELS = {
    "positive": "pneumothorax",
    "negative": "no pneumothorax",
    "unannotated": "not annotated",
    "rejected": "annotation rejected",
    "uncertain": "label uncertain",
    "blank": "label blank",
    "lateral": "from the side",
}
#: Of these, the first that are told where there is no image of them, too.
_ALWAYS = 4

_ANNOTATIONS: Columns = {**ANNOTATIONS, "status": "text"}


def read_cases(layout: Layout, max_age_years: int) -> pd.DataFrame:
    """Join metadata and annotations.

    Args:
        layout: its metadata, and its annotations with column status.
        max_age_years: an age above it, or below 0, is a mistake.

    Returns:
        One row an image, sorted by image_id: the columns of both files, ``label`` (a value of LABELS), ``sex`` and
        ``view_position`` with NOT_RECORDED for empty cells, ``age_years`` without the implausible ones,
        ``age_implausible``, and ``marked``: whether there is a mask of a pneumothorax.

    Raises:
        DataError: a file cannot be used, or the two do not speak of the same images.
    """
    metadata = read_table(layout.metadata, METADATA)
    annotations = read_table(layout.annotations, _ANNOTATIONS)
    if sorted(metadata["image_id"]) != sorted(annotations["image_id"]) or metadata["image_id"].duplicated().any():
        raise DataError(f"{layout.annotations} and {layout.metadata} do not list the same images; run dvc repro masks")
    unknown = set(annotations["status"]) - set(LABELS)
    if unknown:
        raise DataError(f"{layout.annotations}: status {min(unknown)!r} is none of {', '.join(LABELS)}")
    cases = metadata.merge(annotations, on="image_id", validate="one_to_one").sort_values("image_id", ignore_index=True)
    cases["marked"] = ((cases["pneumothorax"] == 1) & (cases["mask_known"] != 0).fillna(value=True)).fillna(value=False)
    cases["label"] = cases["status"].map(LABELS)
    for name in ("sex", "view_position"):
        cases[name] = cases[name].str.strip().replace("", NOT_RECORDED)
    implausible = ((cases["age_years"] < 0) | (cases["age_years"] > max_age_years)).fillna(value=False)
    cases["age_implausible"] = implausible.astype(bool)
    cases.loc[cases["age_implausible"], "age_years"] = float("nan")
    return cases


def labels_shown(cases: pd.DataFrame) -> list[str]:
    """The values of LABELS that figures speak of: the usual ones, and those of which there is an image."""
    there = set(cases["label"])
    return [text for place, text in enumerate(LABELS.values()) if place < _ALWAYS or text in there]


def phantom_mark(cases: pd.DataFrame) -> str:
    """Give the mark that titles carry: "phantom data", "partly phantom data" or nothing."""
    phantoms = int(cases["phantom"].fillna(0).sum())
    if not phantoms:
        return ""
    return "phantom data" if phantoms == len(cases) else f"partly phantom data, {phantoms} of {len(cases)} images"
