"""Who predicts what: validation images by the network that left their fold out, all others by every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, laterals, read_table

T = TypeVar("T")
#: The folders of data/predictions.
SETS = ("validation", "test", "unlabelled")


@dataclass(frozen=True)
class Task:
    """Images that the same networks predict into the same folder."""

    name: str  # one of SETS
    fold: str  # the fold whose images they are; test; or empty for unlabelled
    image_ids: tuple[str, ...]

    def choose(self, networks: Mapping[int, Sequence[T]]) -> tuple[T, ...]:
        """Those of an experiment's networks, by the fold that they left out, which may predict these images."""
        folds = [int(self.fold)] if self.name == "validation" else sorted(networks)
        return tuple(network for fold in folds for network in networks[fold])


def plan(layout: Layout, train_folds: Sequence[int]) -> list[Task]:
    """The images of a set that have to be predicted, by name.

    Annotated images that split leaves out of every fold (of patients in a given test list) are not predicted; nor are
    images from the side, and those without annotation of an external set, unless none has one.
    """
    folds = read_table(layout.folds, FOLDS)
    images = folds.sort_values("image_id").groupby("fold")["image_id"].agg(tuple).to_dict()
    tasks = [Task("validation", str(fold), images.get(str(fold), ())) for fold in train_folds]
    tasks.append(Task("test", "test", images.get("test", ())))
    if layout.site is None:
        annotations = read_table(layout.annotations, ANNOTATIONS)
        unlabelled = sorted(set(annotations.loc[annotations["annotated"] == 0, "image_id"]) - laterals(annotations))
        tasks.append(Task("unlabelled", "", tuple(unlabelled)))
    elif folds.empty:
        tasks.append(Task("unlabelled", "", tuple(sorted(read_table(layout.metadata, METADATA)["image_id"]))))
    return [task for task in tasks if task.image_ids]
