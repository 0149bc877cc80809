"""No image is judged by a network that has seen its patient: networks that predict together share one split.

Which images a training may learn from is written in two files of data/splits: the folds, and the images without
annotation. Where both are this run's, byte for byte, a member's network of fold k has seen exactly what this run's has,
and judges the images of fold k and of the test set as fairly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage, md5_of

FOLDS_FILE = "folds.csv"


@dataclass(frozen=True)
class TrainedOn:
    """What a network of one fold was trained on.

    Attributes:
        folds: MD5 of folds.csv.
        unlabelled: MD5 of unlabelled_fold<k>.csv; None where it learnt from no image without annotation.
    """

    folds: str | None
    unlabelled: str | None


def trained_on_locked(stages: Mapping[str, LockedStage], fold: int) -> TrainedOn:
    """As dvc.lock says."""
    deps = stages[f"train@{fold}"].deps
    return TrainedOn(deps.get(f"data/splits/{FOLDS_FILE}"), deps.get(f"data/splits/{_unlabelled_file(fold)}"))


def trained_on_files(folder: Path, fold: int) -> TrainedOn:
    """As the files in a folder, such as data/splits, say."""
    folds, unlabelled = folder / FOLDS_FILE, folder / _unlabelled_file(fold)
    return TrainedOn(md5_of(folds) if folds.is_file() else None, md5_of(unlabelled) if unlabelled.is_file() else None)


def check_same_split(member: Mapping[int, TrainedOn], splits: Path, train_folds: Sequence[int]) -> None:
    """Refuse networks that may have seen an image, or its patient, that they would judge.

    What changes the files in ``splits`` trains this run's networks anew, so DVC need not watch them for predict too.

    Args:
        member: by the fold that a network left out.
        splits: data/splits of this run.
        train_folds: the folds whose validation images have to be predicted.

    Raises:
        DataError: names the file that differs, or the fold that is not there.
    """
    for fold, theirs in sorted(member.items()):
        ours = trained_on_files(splits, fold)
        differing = FOLDS_FILE if theirs.folds != ours.folds else _unlabelled_file(fold)
        if theirs.folds != ours.folds or theirs.unlabelled not in (None, ours.unlabelled):
            raise DataError(
                f"its network of fold {fold} was trained on another {differing} than {splits / differing}, so it may "
                "have seen images, or patients, that it would judge. Take an experiment on the same split (same data, "
                "sections split and masks alike), train it again on this one, or leave it out"
            )
    lacking = sorted(set(train_folds) - member.keys())
    if lacking:
        raise DataError(
            f"it has no network that left fold {lacking[0]} out (it has {', '.join(map(str, sorted(member)))}), so "
            "nobody may predict the validation images of that fold; train that fold there too (split.train_folds), or "
            "leave it out"
        )


def _unlabelled_file(fold: int) -> str:
    return f"unlabelled_fold{fold}.csv"
