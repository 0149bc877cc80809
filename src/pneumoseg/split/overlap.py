"""Which images of an external set are no strangers: the same radiograph, or the same patient, is in data.root too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import FOLDS, METADATA, read_table
from pneumoseg.split.patients import NIH_NAME, find_patients, nih_names
from pneumoseg.split.similarity import SIMILAR

#: How an image is known, the surest first: equal SOPInstanceUID, equal NIH file name (split.patient_map), equal pixels,
#: the same small picture, equal PatientID or NIH number of the patient.
REASONS: Final = ("id", "map", "pixels", "similar", "patient")
#: What the image of data.root is for, the gravest first: networks learnt from it, or epoch and rule were chosen on it;
#: it has no annotation or split left it out; it is a test image.
PARTS: Final = ("training", "other", "test")


def find_shared(site: Layout, more: Sequence[str] = (), map_path: Path | None = None) -> pd.DataFrame:
    """The set's annotated images that data.root or a set of data.more has too, or whose patient is there.

    Patients are compared by the keyed hash of their PatientID, so where a set has new numbers for old patients they
    cannot be known again, and two hospitals that number alike seem to share them; those of NIH ChestX-ray14 by the
    file names that a map gives the images of data.root, as SIIM-ACR has fresh numbers for them. Phantoms' numbers are
    left out of this: every set of phantoms counts from the start.

    Args:
        site: the set, extracted; it is compared with the main set of its layout.
        more: names of data.more; every image there counts as one of training.
        map_path: split.patient_map; None: there is none.

    Returns:
        Columns image_id, reason (of REASONS), part (of PARTS): for each such image its gravest part, and for that the
        surest reason; sorted by image_id.
    """
    nih = nih_names(map_path)
    mine, theirs = (_described(layout) for layout in (site, site.main))
    theirs["nih"] = [nih.get(image_id, name) for image_id, name in zip(theirs["image_id"], theirs["nih"], strict=True)]
    mine = mine[mine["image_id"].isin(read_table(site.folds, FOLDS)["image_id"])]
    folds = read_table(site.main.folds, FOLDS).set_index("image_id")["fold"]
    theirs["part"] = [
        "other" if fold is None else "test" if fold == "test" else "training"
        for fold in map(folds.to_dict().get, theirs["image_id"])
    ]
    for name in more:
        beside = _described(site.more(name))
        theirs = pd.concat([theirs, beside.assign(image_id=f"{name}/" + beside["image_id"], part="training")])
    mine, theirs = (frame.assign(nih_patient=frame["nih"].str[:8]) for frame in (mine, theirs))
    part = dict(zip(theirs["image_id"], theirs["part"], strict=True))
    similar = read_table(site.similar, SIMILAR)
    pairs = {
        "id": [(image_id, part[image_id]) for image_id in mine["image_id"] if image_id in part],
        "map": _equal(mine, theirs, "nih"),
        "pixels": _equal(mine, theirs, "pixels_sha256"),
        "similar": [
            (image_id, part[other])
            for image_id, other in zip(similar["image_id"], similar["other_image_id"], strict=True)
            if other in part
        ],
        "patient": [
            pair
            for column in ("patient", "nih_patient")
            for pair in _equal(mine[mine["phantom"] != 1], theirs[theirs["phantom"] != 1], column)
        ],
    }
    found: dict[str, tuple[int, int]] = {}
    for reason, images in pairs.items():
        for image_id, place in images:
            rank = (PARTS.index(place), REASONS.index(reason))
            found[image_id] = min(found.get(image_id, rank), rank)
    rows = [(image_id, REASONS[reason], PARTS[place]) for image_id, (place, reason) in sorted(found.items())]
    return pd.DataFrame(rows, columns=["image_id", "reason", "part"])


def _described(layout: Layout) -> pd.DataFrame:
    """The images of a set with their patients, and NIH's name where that is their id.

    A placeholder PatientID of both sets is none that they share.
    """
    described = read_table(layout.metadata, METADATA)
    name = described["image_id"].str.extract(NIH_NAME)
    patient = described["image_id"].map(find_patients(described, None).of_image)
    return described.assign(patient=patient, nih=(name[0] + name[1]).fillna(""))


def _equal(mine: pd.DataFrame, theirs: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """Image id of the set and part of data.root for equal values of a column; an empty one is no value."""
    places = theirs.loc[theirs[column] != "", [column, "part"]].drop_duplicates()
    joined = mine.merge(places, on=column)
    return list(zip(joined["image_id"], joined["part"], strict=True))
