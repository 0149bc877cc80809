"""Networks of another revision or experiment, copied from DVC's local cache, with the split they were trained on."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage, md5_of

FOLDS_CSV = "data/splits/folds.csv"


class Revision(Protocol):
    """A commit, with the experiment it holds if it holds one."""

    @property
    def sha(self) -> str:
        """Of the commit."""

    @property
    def experiment(self) -> str | None:
        """Its name."""


class Revisions(Protocol):
    """What pneumoseg.shared.revisions gives; handed in from above, since this room stands below it."""

    def resolve(self, root: Path, name: str) -> Revision:
        """Find the commit of a git revision or of an experiment."""

    def lock(self, root: Path, sha: str | None) -> Mapping[str, LockedStage]:
        """dvc.lock of a commit."""

    def recorded(self, root: Path, sha: str | None, path: str) -> Mapping[str, str] | None:
        """Files of an output by their MD5; None where DVC's cache cannot tell."""

    def export(self, root: Path, sha: str | None, paths: Sequence[str], target: Path) -> list[str]:
        """Copy files of a commit; returns what could not be had."""


@dataclass(frozen=True)
class Repository:
    """Where predict keeps what outlives it.

    Attributes:
        root: fingerprints.project_root(): .resume/ and data/members/ lie there, also when DVC runs the stage in a
            temporary copy, whose experiments are those of this repository.
        code: fingerprints.stage_code of the stage: an unfinished prediction goes on with the same code only.
        revisions: the module pneumoseg.shared.revisions.
    """

    root: Path
    code: str
    revisions: Revisions


@dataclass(frozen=True)
class Brought:
    """A revision's networks in a folder."""

    sha: str
    experiment: str | None
    folders: Mapping[int, Path]  # trained fold → model folder
    folds_csv: Path


def bring(repository: Repository, name: str) -> Brought:
    """Copy the networks of a revision, and the split they were trained on, into data/members/ of the repository.

    What lies there already, whole, is not copied again.

    Raises:
        DataError: no such revision; nothing trained in it; DVC's cache lacks a file; or its networks were trained on
            another split than it records.
    """
    root, revisions = repository.root, repository.revisions
    try:
        revision = revisions.resolve(root, name)
    except DataError as error:
        raise DataError(f"{error} (nor is it a folder with fold0/, fold1/ … as in data/models)") from None
    stages = revisions.lock(root, revision.sha)
    folds = _trained_folds(stages)
    if not folds:
        raise DataError(f"{name}: its dvc.lock ({revision.sha[:10]}) records no trained network; run it (dvc repro)")
    models = {fold: f"data/models/fold{fold}" for fold in folds}
    files: dict[str, str] = {}
    for path in (*models.values(), "data/splits"):
        recorded = revisions.recorded(root, revision.sha, path)
        if not recorded:
            raise _not_cached(name, revision, path)
        files |= recorded
    check_split(name, stages, folds, files.get(FOLDS_CSV))
    lists = {f"data/splits/unlabelled_fold{fold}.csv" for fold in folds}
    wanted = {
        path: md5
        for path, md5 in files.items()
        if not path.startswith("data/splits/") or path == FOLDS_CSV or path in lists
    }
    folder = root / "data" / "members" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('.-')}-{revision.sha[:10]}"
    if not _is_whole(folder, wanted):
        _copy(repository, name, revision, wanted, folder)
    folders = {fold: folder / path for fold, path in models.items()}
    return Brought(revision.sha, revision.experiment, folders, folder / FOLDS_CSV)


def _trained_folds(stages: Mapping[str, LockedStage]) -> list[int]:
    """The folds that predict last used; dvc.lock also keeps trainings of folds that were dropped since."""
    if "predict" in stages:
        folds: Any = stages["predict"].params.get("split.train_folds", ())
        return sorted(fold for fold in folds if f"train@{fold}" in stages)
    return sorted(int(name.removeprefix("train@")) for name in stages if name.startswith("train@"))


def check_split(where: str, stages: Mapping[str, LockedStage], folds: Iterable[int], folds_md5: str | None) -> None:
    """Refuse networks that were trained on another folds.csv than the one at hand.

    Raises:
        DataError: the split ran again and the training did not.
    """
    for fold in folds:
        stage = stages.get(f"train@{fold}")
        if stage is not None and stage.deps.get(FOLDS_CSV) != folds_md5:
            raise DataError(
                f"{where}: fold {fold} was trained on another {FOLDS_CSV} than the one there now, so nobody can tell "
                "which images its network has seen; run dvc repro there, or leave this member out"
            )


def _is_whole(folder: Path, wanted: Mapping[str, str]) -> bool:
    return all((folder / path).is_file() and md5_of(folder / path) == md5 for path, md5 in wanted.items())


def _copy(repository: Repository, name: str, revision: Revision, wanted: Mapping[str, str], folder: Path) -> None:
    """Copy files beside ``folder``; they take its place when they are whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".bringing-") as temporary:
        target = Path(temporary) / "files"
        lacking = repository.revisions.export(repository.root, revision.sha, sorted(wanted), target)
        if lacking:
            raise _not_cached(name, revision, lacking[0])
        if not _is_whole(target, wanted):
            raise DataError(f"{name}: DVC's cache holds damaged files of {revision.sha[:10]}; run dvc fetch again")
        shutil.rmtree(folder, ignore_errors=True)
        target.replace(folder)


def _not_cached(name: str, revision: Revision, path: str) -> DataError:
    way = f"dvc exp pull REMOTE {revision.experiment}" if revision.experiment else "dvc fetch --all-commits"
    return DataError(
        f"{name}: {path} of {revision.sha[:10]} is not in DVC's cache; get it ({way}), or make it again "
        "there (dvc repro)"
    )
