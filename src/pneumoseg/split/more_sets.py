"""Sets that are trained on beside the main one (data.more): which of their images may teach which fold.

Folds and test set are made of the main set alone. An image of another set stays out where the main set has the same
radiograph, and out of a fold where somebody whom it shows is also shown by an image that tests or validates. Who is
whom across sets is told by equal PatientIDs, by NIH file names in split.patient_map, and by radiographs that two sets
share, which tie all other images of both patients together. Copies between two sets of data.more are known by equal
pixels only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, METADATA, read_table
from pneumoseg.split.folds import EXCLUDED, TEST
from pneumoseg.split.patients import NIH_NAME, find_patients, nih_names
from pneumoseg.split.similarity import SIMILAR

#: How a radiograph of the main set is known, the surest first: equal SOPInstanceUID, split.patient_map, equal pixels,
#: the same small picture.
COPIES = ("id", "map", "pixels", "similar")

_UID = re.compile(r"\d+(\.\d+)+")


@dataclass(frozen=True)
class MoreSets:
    """The annotated images of all sets of data.more.

    Attributes:
        images: image_id (<set>/<id>), set, pneumothorax, mask_known, copy (of COPIES; empty: the main set lacks it),
            person; sorted by image_id.
        persons: of every image of the main set; equal numbers are one person, as far as is known.
    """

    images: pd.DataFrame
    persons: Mapping[str, int]

    def pool(self, table: pd.DataFrame, fold: int) -> pd.DataFrame:
        """Those that may teach a fold.

        Args:
            table: the main set's annotated images with image_id and fold.
            fold: the one that is left out.
        """
        return self.images[(self.images["copy"] == "") & ~self._judged(table, fold)]

    def describe(self, table: pd.DataFrame, folds: int) -> dict[str, Any]:
        """By set: its annotated images, copies of the main set's, and by fold those whose patient judges it."""
        found = {}
        for name, rows in self.images.groupby("set"):
            new = rows["copy"] == ""
            found[str(name)] = {
                "images": len(rows),
                "positives": int(rows["pneumothorax"].sum()),
                "label_only": int((rows["mask_known"] == 0).sum()),
                "copies_of_main": {reason: int((rows["copy"] == reason).sum()) for reason in COPIES},
                "patients_who_judge": {
                    f"fold{fold}": int((new & self._judged(table, fold)[rows.index]).sum()) for fold in range(folds)
                },
            }
        return found

    def warnings(self, table: pd.DataFrame, folds: int) -> list[str]:
        """What a person should know of the sets, in words."""
        told = []
        for name, counts in self.describe(table, folds).items():
            copies = {reason: count for reason, count in counts["copies_of_main"].items() if count}
            if copies:
                by = ", ".join(f"{count} by {reason}" for reason, count in copies.items())
                told.append(
                    f"data.more.{name}: {sum(copies.values())} of its {counts['images']} annotated images are "
                    f"radiographs of data.root ({by}), as NIH ChestX-ray14 holds those of SIIM-ACR under other names; "
                    "they are left out, what data.root says of them counts"
                )
            most = max(counts["patients_who_judge"].values())
            if most:
                told.append(
                    f"data.more.{name}: up to {most} further images are left out of a fold, since their patient is in "
                    "its validation images or in the test set"
                )
        inside = table[table["fold"] != EXCLUDED]
        parts = inside.groupby(inside["image_id"].map(self.persons))["fold"].nunique()
        if (parts > 1).any():
            told.append(
                f"by data.more, {int((parts > 1).sum())} patients have images in several parts of the split, since "
                "data.root knows each of them under several ids; a split.patient_map keeps them together"
            )
        return told

    def _judged(self, table: pd.DataFrame, fold: int) -> pd.Series[bool]:
        judges = table.loc[table["fold"].isin([TEST, EXCLUDED, str(fold)]), "image_id"]
        return self.images["person"].isin({self.persons[image_id] for image_id in judges})


