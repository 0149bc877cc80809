"""Folds and test set: no patient in two of them, each like the whole in pneumothorax, mask area and view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.split import SplitParams
from pneumoseg.shared.errors import DataError
from pneumoseg.split.allocation import allocate

TEST = "test"
#: The part of images that belong to no set, since a patient of theirs is in the test list.
EXCLUDED = ""

_LIST_HEADERS = ("image_id", "imageid", "image id", "kaggle_id")


def make_folds(images: pd.DataFrame, params: SplitParams, listed: set[str] | None) -> pd.Series[str]:
    """Divide annotated images into folds and a test set.

    The order of the rows changes nothing.

    Args:
        images: with columns image_id, patient, pneumothorax (0 or 1), area_fraction (NaN where
            a mask is not known) and view_position.
        params: section split.
        listed: the ids of the test set; None: params.test_fraction of the images are drawn.

    Returns:
        ``test``, ``0`` to ``K-1``, or empty for images that share a patient with a listed one, in the order and with
        the index of ``images``.

    Raises:
        DataError: too few patients with or without pneumothorax for so many parts.
    """
    ordered = images.sort_values("image_id", kind="stable")
    fold = pd.Series(EXCLUDED, index=ordered.index, dtype="str")
    names = [str(number) for number in range(params.folds)]
    shares = np.full(params.folds, 1 / params.folds)
    free = ordered
    if listed is not None:
        test = ordered["image_id"].isin(listed)
        fold[test] = TEST
        free = ordered[~ordered["patient"].isin(set(ordered.loc[test, "patient"]))]
    elif params.test_fraction is not None:
        names = [TEST, *names]
        shares = np.array([params.test_fraction, *shares * (1 - params.test_fraction)])
    groups, patients = pd.factorize(free["patient"])
    labels = _labels(free, params.area_bins, len(names))
    counts = np.zeros((len(patients), labels.shape[1]), np.int64)
    np.add.at(counts, groups, labels)
    _check_enough(counts, len(names), params, _largest(free, len(names)))
    parts = allocate(counts, shares, required=2, numbers=np.random.default_rng(params.seed))
    fold[free.index] = np.array(names)[parts[groups]]
    _check_parts(free, fold, names, params)
    return fold.reindex(images.index)


def _labels(images: pd.DataFrame, area_bins: int, parts: int) -> NDArray[np.int64]:
    """The labels to spread evenly, (N, L) of 0 and 1: pneumothorax, none, any, then each stratum and its margins.

    A stratum is pneumothorax by quantile of the mask's area by view. Bins that would hold fewer positives than there
    are parts are merged, as are views other than AP and PA; positives without a known area are a bin of their own.
    """
    positive = images["pneumothorax"].to_numpy() == 1
    areas = images["area_fraction"].to_numpy(np.float64)
    measured = positive & np.isfinite(areas)
    bins = max(1, min(area_bins, int(measured.sum()) // parts))
    edges = np.quantile(areas[measured], np.arange(1, bins) / bins) if measured.any() else np.array([])
    size = np.where(positive, 1 + np.searchsorted(edges, areas, side="right"), 0)
    size[positive & ~measured] = bins + 1
    view = images["view_position"].where(images["view_position"].isin(["AP", "PA"]), "other").to_numpy()
    strata = pd.DataFrame({"size": size, "view": view})
    strata["both"] = strata["size"].astype(str) + strata["view"]
    dummies = pd.get_dummies(strata, columns=list(strata.columns)).to_numpy(np.int64)
    return np.column_stack([positive, ~positive, np.ones(len(images), np.int64), dummies]).astype(np.int64)


def _largest(images: pd.DataFrame, parts: int) -> str:
    """Who stands in the way, where one patient has more images than a part shall have; else empty."""
    sizes = images["patient"].value_counts()
    if sizes.empty or sizes.iloc[0] <= len(images) / parts:
        return ""
    image = images.loc[images["patient"] == sizes.index[0], "image_id"].min()
    return (
        f": {sizes.iloc[0]} of {len(images)} images are of one patient (such as {image}); if that is a placeholder and "
        "no patient, give split.patient_map, else"
    )


def _check_enough(counts: NDArray[np.int64], parts: int, params: SplitParams, cause: str) -> None:
    test = " and a test set" if params.test_list is None else ""
    for label, what in enumerate(("a pneumothorax", "an image without pneumothorax")):
        have = int((counts[:, label] > 0).sum())
        if have < parts:
            extra = parts - params.folds
            fix = f"lower split.folds to {have - extra}" if have - extra >= 2 else "annotate more patients"
            raise DataError(
                f"split.folds = {params.folds}{test} needs {parts} patients with {what}, one for each, but there "
                f"{'is' if have == 1 else 'are'} {have}{cause or ';'} {fix}"
            )


def _check_parts(free: pd.DataFrame, fold: pd.Series[str], names: list[str], params: SplitParams) -> None:
    for name in names:
        inside = free.loc[fold[free.index] == name, "pneumothorax"]
        if inside.nunique() < 2:
            where = "the test set" if name == TEST else f"fold {name}"
            raise DataError(
                f"split: {where} cannot be given both positives and negatives, since patients have too many images "
                f"each{_largest(free, len(names)) or ';'} lower split.folds = {params.folds}, or change split.seed"
            )


def read_test_list(path: Path, annotated: set[str], known: set[str]) -> set[str]:
    """Read the ids of the test set: one a line, or the first column of a CSV, with or without a header.

    Args:
        path: the file, split.test_list.
        annotated: ids of annotated images, which alone can be tested on.
        known: ids of all images.

    Raises:
        DataError: the file cannot be read, is empty, or names an image twice, an unknown or an unannotated one.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: split.test_list cannot be read ({error.strerror}); give an absolute path, or one relative to "
            "params.yaml that git or DVC tracks, or null and a test_fraction"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: split.test_list is not text ({error})") from None
    ids = [line.split(",")[0].strip().strip('"') for line in lines if line.strip()]
    if ids and ids[0].lower() in _LIST_HEADERS:
        ids = ids[1:]
    if not ids:
        raise DataError(f"{path}: split.test_list names no image; write one image id a line")
    seen: set[str] = set()
    for image in ids:
        if image in seen:
            raise DataError(f"{path}: split.test_list names {image} twice; keep one line")
        if image not in known:
            raise DataError(f"{path}: split.test_list names {image}, which is not in metadata.csv; correct the id")
        if image not in annotated:
            raise DataError(f"{path}: split.test_list names {image}, which is not annotated; drop it from the list")
        seen.add(image)
    return seen
