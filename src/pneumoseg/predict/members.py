"""predict.members: the networks of other experiments, and what predictions record of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoseg.config.predict import MemberParams, PredictParams
from pneumoseg.networks.storage import SPEC_FILE
from pneumoseg.networks.weights import WEIGHTS_FILE
from pneumoseg.predict.bringing import Repository, bring, check_split
from pneumoseg.predict.runner import Network, load_networks, model_folders
from pneumoseg.predict.seen_images import Pool, read_pool
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import digest_files, read_json
from pneumoseg.shared.lockfile import md5_of, read_lock

logger = logging.getLogger(__name__)

_FOLD = re.compile(r"fold(0|[1-9]\d*)")


@dataclass(frozen=True)
class Own:
    """This run's networks, and the split they were trained on."""

    folders: Mapping[int, Path]  # trained fold → model folder
    folds_csv: Path


@dataclass(frozen=True)
class Member:
    """One of predict.members, found."""

    params: MemberParams
    name: str  # source without the folders of an absolute path, which tell of one machine
    sha: str | None
    experiment: str | None
    folders: Mapping[int, Path]
    pool: Pool


def find_members(entries: Sequence[MemberParams], own: Own, repository: Repository | None) -> tuple[Member, ...]:
    """Find the networks of each entry and what they were trained on; copies those of revisions.

    Args:
        entries: predict.members.
        own: this run's networks.
        repository: where revisions come from; None: only folders can be members.

    Raises:
        DataError: a source is not there, has no network, or nobody can tell what its networks were trained on.
    """
    return tuple(_find(entry, own, repository) for entry in entries)


def _find(entry: MemberParams, own: Own, repository: Repository | None) -> Member:
    name = f"…/{Path(entry.source).name}" if Path(entry.source).is_absolute() else entry.source
    with _told(name):
        bases = [Path()] if repository is None else [Path(), repository.root]
        for folder in (base / entry.source for base in bases):
            folds = _folds_in(folder)
            if folds:
                pool = read_pool(_table_of(folder, folds, own), folds)
                return Member(entry, name, None, None, folds, pool)
        if repository is None or Path(entry.source).is_absolute():
            raise DataError("no such folder with fold0/, fold1/ … as in data/models")
        brought = bring(repository, entry.source)
        pool = read_pool(brought.folds_csv, brought.folders)
        return Member(entry, name, brought.sha, brought.experiment, brought.folders, pool)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Put the member's name before what is wrong with it."""
    try:
        yield
    except (DataError, ParameterError) as error:
        text = str(error).removeprefix(f"{name}: ")
        raise type(error)(f"predict.members, {name}: {text}") from None


def _folds_in(folder: Path) -> dict[int, Path]:
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    matches = [(path, _FOLD.fullmatch(path.name)) for path in inside if path.is_dir()]
    return {int(match.group(1)): path for path, match in matches if match}


def _table_of(folder: Path, folds: Mapping[int, Path], own: Own) -> Path:
    """The folds.csv that networks in a folder were trained on.

    It lies beside them, or, where the folder is another checkout's data/models, in its data/splits. Without one, the
    networks must have been trained on this run's very data, of which run.json keeps a digest.
    """
    beside, split = folder / "folds.csv", folder.parent / "splits" / "folds.csv"
    if beside.is_file():
        return beside
    if split.is_file():
        check_split(str(split), read_lock(folder.parent.parent), folds, md5_of(split))
        return split
    for fold, path in folds.items():
        theirs = _data_digest(path)
        if fold not in own.folders or theirs is None or theirs != _data_digest(own.folders[fold]):
            raise DataError(
                f"nobody can tell which images the network of fold {fold} was trained on: {beside} is not there, and "
                "its run.json does not name the data of this run's own fold. Put the folds.csv (and "
                "unlabelled_fold<k>.csv) of its data/splits there"
            )
    return own.folds_csv


def _data_digest(folder: Path) -> str | None:
    path = folder / "run.json"
    content = read_json(path) if path.is_file() else None
    return str(content["data"]) if isinstance(content, dict) and "data" in content else None


def load_member(member: Member) -> dict[int, tuple[Network, ...]]:
    """Read all networks of a member, by the fold that they left out.

    Raises:
        DataError: a file is missing or damaged.
    """
    with _told(member.name):
        networks = {fold: load_networks(folder) for fold, folder in member.folders.items()}
    for start in sorted({network.spec.params.weights or "" for each in networks.values() for network in each}):
        if started_from_file(start):
            logger.warning(
                "predict.members, %s: started from %s; nobody can tell whether images of this run were among what "
                "those weights had seen",
                member.name,
                Path(start).name,
            )
    return networks


def started_from_file(weights: str) -> bool:
    """Whether model.weights names a file or folder, not a published set (imagenet …)."""
    return "/" in weights or "\\" in weights or weights.endswith(".safetensors")


def digest_models(folders: Mapping[int, Path]) -> str:
    """Digest of all networks of an experiment: weights and descriptions, whatever folder they lie in."""
    root = next(iter(folders.values())).parent
    found = [folder for fold in sorted(folders) for folder in model_folders(folders[fold])]
    return digest_files([folder / name for folder in found for name in (WEIGHTS_FILE, SPEC_FILE)], root)


def describe_ensemble(
    params: PredictParams,
    own: Mapping[int, Sequence[Network]],
    members: Sequence[Member],
    networks: Sequence[Mapping[int, Sequence[Network]]],
    digests: Sequence[str],
) -> dict[str, Any]:
    """The content of members.json: what was combined, so that a report can say so when branches have moved on.

    Args:
        params: section predict.
        own: this run's networks by fold; none where own_weight is 0.
        members: those of predict.members.
        networks: of each member, by fold.
        digests: of this run's models and of each member's.
    """
    described = [
        {
            "source": member.name,
            "sha": member.sha,
            "experiment": member.experiment,
            "weight": member.params.weight,
            "use": member.params.use,
            **_describe(loaded, digest),
        }
        for member, loaded, digest in zip(members, networks, digests[1:], strict=True)
    ]
    return {
        "combine": params.combine,
        "vote_threshold": params.vote_threshold if params.combine == "vote" else None,
        "own": {"weight": params.own_weight, **_describe(own, digests[0])},
        "members": described,
    }


def _describe(networks: Mapping[int, Sequence[Network]], digest: str) -> dict[str, Any]:
    specs = [network.spec.params for fold in sorted(networks) for network in networks[fold]]
    starts = sorted({spec.weights or "random" for spec in specs})
    return {
        "folds": sorted(networks),
        "networks": len(specs),
        "models": sorted({f"{spec.architecture}, {spec.encoder}" for spec in specs}),
        "started_from": [f"…/{Path(start).name}" if started_from_file(start) else start for start in starts],
        "weights_sha256": digest or None,
    }