def find_more(layout: Layout, names: Sequence[str], patients: Mapping[str, str], map_path: Path | None) -> MoreSets:
    """Read the sets, and find out who is whom.

    Args:
        layout: of the main set.
        names: of data.more, at least one.
        patients: the patient of each image of the main set.
        map_path: split.patient_map; None: there is none.

    Raises:
        DataError: a table is missing or damaged.
    """
    nih = nih_names(map_path)
    main = _with_person(read_table(layout.metadata, METADATA), patients)
    main["nih"] = [nih.get(image_id, "") for image_id in main["image_id"]]
    sets = [_read_set(layout.more(name), main) for name in names]
    rows = pd.concat([main, *(images for images, _ in sets)], ignore_index=True)
    node = dict(zip(rows["image_id"], rows["person"], strict=True))
    ties = [(node[one], node[other]) for _, pairs in sets for one, other in pairs if other in node]
    clues = {"pixels": rows["pixels_sha256"], "patient": rows["known"], "nih": rows["nih"].str[:8]}
    for kind, values in clues.items():
        ties += [(one, f"{kind} {value}") for one, value in zip(rows["person"], values, strict=True) if value]
    person = _joined(rows["person"], ties)
    images = pd.concat([images for images, _ in sets])
    images = images[images["annotated"] == 1].astype({"pneumothorax": "int64"})
    images["person"] = images["person"].map(person)
    columns = ["image_id", "set", "pneumothorax", "mask_known", "copy", "person"]
    return MoreSets(
        images[columns].sort_values("image_id", ignore_index=True),
        {image_id: person[node[image_id]] for image_id in main["image_id"]},
    )


def _with_person(frame: pd.DataFrame, patients: Mapping[str, str]) -> pd.DataFrame:
    """With the patient's name, and with the PatientID by which other sets may know the patient, empty where unknown.

    Every set of phantoms counts its patients from the start, so theirs tell nothing.
    """
    person = frame["image_id"].map(patients)
    unknown = (person != frame["patient_id"]) | frame["phantom"].eq(1).fillna(value=False)
    return frame.assign(person=person, known=frame["patient_id"].mask(unknown, ""))


def _read_set(part: Layout, main: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The images of a set, annotated or not, with what tells them apart; and pairs with images of the main set."""
    told = read_table(part.annotations, ANNOTATIONS)[["image_id", "annotated", "pneumothorax", "mask_known"]]
    metadata = read_table(part.metadata, METADATA)
    frame = _with_person(metadata, find_patients(metadata, None).of_image).merge(told, on="image_id")
    similar = read_table(part.similar, SIMILAR)
    own = frame["image_id"]
    match = own.str.extract(NIH_NAME)
    frame["nih"] = (match[0] + match[1]).fillna("")
    by = {
        "id": own.isin(main["image_id"]) & own.str.fullmatch(_UID),
        "map": frame["nih"].isin(set(main["nih"]) - {""}),
        "pixels": frame["pixels_sha256"].isin(set(main["pixels_sha256"]) - {""}),
        "similar": own.isin(similar["image_id"]),
    }
    frame["copy"] = np.select([by[reason] for reason in COPIES], COPIES, "")
    pairs = [(name, name) for name in own[by["id"]]]
    pairs += zip(similar["image_id"], similar["other_image_id"], strict=True)
    name = f"{part.site}/"
    frame = frame.assign(image_id=name + own, person=name + frame["person"], set=part.site)
    return frame, [(name + one, other) for one, other in pairs]


def _joined(nodes: Iterable[str], ties: Sequence[tuple[str, str]]) -> dict[str, int]:
    """A number for each node, the same for nodes that ties join, directly or not."""
    ends = pd.unique(np.array([*nodes, *(end for tie in ties for end in tie)], dtype=object))
    place = {name: index for index, name in enumerate(ends)}
    one, other = (np.array([place[tie[side]] for tie in ties], np.int64) for side in (0, 1))
    graph = coo_array((np.ones(len(ties), np.int8), (one, other)), shape=(len(ends), len(ends)))
    return dict(zip(ends, connected_components(graph, directed=False)[1].tolist(), strict=True))
