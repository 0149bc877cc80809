"""Who predicts what: validation images by the networks that never saw them or their patients, the rest by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from pneumoseg.predict.seen_images import TEST, Judges
from pneumoseg.shared.errors import DataError


@dataclass(frozen=True)
class Task:
    """Images that the same networks predict into the same folder."""

    name: str  # validation, test or unlabelled
    fold: str  # the fold whose images they are; test; or empty for unlabelled
    members: tuple[int, ...]  # folds of this run whose networks predict them
    image_ids: tuple[str, ...]
    others: tuple[tuple[int, ...], ...] = ()  # for each of predict.members, the folds whose networks predict them


@dataclass(frozen=True)
class Panel:
    """What planning must know of one of predict.members."""

    name: str
    trained: tuple[int, ...]
    judges: Judges


def plan(folds: pd.DataFrame, unlabelled: Sequence[str], train_folds: Sequence[int]) -> list[Task]:
    """Who predicts what: no network ever sees an image that it was trained on, nor one of the same patient.

    Annotated images that split leaves out of every fold (of patients in a given test list) are not predicted.
    """
    every = tuple(train_folds)
    tasks = [
        Task("validation", str(fold), (fold,), tuple(sorted(folds.loc[folds["fold"] == str(fold), "image_id"])))
        for fold in train_folds
    ]
    tasks.append(Task("test", TEST, every, tuple(sorted(folds.loc[folds["fold"] == TEST, "image_id"]))))
    tasks.append(Task("unlabelled", "", every, tuple(unlabelled)))
    return [task for task in tasks if task.image_ids]


def assign(tasks: Sequence[Task], panels: Sequence[Panel]) -> list[Task]:
    """Add the networks of members; a task is divided where they are not the same for all its images.

    No figure is measured on images without annotation: all networks predict them.

    Raises:
        DataError: a member has no network that may predict an image.
    """
    assigned = []
    for task in tasks:
        alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
        chosen = [_choose(task, panel) for panel in panels]
        for number, image_id in enumerate(task.image_ids):
            alike.setdefault(tuple(folds[number] for folds in chosen), []).append(image_id)
        assigned += [replace(task, image_ids=tuple(ids), others=others) for others, ids in alike.items()]
    return assigned


def _choose(task: Task, panel: Panel) -> list[tuple[int, ...]]:
    """For each image of a task the folds of a member whose networks predict it."""
    if task.name == "unlabelled":
        return [panel.trained] * len(task.image_ids)
    tested = task.name == "test"
    chosen = [panel.judges.of(image_id, tested=tested) for image_id in task.image_ids]
    refused = [image_id for image_id, folds in zip(task.image_ids, chosen, strict=True) if not folds]
    if refused:
        which = "test images" if tested else f"validation images of fold {task.fold}"
        raise DataError(
            f"predict.members: {panel.name} may not predict {len(refused)} of {len(task.image_ids)} {which}, for "
            f"example {refused[0]}: {panel.judges.why_none(refused[0], tested=tested)}. Figures would be those of "
            "images already seen. Take a member of the same split (data, sections split and masks alike, and "
            "split.train_folds with all folds of this run), or leave it out"
        )
    return chosen
