"""Who is on the radiographs: patients, labels and metadata, planned before anything is drawn."""

from __future__ import annotations

import hashlib
import statistics
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoseg.config.phantom import PhantomParams
from pneumoseg.phantom.rendering import Scene

Role = Literal["annotated", "unannotated", "unlabelled"]
Kind = Literal["cohort", "patient", "image", "laterals", "lateral"]

_OLDEST_YEARS = 94
#: An age as the real set has it too: nobody is that old.
IMPLAUSIBLE_AGE_YEARS = 152
# Areas beyond these make no radiograph: a few pixels, or more air than a chest holds (fractions of the image).
_SMALLEST_AREA, _LARGEST_AREA = 0.0004, 0.10
_ROLE_CODES = {"cohort": 0, "patient": 1, "image": 2, "laterals": 3, "lateral": 4}


@dataclass(frozen=True)
class Case:
    """One image before it is drawn.

    Attributes:
        index: of the image, from 0: annotated ones first, then unannotated, then unlabelled.
        role: unannotated lies in the training folder without a row, unlabelled in the test folder.
        patient: number of the patient.
        scene: what the image shows.
        overlapping: whether the rows of this image share pixels.
        sex: M or F.
        age_years: as written, one value is implausible.
        pixel_spacing_mm: of rows and columns.
        uids: SOP instance, series and study.
        lateral_uid: SOP instance of the view from the side; empty without one.
    """

    index: int
    role: Role
    patient: int
    scene: Scene
    overlapping: bool
    sex: str
    age_years: int
    pixel_spacing_mm: float
    uids: tuple[str, str, str]
    lateral_uid: str = ""


def generator(params: PhantomParams, kind: Kind, number: int) -> np.random.Generator:
    """A fresh generator of its own for the cohort, a patient or an image: order and workers change nothing."""
    return np.random.default_rng(np.random.SeedSequence([params.seed, _ROLE_CODES[kind], number]))


@lru_cache(maxsize=4)
def plan_cohort(params: PhantomParams) -> tuple[Case, ...]:
    """Plan all images of a phantom set, in the order of their index."""
    rng = generator(params, "cohort", 0)
    training = params.images + params.unannotated_images
    total = training + params.unlabelled_images
    # Patients of the training folder are not those of the test folder.
    patients = np.concatenate([_patients(rng, params, training), np.arange(training, total) + total])
    scenes, overlapping = _scenes(rng, params, patients)
    positive = np.array([scene.area > 0 for scene in scenes])
    ages = _ages(rng, patients, positive)
    ages[int(np.flatnonzero(~positive[: params.images])[0])] = IMPLAUSIBLE_AGE_YEARS
    spacing = np.round(rng.uniform(0.139, 0.194, total), 3)
    lateral, anterior = _laterals(params, positive)
    cases = []
    for index, scene in enumerate(scenes):
        role: Role = "annotated" if index < params.images else "unannotated" if index < training else "unlabelled"
        cases.append(
            Case(
                index=index,
                role=role,
                patient=int(patients[index]),
                scene=replace(scene, anterior=True) if anterior[index] else scene,
                overlapping=bool(overlapping[index]),
                sex="F" if scene.female else "M",
                age_years=int(ages[index]),
                pixel_spacing_mm=float(spacing[index]),
                uids=_uids(params, role, index),
                lateral_uid=_lateral_uid(params, index) if lateral[index] and role != "unlabelled" else "",
            )
        )
    return tuple(cases)


def _scenes(
    rng: np.random.Generator, params: PhantomParams, patients: NDArray[np.int64]
) -> tuple[list[Scene], NDArray[np.bool_]]:
    """What each image shows, and whether its rows overlap."""
    total, hidden = len(patients), len(patients) - params.images
    positive = np.zeros(total, np.bool_)
    positive[rng.permutation(params.images)[: params.positives]] = True
    positive[params.images + rng.permutation(hidden)[: round(params.prevalence * hidden)]] = True
    areas, regions, overlapping = _lesions(rng, params, positive)
    # Sex and the side of the pneumothorax belong to the patient.
    owners, owner = np.unique(patients, return_inverse=True)
    female = _exact_share(rng, params.female_share, len(owners))[owner]
    sides = rng.choice([-1, 1], size=len(owners))[owner]
    frontal = _exact_share(rng, params.pa_share, total)
    tube = rng.random(total) < np.where(positive, params.chest_tube_share_positive, params.chest_tube_share_negative)
    confounder = rng.random(total) < params.confounder_share
    scenes = [
        Scene(
            female=bool(female[i]),
            view_position="PA" if frontal[i] else "AP",
            side=int(sides[i]),
            area=float(areas[i]),
            regions=int(regions[i]),
            chest_tube=bool(tube[i]),
            confounder=bool(confounder[i]),
        )
        for i in range(total)
    ]
    return scenes, overlapping


