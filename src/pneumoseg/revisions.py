"""Files of other revisions and experiments, and what dvc.lock says of them; the only module that imports DVC.

A revision is anything git can name (commit, branch, tag) or the name of a DVC experiment. Nothing here writes to the
repository or reaches for a network: outputs come from DVC's local cache, whose layout DVC documents ("Structure of the
cache directory"), and what is not there is reported, not fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.lockfile import LockedStage, parse_lock

if TYPE_CHECKING:
    from dvc.repo import Repo

#: Outputs below it are git's (``cache: false``); all others lie in DVC's cache.
METRICS_DIR = "metrics"
#: DVC keeps an experiment as a ref named after the commit that it started from, and after itself.
_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")


@dataclass(frozen=True)
class Revision:
    """A commit, with the experiment it holds if it holds one."""

    name: str  # as the user gave it, or the experiment's name
    sha: str
    experiment: str | None = None
    baseline: str | None = None  # the commit that the experiment started from


def resolve(root: Path, name: str) -> Revision:
    """Find the commit of a git revision or of an experiment (a unique start of its name suffices).

    Raises:
        DataError: there is no such revision, the folder is no DVC repository under git, or git distrusts its owner.
    """
    known = experiments(root)
    sha = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    if sha:
        found = [experiment for experiment in known if experiment.sha == sha]
    else:
        found = [experiment for experiment in known if experiment.name == name]
        found = found or [experiment for experiment in known if experiment.name.startswith(name)]
    if not sha and len(found) > 1:
        raise DataError(f"{name}: several experiments are called so; name one by its commit (dvc exp list -A --sha)")
    if not sha and not found:
        raise DataError(f"{name}: neither a git revision nor an experiment; see git log and dvc exp list -A")
    return Revision(name, found[0].sha, found[0].experiment, found[0].baseline) if found else Revision(name, sha)


def experiments(root: Path) -> list[Revision]:
    """All experiments that DVC keeps in this repository, by name.

    Raises:
        DataError: the folder is no DVC repository under git.
    """
    _check(root)
    lines = _git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/").splitlines()
    refs = [(sha, _EXPERIMENT.fullmatch(ref)) for sha, ref in (line.split(" ", 1) for line in lines)]
    found = [Revision(ref[3], sha, ref[3], ref[1] + ref[2]) for sha, ref in refs if ref]
    return sorted(found, key=lambda revision: (revision.name, revision.sha))


def _check(root: Path) -> None:
    told = _run_git(root, "rev-parse", "--git-dir")
    if "safe.directory" in told.stderr:
        raise DataError(f"git refuses this repository, which belongs to another user. It says: {told.stderr.strip()}")
    if not (root / ".dvc").is_dir() or not told.stdout:
        raise DataError(f"{root}: not a DVC repository under git; run from a clone of the project")


def _git(root: Path, *arguments: str) -> str:
    """What git says; nothing where it refuses."""
    return _run_git(root, *arguments).stdout


def _run_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", os.fspath(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell


class Snapshot:
    """One commit, or the workspace with its dvc.lock. Paths are relative to the root, with slashes."""

    def __init__(self, root: Path, sha: str | None = None) -> None:
        """See the repository ``root`` through a commit; None: the workspace."""
        self.root = root
        self.sha = sha

    @cached_property
    def stages(self) -> dict[str, LockedStage]:
        """dvc.lock; empty where there is none."""
        where = "dvc.lock" if self.sha is None else f"dvc.lock of {self.sha[:10]}"
        place = self._kept("dvc.lock").get("dvc.lock")
        return parse_lock(self._repo.fs.cat_file(place).decode(), where) if place else {}

    def hashes(self, paths: Iterable[str]) -> dict[str, str | None]:
        """MD5 of files and folders that git keeps, as DVC computes it; None for what is not there."""
        return {path: self._hash(path) for path in paths}

    def files_in(self, path: str, outs: Mapping[str, str]) -> dict[str, str] | None:
        """The files at or below a path, by MD5, that outputs (path → MD5) hold there.

        Returns:
            None where DVC's cache does not know a folder's files; nothing where no output is there.
        """
        files: dict[str, str] = {}
        for out, md5 in outs.items():
            if overlap(out, path):
                held = self.cached_folder(md5) if md5.endswith(".dir") else {"": md5}
                if held is None:
                    return None
                files |= {str(PurePosixPath(out, file)): oid for file, oid in held.items()}
        return {file: oid for file, oid in files.items() if PurePosixPath(file).is_relative_to(path)}

    def cached_folder(self, md5: str) -> dict[str, str] | None:
        """The files of a folder in DVC's cache, relative path → MD5; None where the cache does not know it."""
        listed = self._cached(md5)
        if not listed.is_file():
            return None
        return {entry["relpath"]: entry["md5"] for entry in read_json(listed)}

    def export(self, paths: Iterable[str], target: Path) -> list[str]:
        """Copy files and folders into ``target``, at the same relative paths.

        What git keeps comes from the commit (or the workspace); outputs come from DVC's local cache as dvc.lock names
        them, so that they are those of the recorded run even where the workspace has moved on.

        Returns:
            The paths of which nothing, or not everything, could be had.
        """
        return [path for path in paths if not self._export(path, target)]

    def _export(self, path: str, target: Path) -> bool:
        every = {out: md5 for stage in self.stages.values() for out, md5 in stage.outs.items()}
        outs = {out: md5 for out, md5 in every.items() if overlap(out, path) and not overlap(out, METRICS_DIR)}
        if not outs:
            return self._copy(path, target)
        files = self.files_in(path, outs)
        if not files or not all(self._cached(md5).is_file() for md5 in files.values()):
            return False
        for file, md5 in files.items():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._cached(md5), target / file)
        return True

    def _copy(self, path: str, target: Path) -> bool:
        found = self._kept(path)
        for file, place in found.items():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_bytes(self._repo.fs.cat_file(place))
        return bool(found)

    def _hash(self, path: str) -> str | None:
        files = {file: _md5(self._repo.fs.cat_file(place)) for file, place in self._kept(path).items()}
        inside = {file.removeprefix(f"{path}/"): md5 for file, md5 in files.items()}
        return files.get(path) or (folder_hash(inside) if inside else None)

    def _kept(self, path: str) -> dict[str, str]:
        """The files at or below a path that git keeps (or that lie in the workspace), with their place in _repo.fs."""
        fs, top = self._repo.fs, self._repo.root_dir
        start = fs.join(top, *PurePosixPath(path).parts)
        found = [start] if fs.isfile(start) else self._repo.dvcignore.find(fs, start)
        return {"/".join(fs.relparts(place, top)): place for place in found}

    def _cached(self, md5: str) -> Path:
        return Path(self._repo.cache.local.path, md5[:2], md5[2:])

    @cached_property
    def _repo(self) -> Repo:
        _check(self.root)
        os.environ.setdefault("DVC_NO_ANALYTICS", "true")
        # Not dvc.api.DVCFileSystem: it loads every stage first, sees nothing where params.yaml is damaged, and fetches.
        from dvc.repo import Repo

        return Repo(os.fspath(self.root), rev=self.sha)


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies in the other."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def folder_hash(files: Mapping[str, str]) -> str:
    """MD5 that DVC gives to a folder of files (relative path → MD5): that of the list it keeps in its cache."""
    listed = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return f"{_md5(json.dumps(listed, sort_keys=True).encode())}.dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
