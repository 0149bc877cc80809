"""Which images experiments can be compared on, which patients they are of, and what speaks against the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pneumoseg.compare.experiments import Experiment
from pneumoseg.report.parts import count_of, listed
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.tables import unknown_patient

_TEST: Final = "test"


@dataclass(frozen=True)
class LeftOut:
    """Test images of one experiment that the comparison leaves out, for one reason."""

    experiment: str
    reason: str
    images: int
    patients: int


@dataclass(frozen=True)
class Leak:
    """Test images of the comparison whose own images, or whose patients', an experiment trained or chose on.

    ``known`` is False where its table of folds could not be had.
    """

    experiment: str
    known: bool
    images: int = 0
    patients: int = 0


@dataclass(frozen=True)
class Pairing:
    """The common images.

    Attributes:
        ids: (N,) their ids, sorted.
        positive: (N,) whether an image has a pneumothorax.
        truth_px: (N,) area of the true mask; -1 where it is not known.
        patients: (N,) int64 patient of each, 0 to P-1. Where experiments group images otherwise, images that any of
            them puts together are together.
        phantom: whether any of them is a phantom.
        left_out: what of each experiment's test set is not among them.
        regrouped: whether the experiments group the images into patients in different ways.
    """

    ids: tuple[str, ...]
    positive: NDArray[np.bool_]
    truth_px: NDArray[np.int64]
    patients: NDArray[np.int64]
    phantom: bool
    left_out: tuple[LeftOut, ...]
    regrouped: bool

    def patients_of(self, chosen: NDArray[np.bool_]) -> int:
        """Number of patients of some images."""
        return len(np.unique(self.patients[chosen]))


def pair(experiments: Sequence[Experiment]) -> Pairing:
    """Find the test images that all experiments share with the same truth.

    Args:
        experiments: two or more.

    Raises:
        DataError: there is none.
    """
    shared = set.intersection(*(set(item.cases.index) for item in experiments))
    names = listed([item.name for item in experiments])
    if not shared:
        counts = listed([f"{len(item.cases):,}" for item in experiments])
        raise DataError(
            f"{names} have no test image in common (of {counts} test images): compare experiments with the same data "
            "and the same sections data and split"
        )
    truth = ["pneumothorax", "truth_px", "image_px"]
    rows = [item.cases.loc[sorted(shared), truth].fillna(-1).to_numpy(np.int64) for item in experiments]
    alike = np.all([(other == rows[0]).all(axis=1) for other in rows], axis=0)
    if not alike.any():
        raise DataError(
            f"{names} share {count_of(len(shared), 'test image')}, none with the same true mask: their annotations or "
            "image sizes differ, so no difference of theirs would mean anything"
        )
    ids = [image for image, same in zip(sorted(shared), alike, strict=True) if same]
    groups = [list(item.cases.loc[ids, "patient"]) for item in experiments]
    return Pairing(
        ids=tuple(ids),
        positive=rows[0][alike, 0] == 1,
        truth_px=rows[0][alike, 1],
        patients=merge_groups(groups),
        phantom=any(bool(item.cases.loc[ids, "phantom"].fillna(0).any()) for item in experiments),
        left_out=tuple(entry for item in experiments for entry in _left_out(item, experiments, set(ids), shared)),
        regrouped=len({tuple(merge_groups([group])) for group in groups}) > 1,
    )


def merge_groups(groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Number images so that two have one number where any of the groupings puts them together.

    Args:
        groups: for each grouping the (N,) names of the images' groups.

    Returns:
        (N,) int64, numbered from 0 in order of first appearance.
    """
    count = len(groups[0])
    codes = [np.unique(np.asarray(group, dtype=object).astype(str), return_inverse=True)[1] for group in groups]
    starts = np.cumsum([count, *(int(code.max()) + 1 for code in codes)])
    rows = np.tile(np.arange(count), len(groups))
    columns = np.concatenate([code + start for code, start in zip(codes, starts[:-1], strict=True)])
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(starts[-1], starts[-1]))
    labels = connected_components(links, directed=False)[1][:count]
    order = {label: place for place, label in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[label] for label in labels.tolist()], np.int64)


def _left_out(
    experiment: Experiment, experiments: Sequence[Experiment], compared: set[str], shared: set[str]
) -> list[LeftOut]:
    trained = {item.name: _seen(item) for item in experiments}
    reasons: dict[str, list[str]] = {}
    for image in sorted(set(experiment.cases.index) - compared):
        if image in shared:
            reason = "its true mask or its size is another one elsewhere"
        else:
            other = next(item for item in experiments if image not in item.cases.index)
            kind = "a training or validation" if image in trained[other.name] else "not a test"
            reason = f"{kind} image of {other.name}"
        reasons.setdefault(reason, []).append(image)
    return [
        LeftOut(experiment.name, reason, len(images), int(experiment.cases.loc[images, "patient"].nunique()))
        for reason, images in sorted(reasons.items())
    ]


def _seen(experiment: Experiment) -> set[str]:
    """Images that are not of its test set, as far as its table of folds could be had."""
    if experiment.folds is None:
        return set()
    return set(experiment.folds.loc[experiment.folds["fold"] != _TEST, "image_id"])


def find_leaks(experiments: Sequence[Experiment], pairing: Pairing) -> list[Leak]:
    """Tell of each experiment whether it saw a compared image, or another image of its patient, before the test.

    Any experiment's table of folds may know that two images are of one patient. Images of all folds but ``test`` count:
    those of the validation fold chose the epoch and the decision rule.
    """
    known = [item.folds for item in experiments if item.folds is not None]
    compared = set(pairing.ids)
    patients = [_patients(frame) for frame in known]
    alike = [set(groups[groups.index.isin(compared)]) for groups in patients]
    leaks = []
    for item in experiments:
        if item.folds is None:
            leaks.append(Leak(item.name, known=False))
            continue
        seen = _seen(item)
        hit = compared & seen
        for groups, wanted in zip(patients, alike, strict=True):
            trained = set(groups[groups.index.isin(seen)]) & wanted
            hit |= compared & set(groups.index[groups.isin(trained)])
        places = np.array([image in hit for image in pairing.ids], np.bool_)
        leaks.append(Leak(item.name, known=True, images=len(hit), patients=pairing.patients_of(places)))
    return leaks


def _patients(folds: pd.DataFrame) -> pd.Series[str]:
    """Patient of each image by its id; an image without one is a patient of its own."""
    names = folds["patient"].where(folds["patient"] != "", folds["image_id"].map(unknown_patient))
    return pd.Series(names.to_numpy(), index=folds["image_id"])