def _laterals(params: PhantomParams, positive: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images have a view from the side, and which of their pneumothoraces lie in front, where it shows them.

    Of a generator of its own: the other images are what they are without any.
    """
    rng = generator(params, "laterals", 0)
    draws = rng.random((2, len(positive)))
    lateral = draws[0] < params.lateral_share
    return lateral, lateral & positive & (draws[1] < params.anterior_share)


def _exact_share(rng: np.random.Generator, share: float, count: int) -> NDArray[np.bool_]:
    """round(share * count) of count at random places."""
    return rng.permutation(np.arange(count) < round(share * count))


def _patients(rng: np.random.Generator, params: PhantomParams, count: int) -> NDArray[np.int64]:
    """The patient of each of ``count`` images: most have one image, some two to six."""
    sizes: list[int] = []
    while sum(sizes) < count:
        several = rng.random() < params.several_image_patients_share
        sizes.append(int(rng.choice([2, 3, 4, 5, 6], p=[0.5, 0.25, 0.13, 0.07, 0.05])) if several else 1)
    owners = np.repeat(np.arange(len(sizes)), sizes)[:count]
    return rng.permutation(owners).astype(np.int64)


def _lesions(
    rng: np.random.Generator, params: PhantomParams, positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Areas (fractions of the image), number of regions and whether rows overlap; zeros where negative.

    Of the larger half some have two regions; at least one image has overlapping rows if any may.
    """
    areas, regions = np.zeros(len(positive)), np.ones(len(positive), np.int64)
    overlapping = np.zeros(len(positive), np.bool_)
    numbers = np.arange(len(positive))
    for where in (numbers[positive & (numbers < params.images)], numbers[positive & (numbers >= params.images)]):
        order = where[rng.permutation(len(where))]
        areas[order] = _areas(rng, params, len(where))
        larger = order[len(where) // 2 :]
        regions[rng.permutation(larger)[: round(params.two_region_share * len(where))]] = 2
        rows = params.overlapping_rows_share
        overlapping[rng.permutation(where)[: max(round(rows * len(where)), int(rows > 0))]] = True
    return areas, regions, overlapping


def _areas(rng: np.random.Generator, params: PhantomParams, count: int) -> NDArray[np.float64]:
    """A stratified log-normal sample in ascending order, fractions of the image: small and large ones in any set."""
    levels = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / max(count, 1)
    normal = statistics.NormalDist()
    deviations = np.array([normal.inv_cdf(float(level)) for level in levels])
    sizes = params.pneumothorax_median_area * np.exp(params.pneumothorax_log_sd * deviations)
    return np.clip(sizes, _SMALLEST_AREA, _LARGEST_AREA)


def _ages(rng: np.random.Generator, patients: NDArray[np.int64], positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Ages in years, one for each patient: primary spontaneous pneumothorax has its peak between 20 and 30."""
    ages = np.zeros(len(patients), np.int64)
    for patient in np.unique(patients):
        images = patients == patient
        young = positive[images].any() and rng.random() < 0.35
        age = rng.normal(25, 4) if young else rng.normal(48, 17)
        ages[images] = int(np.clip(round(age), 3, _OLDEST_YEARS))
    return ages


def _uids(params: PhantomParams, role: Role, index: int) -> tuple[str, str, str]:
    """SOP instance, series and study: UUID-derived UIDs (PS3.5 B.2), or the test folder's names and empty ids."""
    text = _text(params)
    digests = [hashlib.sha256(f"{text} {kind} {index}".encode()) for kind in ("sop", "series", "study")]
    if role == "unlabelled":
        return f"ID_{digests[0].hexdigest()[:9]}", "", ""
    sop, series, study = (f"2.25.{int(digest.hexdigest()[:32], 16)}" for digest in digests)
    return sop, series, study


def _lateral_uid(params: PhantomParams, index: int) -> str:
    return f"2.25.{int(hashlib.sha256(f'{_text(params)} lateral {index}'.encode()).hexdigest()[:32], 16)}"


def _text(params: PhantomParams) -> str:
    """What the UIDs are made of: what is written beside the images changes none of their names."""
    return params.model_dump_json(exclude={"lungs", "lateral_share", "anterior_share"})
