"""Counts, shares with intervals, distributions and correlations of the data set, as plain tables.

The unit is the image. Several images of a patient are not independent, so the intervals are too narrow where patients
have many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from pneumoseg.explore.joined import NOT_RECORDED, labels_shown

#: Coding of the correlation matrix; every other value, and an empty one, is left out of the pairs it belongs to.
CODING = {
    "age": "age in years",
    "sex": "1 male, 0 female",
    "view": "1 AP, 0 PA",
    "pneumothorax": "1 present, 0 absent",
}

_SHARE = ("incidence", "interval_low", "interval_high")


def wilson_interval(positives: int, images: int, confidence: float) -> tuple[float, float]:
    """Give Wilson's score interval of a share (E. B. Wilson, J Am Stat Assoc 22:209, 1927).

    Args:
        positives: images that count.
        images: all images, above 0.
        confidence: such as 0.95.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    share = positives / images
    centre = share + z * z / (2 * images)
    reach = z * float(np.sqrt(share * (1 - share) / images + z * z / (4 * images * images)))
    scale = 1 + z * z / images
    # At 0 and n the interval touches 0 and 1; rounding must not carry it past.
    low = 0.0 if positives == 0 else (centre - reach) / scale
    high = 1.0 if positives == images else (centre + reach) / scale
    return low, high


