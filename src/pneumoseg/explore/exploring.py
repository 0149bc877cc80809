"""Stage explore: all tables and figures of the data set, written to one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.explore import ExploreParams
from pneumoseg.explore.data_plots import (
    Look,
    draw_correlation,
    draw_counts,
    draw_heat_map,
    draw_incidence,
    draw_masks,
)
from pneumoseg.explore.joined import NOT_RECORDED, labels_shown, phantom_mark, read_cases
from pneumoseg.explore.statistics import (
    CODING,
    Correlation,
    area_histogram,
    component_counts,
    correlate,
    count_images,
    coverage,
    incidence_by_age,
)
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import fresh_dir, read_png, write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import write_csv

#: Views whose masks can be laid over each other.
_FRONTAL = ("AP", "PA", NOT_RECORDED)


def explore(layout: Layout, params: ExploreParams) -> None:
    """Write counts, incidence, masks, heat_map and correlation, each as a figure and as its table, and summary.json.

    Args:
        layout: metadata, annotations and masks are read; explore is emptied and written.
        params: section explore.

    Raises:
        DataError: a file is missing, or the files do not belong together.
    """
    cases = read_cases(layout, params.max_age_years)
    shares, n = mean_coverage(cases, layout.masks, params.heat_map_bins)
    others = int(cases["marked"].sum()) - n
    counts = count_images(cases, params.confidence)
    incidence = incidence_by_age(cases, params.age_band_years, params.confidence)
    areas = area_histogram(cases, params.area_bins)
    components = component_counts(cases)
    correlation = correlate(cases)
    summary = summarise(cases, shares, correlation)

    out = fresh_dir(layout.explore)
    look = Look(params.figure_dpi, phantom_mark(cases), params.confidence)
    phantom = int(bool(look.mark))
    tables = {
        "counts": counts,
        "incidence": incidence,
        "mask_areas": areas,
        "mask_components": components,
        "heat_map": _heat_map_table(shares),
        "correlation": correlation.table,
    }
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table.assign(phantom=phantom))
    draw_counts(out / "counts.png", counts, look)
    draw_incidence(
        out / "incidence.png", incidence, summary["annotated_without_age"], summary["annotated_without_sex"], look
    )
    draw_masks(out / "masks.png", areas, components, _area_words(summary), look)
    draw_heat_map(out / "heat_map.png", shares, n, others, look)
    draw_correlation(out / "correlation.png", correlation, look)
    write_json(out / "summary.json", summary)


def mean_coverage(cases: pd.DataFrame, masks: Path, bins: int) -> tuple[NDArray[np.float64] | None, int]:
    """Give the mean over the masks of frontal images of the share of each place that they cover.

    Returns:
        (bins, bins) float64 in [0, 1], None without such a mask; and the number of masks.

    Raises:
        DataError: a mask is missing or has not the size of its image.
    """
    positives = cases[cases["marked"] & cases["view_position"].isin(_FRONTAL)]
    total = np.zeros((bins, bins))
    for case in positives.itertuples():
        path = masks / f"{case.image_id}.png"
        mask = read_png(path) > 0
        if mask.shape != (case.rows, case.columns):
            raise DataError(
                f"{path}: size {mask.shape}, its image has ({case.rows}, {case.columns}); run dvc repro masks"
            )
        total += coverage(mask, bins)
    return (total / len(positives) if len(positives) else None), len(positives)


def summarise(cases: pd.DataFrame, shares: NDArray[np.float64] | None, correlation: Correlation) -> dict[str, Any]:
    """Give the figures of summary.json."""
    annotated = cases[cases["annotated"] == 1]
    positives = annotated[annotated["pneumothorax"] == 1]
    ages = annotated["age_years"].dropna()
    return {
        "images": len(cases),
        "phantom_images": int(cases["phantom"].fillna(0).sum()),
        **{text.replace(" ", "_"): int((cases["label"] == text).sum()) for text in labels_shown(cases)},
        "prevalence": len(positives) / len(annotated) if len(annotated) else None,
        # As the files name them: who counts as a patient is the stage split's to say.
        "patient_ids": int(cases["patient_id"].replace("", None).nunique()),
        "images_without_patient": int((cases["patient_id"] == "").sum()),
        "annotated_without_sex": int((annotated["sex"] == NOT_RECORDED).sum()),
        "annotated_without_view": int((annotated["view_position"] == NOT_RECORDED).sum()),
        "annotated_without_age": len(annotated) - len(ages),
        "implausible_ages": int(cases["age_implausible"].sum()),
        "age_years": {"min": ages.min(), "median": ages.median(), "max": ages.max()} if len(ages) else None,
        "label_only": len(positives) - int(cases["marked"].sum()),
        "mask_area": _mask_areas(cases[cases["marked"]]),
        "heat_map": _sides(shares),
        "correlation": {"coding": CODING, "left_out": correlation.dropped},
    }


def _mask_areas(positives: pd.DataFrame) -> dict[str, Any] | None:
    """Give percentiles of the mask area in percent of the image, and in pixels where all images have one size."""
    if positives.empty:
        return None
    measures = {"percent": positives["area_fraction"].to_numpy(float) * 100}
    if len(positives[["rows", "columns"]].drop_duplicates()) == 1:
        measures["px"] = positives["area_px"].to_numpy(float)
    result = {}
    for unit, values in measures.items():
        p5, median, p95 = np.percentile(values, [5, 50, 95])
        result[unit] = {"min": values.min(), "p5": p5, "median": median, "p95": p95, "max": values.max()}
    return result


def _area_words(summary: dict[str, Any]) -> str:
    areas, label_only = summary["mask_area"], summary["label_only"]
    if areas is None:
        return ""
    lines = []
    for unit, digits in (("percent", ".2f"), ("px", ",.0f")):
        if unit in areas:
            low, median, high = (format(areas[unit][name], digits) for name in ("p5", "median", "p95"))
            lines.append(
                f"5th / 50th / 95th percentile: {low} / {median} / {high} {'%' if unit == 'percent' else unit}"
            )
    if label_only:
        lines.append(f"left out: {label_only:,} images with pneumothorax whose mask is not known")
    return "\n".join(lines)


def _sides(shares: NDArray[np.float64] | None) -> dict[str, Any] | None:
    """Give how the marked area, each place weighted by its coverage, divides between the halves of the image."""
    if shares is None:
        return None
    size = shares.shape[0]
    # The half of column x is known by its centre; the middle column of an odd grid belongs half to either.
    centres = (np.arange(size) + 0.5) / size
    first = np.where(centres < 0.5, 1.0, np.where(centres > 0.5, 0.0, 0.5))
    total = float(shares.sum())
    return {
        "viewer_left_share": float((shares.sum(axis=0) * first).sum()) / total,
        "upper_half_share": float((shares.sum(axis=1) * first).sum()) / total,
        "largest_coverage": float(shares.max()),
    }


def _heat_map_table(shares: NDArray[np.float64] | None) -> pd.DataFrame:
    """Give the heat map as rows: row and column of the cell, counted from the top left, and its mean coverage."""
    if shares is None:
        return pd.DataFrame({"row": [], "column": [], "mean_coverage": []})
    row, column = np.indices(shares.shape)
    return pd.DataFrame({"row": row.ravel(), "column": column.ravel(), "mean_coverage": shares.ravel()})
