"""Files of other revisions and experiments, and what dvc.lock says of them; the only module that imports DVC.

A revision is anything git can name (commit, branch, tag) or the name of a DVC experiment. Nothing here writes to the
repository or reaches for a network: data come from DVC's local cache, and what is not there is reported, not fetched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage, parse_lock

if TYPE_CHECKING:
    from dvc.repo import Repo


@dataclass(frozen=True)
class Revision:
    """A commit, with the experiment it holds if it holds one."""

    name: str  # as the user gave it, or the experiment's name
    sha: str
    experiment: str | None
    baseline: str | None  # the commit that the experiment started from


def resolve(root: Path, name: str) -> Revision:
    """Find the commit of a git revision or of an experiment (a unique start of its name suffices).

    Raises:
        DataError: there is no such revision, or the folder is no DVC repository under git.
    """
    from dvc.repo.experiments.utils import exp_refs_by_rev
    from dvc.scm import RevError, resolve_rev

    with _repository(root) as repo:
        try:
            sha = resolve_rev(repo.scm, name)
        except RevError:
            raise DataError(
                f"{name}: neither a git revision nor an experiment; see git log and dvc exp list -A"
            ) from None
        # A commit further up an experiment's branch is contained in its ref without being the experiment.
        refs = [ref for ref in exp_refs_by_rev(repo.scm, sha) if repo.scm.get_ref(str(ref)) == sha]
        return Revision(name, sha, refs[0].name, refs[0].baseline_sha) if refs else Revision(name, sha, None, None)


def experiments(root: Path) -> list[Revision]:
    """All experiments that DVC keeps in this repository, by name.

    Raises:
        DataError: the folder is no DVC repository under git.
    """
    from dvc.repo.experiments.utils import exp_refs

    with _repository(root) as repo:
        found = [
            Revision(ref.name, repo.scm.get_ref(str(ref)), ref.name, ref.baseline_sha)
            for ref in exp_refs(repo.scm)
            if ref.name
        ]
    return sorted(found, key=lambda revision: (revision.name, revision.sha))


def lock(root: Path, sha: str | None) -> dict[str, LockedStage]:
    """dvc.lock of a commit, of the workspace for None; empty where there is none."""
    with _at(root, sha) as repo:
        return _read_lock(repo)


def hashes(root: Path, sha: str | None, paths: Iterable[str]) -> dict[str, str | None]:
    """MD5 of files and folders as DVC computes it (a folder's ends with ``.dir``); None for what is not there.

    Args:
        root: the repository.
        sha: a commit, where only what git tracks is seen; None for the workspace.
        paths: relative to root, with slashes.
    """
    from dvc_data.hashfile.build import build

    found: dict[str, str | None] = {}
    with _at(root, sha) as repo:
        for name in paths:
            path = repo.fs.join(repo.root_dir, *PurePosixPath(name).parts)
            if repo.fs.exists(path):
                _, _, built = build(repo.cache.local, path, repo.fs, "md5", dry_run=True, ignore=repo.dvcignore)
                found[name] = built.hash_info.value
            else:
                found[name] = None
    return found


def cached_folder(root: Path, md5: str) -> dict[str, str] | None:
    """The files of a folder in DVC's cache, relative path → MD5; None where the cache does not know it.

    Args:
        root: the repository.
        md5: of the folder, ending with ``.dir``.
    """
    with _at(root, None) as repo:
        return _cached_folder(repo, md5)


def folder_hash(files: Mapping[str, str]) -> str:
    """MD5 that DVC gives to a folder of files (relative path → MD5)."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree = Tree()  # type: ignore[no-untyped-call]
    for name, md5 in files.items():
        tree.add(PurePosixPath(name).parts, None, HashInfo("md5", md5))
    tree.digest()
    return str(tree.hash_info.value)


def export(root: Path, sha: str | None, paths: Sequence[str], target: Path) -> list[str]:
    """Copy files and folders of a revision into ``target``, at the same relative paths.

    What git tracks comes from the commit (or the workspace); outputs come from DVC's local cache as dvc.lock names
    them, so that they are those of the recorded run even where the workspace has moved on.

    Args:
        root: the repository.
        sha: a commit; None for the workspace and its dvc.lock.
        paths: files or folders, relative to root, with slashes.
        target: a folder, made if need be.

    Returns:
        The paths of which nothing, or not everything, could be had.
    """
    with _at(root, sha) as repo:
        outs = {path: md5 for stage in _read_lock(repo).values() for path, md5 in stage.outs.items()}
        return [name for name in paths if not _export(repo, outs, name, target)]


def recorded(root: Path, sha: str | None, path: str) -> dict[str, str] | None:
    """The files of an output, path relative to root → MD5, as dvc.lock names them.

    Args:
        root: the repository.
        sha: a commit; None for the workspace's dvc.lock.
        path: an output, a part of one or a folder of several, relative to root, with slashes.

    Returns:
        None where DVC's cache does not know a folder's files; nothing where no output is there.
    """
    asked = PurePosixPath(path)
    files: dict[PurePosixPath, str] = {}
    with _at(root, sha) as repo:
        outs = {PurePosixPath(out): md5 for stage in _read_lock(repo).values() for out, md5 in stage.outs.items()}
        for out, md5 in outs.items():
            if out.is_relative_to(asked) or asked.is_relative_to(out):
                held = _cached_folder(repo, md5) if md5.endswith(".dir") else {"": md5}
                if held is None:
                    return None
                files |= {out / file: oid for file, oid in held.items()}
    return {str(file): oid for file, oid in files.items() if file.is_relative_to(asked)}


def _export(repo: Repo, outs: Mapping[str, str], name: str, target: Path) -> bool:
    """Copy one path; False where it, or a part of it, is not to be had."""
    asked = PurePosixPath(name)
    overlapping = [
        PurePosixPath(out)
        for out in outs
        if PurePosixPath(out).is_relative_to(asked) or asked.is_relative_to(PurePosixPath(out))
    ]
    # Metrics and plots are outputs too, but git keeps them instead of the cache.
    cached = [out for out in overlapping if not _tracked(repo, out)]
    if not cached:
        return _copy_tracked(repo, asked, target)
    files: dict[PurePosixPath, str] = {}
    for out in cached:
        md5 = outs[str(out)]
        held = _cached_folder(repo, md5) if md5.endswith(".dir") else {"": md5}
        if held is None:
            return False
        files |= {out / file: oid for file, oid in held.items() if (out / file).is_relative_to(asked)}
    if not files or not all(repo.cache.local.exists(oid) for oid in files.values()):
        return False
    for file, oid in files.items():
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repo.cache.local.oid_to_path(oid), place)
    return True