def count_images(cases: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Count images by label, sex and view position.

    Returns:
        Columns variable, value, images, then one for each label, and share of pneumothorax among annotated images with
        its interval. Values by falling count, then name; "not recorded" last.
    """
    labels = labels_shown(cases)
    rows = [_count_row("all", "all", cases, labels, confidence)]
    rows += [_count_row("label", text, cases[cases["label"] == text], labels, confidence) for text in labels]
    for name in ("sex", "view_position"):
        groups = [(str(value), group) for value, group in cases.groupby(name)]
        groups.sort(key=lambda item: (item[0] == NOT_RECORDED, -len(item[1]), item[0]))
        rows += [_count_row(name, value, group, labels, confidence) for value, group in groups]
    columns = ["variable", "value", "images", *(text.replace(" ", "_") for text in labels), *_SHARE]
    return pd.DataFrame(rows).reindex(columns=columns)


def _count_row(
    variable: str, value: str, group: pd.DataFrame, labels: Sequence[str], confidence: float
) -> dict[str, Any]:
    counts = {text.replace(" ", "_"): int((group["label"] == text).sum()) for text in labels}
    share = _share(group, confidence) if variable != "label" else {}
    return {"variable": variable, "value": value, "images": len(group), **counts, **share}


def _share(group: pd.DataFrame, confidence: float) -> dict[str, float]:
    """Give the share of pneumothorax among annotated images with its interval; empty without any."""
    annotated = int((group["annotated"] == 1).sum())
    positives = int((group["pneumothorax"] == 1).sum())
    if not annotated:
        return {}
    low, high = wilson_interval(positives, annotated, confidence)
    return dict(zip(_SHARE, (positives / annotated, low, high), strict=True))


def incidence_by_age(cases: pd.DataFrame, band_years: int, confidence: float) -> pd.DataFrame:
    """Give the share of pneumothorax among annotated images, by age band and sex.

    Returns:
        Columns sex (all, then each recorded one), age_from_years, age_below_years (empty in the row over all ages,
        which holds images without an age too), images, pneumothorax, incidence, interval_low, interval_high.
    """
    annotated = cases[cases["annotated"] == 1]
    sexes = sorted(set(annotated["sex"]) - {NOT_RECORDED}, key=lambda sex: ({"M": 0, "F": 1}.get(sex, 2), sex))
    band = annotated["age_years"] // band_years
    bands = range(int(band.min()), int(band.max()) + 1) if band.notna().any() else range(0)
    rows = []
    for sex, index in product(["all", *sexes], [None, *bands]):
        chosen = (annotated["sex"] == sex) | (sex == "all")
        ages: dict[str, Any] = {"age_from_years": None, "age_below_years": None}
        if index is not None:
            chosen &= band == index
            ages = {"age_from_years": index * band_years, "age_below_years": (index + 1) * band_years}
        group = annotated[chosen]
        positives = int((group["pneumothorax"] == 1).sum())
        counts = {"images": len(group), "pneumothorax": positives}
        rows.append({"sex": sex, **ages, **counts, **_share(group, confidence)})
    columns = ["sex", "age_from_years", "age_below_years", "images", "pneumothorax"]
    frame = pd.DataFrame(rows).reindex(columns=[*columns, *_SHARE])
    return frame.astype({"age_from_years": "Int64", "age_below_years": "Int64"})


def area_histogram(cases: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Count images with a mask by its area, in bins of equal width on a logarithmic scale.

    Returns:
        Columns area_percent_from, area_percent_below (of the image; the last bin holds its upper end), images; no rows
        without a mask.
    """
    percent = cases["area_fraction"][cases["marked"]].to_numpy(np.float64) * 100
    if not percent.size:
        return pd.DataFrame({"area_percent_from": [], "area_percent_below": [], "images": []})
    low, high = np.log10(percent.min()), np.log10(percent.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    # Not np.histogram: rounding of a logarithm must not push the smallest or the largest area out of its bin.
    place = np.clip(np.searchsorted(edges, np.log10(percent), side="right") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    return pd.DataFrame(
        {"area_percent_from": 10 ** edges[:-1], "area_percent_below": 10 ** edges[1:], "images": counts}
    )


def component_counts(cases: pd.DataFrame) -> pd.DataFrame:
    """Count images with a mask by its connected components and by annotation rows.

    Returns:
        Columns variable (components or rle_count), value, images.
    """
    positives = cases[cases["marked"]]
    rows = []
    for name in ("components", "rle_count"):
        values, counts = np.unique(positives[name].to_numpy(np.int64), return_counts=True)
        rows += [
            {"variable": name, "value": value, "images": count} for value, count in zip(values, counts, strict=True)
        ]
    return pd.DataFrame(rows, columns=["variable", "value", "images"])


def coverage(mask: NDArray[np.bool_], bins: int) -> NDArray[np.float64]:
    """Give the covered share of each cell of a grid laid over a mask.

    Args:
        mask: (H, W) bool.
        bins: cells along each side; where the image has fewer pixels, cells share them.

    Returns:
        (bins, bins) float64 in [0, 1], first axis from top to bottom.
    """
    starts = [np.arange(bins) * size // bins for size in mask.shape]
    for axis, size in enumerate(mask.shape):
        if size < bins:
            mask = mask.take(starts[axis], axis)
            starts[axis] = np.arange(bins)
    rows, columns = (np.diff(start, append=size) for start, size in zip(starts, mask.shape, strict=True))
    row, column = np.nonzero(mask)
    # The cell of a pixel is the last one that starts at or before it; the cost goes with the area of the mask.
    cells = np.repeat(np.arange(bins), rows)[row] * bins + np.repeat(np.arange(bins), columns)[column]
    counts = np.bincount(cells, minlength=bins * bins).reshape(bins, bins)
    return np.asarray(counts / np.outer(rows, columns), np.float64)


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of the coded variables (phi where both have two values), over annotated images.

    Attributes:
        table: columns first, second, correlation, images: every pair, from images that have both values.
        kept: variables in the matrix.
        dropped: the others, with the reason.
    """

    table: pd.DataFrame
    kept: tuple[str, ...]
    dropped: dict[str, str]


def correlate(cases: pd.DataFrame) -> Correlation:
    """Correlate age, sex, view position and pneumothorax, coded as CODING says."""
    annotated = cases[cases["annotated"] == 1]
    coded = {
        "age": annotated["age_years"].astype("float64"),
        "sex": annotated["sex"].map({"M": 1.0, "F": 0.0}).astype("float64"),
        "view": annotated["view_position"].map({"AP": 1.0, "PA": 0.0}).astype("float64"),
        "pneumothorax": annotated["pneumothorax"].astype("float64"),
    }
    dropped = {name: reason for name, values in coded.items() if (reason := _why_dropped(values))}
    kept = tuple(name for name in coded if name not in dropped)
    return Correlation(
        pd.DataFrame(_pairs(coded, kept), columns=["first", "second", "correlation", "images"]), kept, dropped
    )


def _why_dropped(values: pd.Series) -> str:
    present = values.dropna()
    if present.empty:
        return NOT_RECORDED
    return f"always {present.iloc[0]:g}" if present.nunique() == 1 else ""


def _pairs(coded: dict[str, pd.Series], kept: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for first, second in product(kept, kept):
        both = pd.DataFrame({"a": coded[first], "b": coded[second]}).dropna()
        varies = both["a"].nunique() > 1 and both["b"].nunique() > 1
        r = float(np.corrcoef(both["a"], both["b"])[0, 1]) if varies else None
        yield {"first": first, "second": second, "correlation": r, "images": len(both)}
