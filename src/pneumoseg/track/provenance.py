"""Whether the files that lie here belong together: the proof is in dvc.lock.

params.yaml says what the next run will do, not what made metrics/test.json. dvc.lock says of every stage with which
parameters, code and inputs it last ran. So a record made afterwards takes its parameters from dvc.lock, and only where

1. the code that the stages ran with is the code that is here (the row's key covers code),
2. every input of a stage is what the stage before it made, all the way up (else ``dvc repro train`` alone would put new
   parameters beside an old test Dice),
3. every file of metrics is the one that its stage wrote.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from pneumoseg.shared import revisions
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.fingerprints import CODE, code_deps
from pneumoseg.shared.lockfile import LockedStage

Stages = Mapping[str, LockedStage]
_OF_A_SET = ("external_extract", "external_predict", "external_evaluate")


def current_stages(stages: Stages, folds: Iterable[int], sets: Iterable[str]) -> dict[str, LockedStage]:
    """The stages without those of folds and external sets that are gone: dvc.lock keeps them.

    Args:
        stages: of dvc.lock.
        folds: split.train_folds.
        sets: the names of evaluate.external.
    """
    names = {f"train@{fold}" for fold in folds} | {f"{stage}@{name}" for name in sets for stage in _OF_A_SET}
    return {name: stage for name, stage in stages.items() if "@" not in name or name in names}


def locked_params(content: Mapping[str, Any], stages: Stages) -> dict[str, Any]:
    """The content of params.yaml with every value that a stage ran with put in its place.

    Args:
        content: of params.yaml; sections that no stage has read yet stay as they are.
        stages: of dvc.lock.

    Raises:
        DataError: two stages ran with different values.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(content))
    seen: dict[str, Any] = {}
    # Whole sections first, so that a single value (split.train_folds) is compared with its section.
    entries = [(key, value, name) for name, stage in stages.items() for key, value in stage.params.items()]
    for key, value, name in sorted(entries, key=lambda entry: entry[0].count(".")):
        section, *rest = key.split(".")
        known = seen.get(section) if rest else None
        for part in rest:
            known = known.get(part) if isinstance(known, Mapping) else None
        if (known is not None and known != value) or seen.setdefault(key, value) != value:
            raise DataError(f"stage {name} ran with another {key} than the stages before it: dvc repro first")
        place = merged
        for part in (section, *rest)[:-1]:
            place = place.setdefault(part, {})
        place[(section, *rest)[-1]] = copy.deepcopy(value)
    return merged


def changed_code(root: Path, sha: str | None, stages: Stages, pipeline: Path) -> list[str]:
    """Files and folders of code that are no longer what a stage ran with.

    Args:
        root: the repository.
        sha: a commit; None for the workspace.
        stages: of its dvc.lock.
        pipeline: a folder with its dvc.yaml.
    """
    named = code_deps(pipeline)
    unlike = [
        f"dvc.yaml (stage {name})"
        for name, stage in stages.items()
        if {path for path in stage.deps if path.startswith(CODE)} != named.get(name.split("@")[0])
    ]
    locked = {path: md5 for stage in stages.values() for path, md5 in stage.deps.items() if path.startswith(CODE)}
    differing = {
        path
        for stage in stages.values()
        for path, md5 in stage.deps.items()
        if path.startswith(CODE) and md5 != locked[path]
    }
    found = revisions.hashes(root, sha, locked)
    return unlike + sorted(differing | {path for path, md5 in locked.items() if found[path] != md5})


def changed_outputs(root: Path, sha: str | None, stage: LockedStage, under: str) -> list[str]:
    """Outputs below a folder, such as metrics/, that are not the ones the stage wrote."""
    locked = {path: md5 for path, md5 in stage.outs.items() if path.startswith(under)}
    found = revisions.hashes(root, sha, locked)
    return sorted(path for path, md5 in locked.items() if found[path] != md5)


def broken_link(root: Path, stages: Stages, last: Iterable[str]) -> str | None:
    """The first input, upstream of the stages ``last``, that is not what another stage made; None: all agree.

    Raises:
        DataError: DVC's cache lacks a folder that is needed to tell.
    """
    folder = cache(lambda md5: revisions.cached_folder(root, md5))
    waiting, done = list(last), set()
    while waiting:
        name = waiting.pop()
        if name in done or name not in stages:
            continue
        done.add(name)
        for path, md5 in stages[name].deps.items():
            makers = _makers(stages, path)
            if makers and _made(stages, path, makers, folder) != md5:
                made_by = ", ".join(sorted(set(makers.values())))
                return f"{path}, which stage {name} read, is not what stage {made_by} made last"
            waiting += makers.values()
    return None


def _makers(stages: Stages, path: str) -> dict[str, str]:
    """Outputs at, above or below a path: output → stage."""
    asked = PurePosixPath(path)
    return {
        out: name
        for name, stage in stages.items()
        for out in stage.outs
        if PurePosixPath(out).is_relative_to(asked) or asked.is_relative_to(PurePosixPath(out))
    }


def _made(
    stages: Stages, path: str, makers: Mapping[str, str], folder: Callable[[str], dict[str, str] | None]
) -> str | None:
    """MD5 of a path as its makers left it."""
    if path in makers:
        return stages[makers[path]].outs[path]
    files: dict[str, str] = {}
    for out, name in makers.items():
        md5 = stages[name].outs[out]
        held = folder(md5) if md5.endswith(".dir") else {"": md5}
        if held is None:
            raise DataError(f"{out} is not in DVC's cache, so nobody can tell what belongs together: dvc pull first")
        files |= {str(PurePosixPath(out) / file): oid for file, oid in held.items()}
    if path in files:
        return files[path]
    inside = {file.removeprefix(f"{path}/"): oid for file, oid in files.items() if file.startswith(f"{path}/")}
    return revisions.folder_hash(inside) if inside else None