def _cached_folder(repo: Repo, md5: str) -> dict[str, str] | None:
    from dvc_data.hashfile.tree import Tree

    if not repo.cache.local.exists(md5):
        return None
    tree = Tree.load(repo.cache.local, repo.cache.local.get(md5).hash_info)
    return {"/".join(key): info.value for key, _, info in tree}


def _tracked(repo: Repo, path: PurePosixPath) -> bool:
    """Whether a path is git's: it is in the commit, or in the workspace and not ignored."""
    from dvc.fs import LocalFileSystem

    place = repo.fs.join(repo.root_dir, *path.parts)
    return bool(repo.fs.exists(place)) and not (isinstance(repo.fs, LocalFileSystem) and repo.scm.is_ignored(place))


def _copy_tracked(repo: Repo, path: PurePosixPath, target: Path) -> bool:
    start = repo.fs.join(repo.root_dir, *path.parts)
    if not repo.fs.exists(start):
        return False
    for file in [start] if repo.fs.isfile(start) else repo.fs.find(start):
        place = target.joinpath(*repo.fs.relparts(file, repo.root_dir))
        if "__pycache__" not in place.parts:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(repo.fs.read_bytes(file))
    return True


def _read_lock(repo: Repo) -> dict[str, LockedStage]:
    path = repo.fs.join(repo.root_dir, "dvc.lock")
    return parse_lock(repo.fs.read_text(path, encoding="utf-8"), path) if repo.fs.exists(path) else {}


@contextmanager
def _repository(root: Path) -> Iterator[Repo]:
    os.environ.setdefault("DVC_NO_ANALYTICS", "true")
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        repo = Repo(os.fspath(root))
    except (NotDvcRepoError, SCMError) as error:
        raise DataError(f"{root}: not a DVC repository under git ({error}); run from a clone of the project") from None
    with repo:
        yield repo


@contextmanager
def _at(root: Path, sha: str | None) -> Iterator[Repo]:
    """The repository as it is in the workspace, or seen through one commit."""
    from dvc.repo.brancher import switch

    with _repository(root) as repo:
        if sha is None:
            yield repo
            return
        with switch(repo, sha):
            yield repo
