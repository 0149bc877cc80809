"""predict.members: the networks of other experiments that predict along."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.config.predict import MemberParams
from pneumoseg.predict.bringing import bring
from pneumoseg.predict.same_split import FOLDS_FILE, check_same_split, trained_on_files, trained_on_locked
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.lockfile import read_lock

_FOLD = re.compile(r"fold(0|[1-9]\d*)")


@dataclass(frozen=True)
class Member:
    """One of predict.members, found: its networks may predict what this run's may."""

    params: MemberParams
    folders: Mapping[int, Path]  # trained fold → model folder
    sha: str | None = None
    experiment: str | None = None

    @property
    def name(self) -> str:
        """Its source, without the folders of an absolute path, which tell of one machine."""
        path = Path(self.params.source)
        return f"…/{path.name}" if path.is_absolute() else self.params.source

    @contextmanager
    def told(self) -> Iterator[None]:
        """Put its name before what is wrong with it."""
        try:
            yield
        except (DataError, ParameterError) as error:
            text = str(error).removeprefix(f"{self.name}: ")
            raise type(error)(f"predict.members, {self.name}: {text}") from None


def find_member(entry: MemberParams, root: Path, splits: Path, train_folds: Sequence[int]) -> Member:
    """Find the networks of an entry; those of a revision are copied.

    Args:
        entry: of predict.members.
        root: the repository that revisions come from.
        splits: data/splits of this run.
        train_folds: of this run.

    Raises:
        DataError: the source is not there, has no network, or was trained on another split.
    """
    with Member(entry, {}).told():
        for folder in (Path(entry.source), root / entry.source):
            folders = _folds_in(folder)
            if folders:
                _check_folder(folder, folders, splits, train_folds)
                return Member(entry, folders)
        if Path(entry.source).is_absolute():
            raise DataError("no such folder with fold0/, fold1/ … as in data/models")
        revision, folders = bring(root, entry.source, splits, train_folds)
        return Member(entry, folders, revision.sha, revision.experiment)


def _folds_in(folder: Path) -> dict[int, Path]:
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, _FOLD.fullmatch(path.name)) for path in inside if path.is_dir()]
    return {int(match.group(1)): path for path, match in matches if match}


def _check_folder(folder: Path, folds: Mapping[int, Path], splits: Path, train_folds: Sequence[int]) -> None:
    """Check the split of networks in a folder: its files lie beside them, or dvc.lock of their checkout names them."""
    stages = {} if (folder / FOLDS_FILE).is_file() else read_lock(folder.parent.parent)
    unknown = [fold for fold in folds if not (folder / FOLDS_FILE).is_file() and f"train@{fold}" not in stages]
    if unknown:
        raise DataError(
            f"nobody can tell which images the network of fold {unknown[0]} was trained on: put the {FOLDS_FILE} (and "
            f"unlabelled_fold<k>.csv) of its data/splits into {folder}"
        )
    seen = {fold: trained_on_locked(stages, fold) if stages else trained_on_files(folder, fold) for fold in folds}
    check_same_split(seen, splits, train_folds)
