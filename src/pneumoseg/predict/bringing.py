"""Networks of another revision or experiment, copied from DVC's local cache."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoseg.predict.same_split import check_same_split, trained_on_locked
from pneumoseg.revisions import Revision, Snapshot, resolve
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage, md5_of


def bring(root: Path, name: str, splits: Path, train_folds: Sequence[int]) -> tuple[Revision, dict[int, Path]]:
    """Copy the networks of a revision into data/members/; what lies there already, whole, is not copied again.

    Args:
        root: the repository; its parent's where DVC runs the stage in a temporary copy.
        name: anything git can name, or an experiment.
        splits: data/splits of this run.
        train_folds: of this run.

    Returns:
        The revision, and its model folders by the fold that they left out.

    Raises:
        DataError: no such revision; nothing trained in it, or on another split; or DVC's cache lacks a file.
    """
    try:
        revision = resolve(root, name)
    except DataError as error:
        raise DataError(f"{error} (nor is it a folder with fold0/, fold1/ … as in data/models)") from None
    snapshot = Snapshot(root, revision.sha)
    folds = trained_folds(snapshot.stages)
    if not folds:
        raise DataError(f"its dvc.lock ({revision.sha[:10]}) records no trained network; run it (dvc repro)")
    check_same_split({fold: trained_on_locked(snapshot.stages, fold) for fold in folds}, splits, train_folds)
    files: dict[str, str] = {}
    for fold in folds:
        held = snapshot.files_in(f"data/models/fold{fold}", snapshot.stages[f"train@{fold}"].outs)
        if not held:
            raise _not_cached(revision, f"data/models/fold{fold}")
        files |= held
    folder = root / "data" / "members" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('.-')}-{revision.sha[:10]}"
    if not _is_whole(folder, files):
        _copy(snapshot, revision, files, folder)
    return revision, {fold: folder / f"data/models/fold{fold}" for fold in folds}


def trained_folds(stages: Mapping[str, LockedStage]) -> list[int]:
    """The folds that predict last used; dvc.lock also keeps trainings of folds that were dropped since."""
    if "predict" in stages:
        folds: Any = stages["predict"].params.get("split.train_folds", ())
        return sorted(fold for fold in folds if f"train@{fold}" in stages)
    return sorted(int(name.removeprefix("train@")) for name in stages if name.startswith("train@"))


def _is_whole(folder: Path, wanted: Mapping[str, str]) -> bool:
    return all((folder / path).is_file() and md5_of(folder / path) == md5 for path, md5 in wanted.items())


def _copy(snapshot: Snapshot, revision: Revision, wanted: Mapping[str, str], folder: Path) -> None:
    """Copy files beside ``folder``; they take its place when they are whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bringing-") as temporary:
        target = Path(temporary) / "files"
        lacking = snapshot.export(sorted(wanted), target)
        if lacking:
            raise _not_cached(revision, lacking[0])
        if not _is_whole(target, wanted):
            raise DataError(f"DVC's cache holds damaged files of {revision.sha[:10]}; run dvc fetch again")
        shutil.rmtree(folder, ignore_errors=True)
        target.replace(folder)


def _not_cached(revision: Revision, path: str) -> DataError:
    way = f"dvc exp pull REMOTE {revision.experiment}" if revision.experiment else "dvc fetch --all-commits"
    return DataError(
        f"{path} of {revision.sha[:10]} is not in DVC's cache; get it ({way}), or make it again there (dvc repro)"
    )
