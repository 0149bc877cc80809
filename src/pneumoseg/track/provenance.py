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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pneumoseg.revisions import METRICS_DIR, Snapshot, folder_hash, overlap
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.fingerprints import CODE, code_deps
from pneumoseg.shared.lockfile import LockedStage

Stages = Mapping[str, LockedStage]
_OF_A_SET = ("external_extract", "external_predict", "external_evaluate")


def current_stages(
    stages: Stages, folds: Iterable[int], sets: Iterable[str], more: Iterable[str] = ()
) -> dict[str, LockedStage]:
    """The stages without those of folds and sets that are gone: dvc.lock keeps them.

    Args:
        stages: of dvc.lock.
        folds: split.train_folds.
        sets: the names of evaluate.external.
        more: those of data.more.
    """
    names = {f"train@{fold}" for fold in folds} | {f"{stage}@{name}" for name in sets for stage in _OF_A_SET}
    names |= {f"more_extract@{name}" for name in more}
    return {name: stage for name, stage in stages.items() if "@" not in name or name in names}


def chosen(content: Mapping[str, Any], stages: Stages) -> tuple[list[int], list[str], list[str]]:
    """The folds, external sets and sets of data.more that figures rest on: of dvc.lock, else of the content."""
    readers = ("split", "predict", "evaluate")
    ran = {key: value for name in readers if name in stages for key, value in stages[name].params.items()}
    folds = ran.get("split.train_folds", (content.get("split") or {}).get("train_folds"))
    evaluate = ran.get("evaluate", content.get("evaluate")) or {}
    more = ran.get("data.more", (content.get("data") or {}).get("more"))
    return list(folds or ()), list(evaluate.get("external") or ()), list(more or ())


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


def changed_code(snapshot: Snapshot, stages: Stages, pipeline: Path) -> list[str]:
    """Files and folders of code that are no longer what a stage ran with, by the revision's own dvc.yaml and dvc.lock.

    Args:
        snapshot: of the revision.
        stages: of its dvc.lock.
        pipeline: a folder with its dvc.yaml.
    """
    named = code_deps(pipeline)
    ran = {
        name: {path: md5 for path, md5 in stage.deps.items() if path.startswith(CODE)} for name, stage in stages.items()
    }
    unlike = [f"dvc.yaml (stage {name})" for name, deps in ran.items() if deps.keys() != named.get(name.split("@")[0])]
    now = snapshot.hashes({path for deps in ran.values() for path in deps})
    return unlike + sorted({path for deps in ran.values() for path, md5 in deps.items() if md5 != now[path]})


def changed_outputs(snapshot: Snapshot, stage: LockedStage) -> list[str]:
    """Outputs of a stage below metrics/ that are not the ones it wrote."""
    locked = {path: md5 for path, md5 in stage.outs.items() if overlap(path, METRICS_DIR)}
    found = snapshot.hashes(locked)
    return sorted(path for path, md5 in locked.items() if found[path] != md5)


def broken_link(snapshot: Snapshot, stages: Stages, last: Iterable[str]) -> str | None:
    """The first input, upstream of the stages ``last``, that is not what another stage made; None: all agree.

    Raises:
        DataError: DVC's cache lacks a folder that is needed to tell.
    """
    waiting, done = list(last), set()
    while waiting:
        name = waiting.pop()
        if name in done or name not in stages:
            continue
        done.add(name)
        for path, md5 in stages[name].deps.items():
            makers = {out: maker for maker, stage in stages.items() for out in stage.outs if overlap(out, path)}
            if makers and _made(snapshot, path, {out: stages[maker].outs[out] for out, maker in makers.items()}) != md5:
                made_by = ", ".join(sorted(set(makers.values())))
                return f"{path}, which stage {name} read, is not what stage {made_by} made last"
            waiting += makers.values()
    return None


def _made(snapshot: Snapshot, path: str, outs: Mapping[str, str]) -> str | None:
    """MD5 of a path as the outputs (path → MD5) that overlap it leave it."""
    if path in outs:
        return outs[path]
    files = snapshot.files_in(path, outs)
    if files is None:
        raise DataError(
            f"{', '.join(sorted(outs))}: not in DVC's cache, so nobody can tell what belongs together: dvc pull first"
        )
    return files.get(path) or (
        folder_hash({file.removeprefix(f"{path}/"): md5 for file, md5 in files.items()}) if files else None
    )
