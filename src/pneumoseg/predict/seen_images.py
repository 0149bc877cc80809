"""Which images an experiment's networks may have learnt from, and which of them may therefore judge an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pneumoseg.shared.tables import FOLDS, METADATA, UNLABELLED, read_table

TEST = "test"


@dataclass(frozen=True)
class Pool:
    """The split that an experiment's networks were trained on.

    Attributes:
        parts: image id → ``test`` or the fold that the image belongs to.
        patients: image id → its patient, where the table gives one.
        unlabelled: fold left out → images without annotation that its network may have learnt from.
    """

    parts: Mapping[str, str]
    patients: Mapping[str, str]
    unlabelled: Mapping[int, frozenset[str]]


def read_pool(folds_csv: Path, folds: Iterable[int]) -> Pool:
    """Read folds.csv, and beside it unlabelled_fold<k>.csv where there is one.

    Without such a file no image without annotation was learnt from: training reads it for that.

    Raises:
        DataError: a table is missing or damaged.
    """
    table = read_table(folds_csv, FOLDS)
    lists = {fold: folds_csv.with_name(f"unlabelled_fold{fold}.csv") for fold in folds}
    unlabelled = {
        fold: frozenset(read_table(path, UNLABELLED)["image_id"]) for fold, path in lists.items() if path.is_file()
    }
    return Pool(dict(zip(table["image_id"], table["fold"], strict=True)), patients_of(table, "patient"), unlabelled)


def known_patients(folds_csv: Path, metadata_csv: Path) -> dict[str, str]:
    """The patient of each image of this run.

    Images without annotation are not in folds.csv. PatientID of the metadata tells their patient only where the split
    goes by it; beside a table of patients it may be a fresh number for every image, or one for all.
    """
    table = read_table(folds_csv, FOLDS)
    described = patients_of(read_table(metadata_csv, METADATA), "patient_id")
    patients = patients_of(table, "patient")
    if all(patients.get(image, "") in (described[image], "") for image in described.keys() & set(table["image_id"])):
        return described | patients
    return patients


def patients_of(table: pd.DataFrame, column: str) -> dict[str, str]:
    """Image id → patient for the rows of a table that name one."""
    named = table[table[column] != ""]
    return dict(zip(named["image_id"], named[column], strict=True))


class Families:
    """Images joined by a common patient in any of several tables: whoever saw one of them has seen the patient.

    Two tables may divide patients differently (PatientID in one, a table of the user's in the other), so that families
    are the connected parts of both together. A patient called ``image:ID`` is that of image ID.
    """

    def __init__(self, *tables: Mapping[str, str]) -> None:
        """Join the images of tables image id → patient."""
        self._above: dict[tuple[str, str], tuple[str, str]] = {}
        for table in tables:
            for image, patient in table.items():
                self._join(("image", image), ("patient", patient))
                if patient.startswith("image:"):
                    self._join(("patient", patient), ("image", patient.removeprefix("image:")))

    def of(self, image: str) -> tuple[str, str]:
        """What stands for the image's family: equal for two images of one."""
        return self._find(("image", image))

    def _find(self, node: tuple[str, str]) -> tuple[str, str]:
        while (above := self._above.get(node, node)) != node:
            self._above[node] = self._above.get(above, above)  # halves the path
            node = above
        return node

    def _join(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        self._above[self._find(one)] = self._find(other)


class Judges:
    """Which networks of a member have not seen an image, nor another one of its patient."""

    def __init__(self, pool: Pool, trained: Iterable[int], families: Families) -> None:
        """Note for each family in which folds of the member's split it is.

        Args:
            pool: of the member.
            trained: the folds that the member has networks for.
            families: of this run and the member together.
        """
        self._trained = tuple(sorted(trained))
        self._families = families
        self._folds: dict[tuple[str, str], set[str]] = {}
        for image, part in pool.parts.items():
            self._folds.setdefault(families.of(image), set()).add(part)
        self._unlabelled: dict[tuple[str, str], set[int]] = {}
        for fold in self._trained:
            for image in pool.unlabelled.get(fold, ()):
                self._unlabelled.setdefault(families.of(image), set()).add(fold)

    def of(self, image: str, *, tested: bool) -> tuple[int, ...]:
        """The folds whose networks may predict an image on which something is measured.

        The network that left out fold j has seen every other fold. It has not learnt from fold j, but its epoch was
        chosen on it: that is what validation images are for, in this run too, whereas a test image must not have
        served for anything. So ``tested`` asks that the member left the whole family out, and then all its networks
        may; else none.
        """
        family = self._families.of(image)
        folds = self._folds.get(family, set()) - {TEST}
        unlabelled = self._unlabelled.get(family, set())
        if tested:
            return () if folds or unlabelled else self._trained
        return tuple(fold for fold in self._trained if folds <= {str(fold)} and fold not in unlabelled)

    def why_none(self, image: str, *, tested: bool) -> str:
        """Why no network may predict an image, in words that go on from its name."""
        family = self._families.of(image)
        folds = sorted(self._folds.get(family, set()) - {TEST})
        trained = ", ".join(map(str, self._trained))
        if not folds:
            return "it, or another image of its patient, is among the images without annotation that it may learn from"
        where = f"it, or another image of its patient, is in fold {' and '.join(folds)} of that split"
        if tested:
            return f"{where}, so networks learnt from it or were chosen on it"
        if len(folds) > 1:
            return f"{where}, so every network learnt from one of them"
        if folds[0] not in map(str, self._trained):
            return f"{where}, and the member has no network that left fold {folds[0]} out (it has {trained})"
        return f"{where}, and the network that left it out may have learnt from it without annotation"
