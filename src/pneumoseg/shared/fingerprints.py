"""What identifies a training and a whole configuration: digests of parameters, data and code. No clock, no machine.

Two keys are made here. ``train_key`` names one training of one fold: MLflow's fold runs and the files in .resume/ are
found by it. ``config_key`` names a whole configuration: MLflow's top-level rows are found by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yaml import YAMLError

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes, digest_files
from pneumoseg.shared.lockfile import md5_of, parse_yaml, read_lock

#: The tables that say which images, with which annotation, in which fold.
DATA_TABLES = ("data/metadata.csv", "data/annotations.csv", "data/splits/folds.csv")
#: Of a set of data.more, which has no folds.
MORE_TABLES = ("metadata.csv", "annotations.csv")
#: Where code lies; other dependencies are data.
CODE = ("src/", "stages/")
TRAIN_SECTIONS = ("model", "train", "augment")
#: Sections that change no output: they belong to no stage and to no fingerprint.
UNTRACKED_SECTIONS = ("runtime", "tracking")


def project_root(folder: Path = Path()) -> Path:
    """The repository's root: $DVC_ROOT, the parent of DVC's temporary folders; else the nearest with .dvc or .git.

    What must outlive a queued experiment (mlflow.db, .resume/) goes there; outputs go to the working directory.
    """
    given = os.environ.get("DVC_ROOT")
    if given:
        return Path(given).resolve()
    start = folder.resolve()
    for mark in (".dvc", ".git"):
        for candidate in (start, *start.parents):
            if (candidate / mark).exists():
                return candidate
    return start


def stage_code(root: Path, stage: str) -> str:
    """Digest of the Python files among a stage's dependencies, names and contents.

    Args:
        root: the folder of dvc.yaml.
        stage: its name there, without the part after @.

    Raises:
        DataError: dvc.yaml has no such stage, or a file it depends on is missing.
    """
    deps = code_deps(root)
    if stage not in deps:
        raise DataError(f"{root / 'dvc.yaml'}: no stage {stage}; it has {', '.join(deps)}")
    return digest_files(sorted(_code_files(root, deps[stage])), root)


def pipeline_code(root: Path) -> str:
    """Digest of the Python files that any stage depends on."""
    return digest_files(sorted(_code_files(root, set().union(*code_deps(root).values()))), root)


def package_code() -> str:
    """Digest of every Python file of this package, wherever it is installed."""
    package = Path(__file__).resolve().parents[1]
    return digest_files(package.rglob("*.py"), package)


def data_fingerprint(root: Path, more: Iterable[str] = ()) -> str:
    """Digest of the tables of images, annotations and folds, and of those of the sets of data.more.

    It rests on their MD5, which dvc.lock knows too: so it can be told in a clone that holds no data.

    Raises:
        DataError: a table is neither here nor in dvc.lock.
    """
    stages = read_lock(root)
    # What a stage made counts before what another one read, which may not have run again since; training's reading
    # counts before other stages'.
    order = sorted(stages, key=lambda name: name.startswith("train@"))
    locked = {path: md5 for name in order for path, md5 in stages[name].deps.items()}
    locked |= {path: md5 for name in order for path, md5 in stages[name].outs.items()}
    parts = []
    for name in (*DATA_TABLES, *(f"data/more/{one}/{table}" for one in sorted(more) for table in MORE_TABLES)):
        path = root / name
        md5 = md5_of(path) if path.is_file() else locked.get(name)
        if md5 is None:
            raise DataError(f"{path}: not there; run the stage that writes it (dvc repro), or dvc pull")
        parts += [name.encode(), md5.encode()]
    return digest_bytes(*parts)


def train_key(root: Path, params: Mapping[str, Any], fold: int, data: str) -> str:
    """Name one training: the same key, the same weights.

    Args:
        root: the folder of dvc.yaml.
        params: the whole configuration as plain values; only the sections that train depends on count.
        fold: the fold that is left out.
        data: digest of what the training reads (images, masks, fold table, manifest).
    """
    sections = {name: params[name] for name in TRAIN_SECTIONS}
    return digest_bytes(_canonical(sections), data.encode(), stage_code(root, "train").encode(), str(fold).encode())


def config_key(root: Path, params: Mapping[str, Any]) -> str:
    """Name one whole configuration: parameters of all stages, data and code.

    Raises:
        DataError: as in data_fingerprint and stage_code.
    """
    sections = {name: values for name, values in params.items() if name not in UNTRACKED_SECTIONS}
    data = data_fingerprint(root, params["data"].get("more", ()))  # an older file knows none
    return digest_bytes(_canonical(sections), data.encode(), pipeline_code(root).encode())


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _stages(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "dvc.yaml"
    try:
        stages: dict[str, dict[str, Any]] = parse_yaml(path.read_text("utf-8"))["stages"]
    except FileNotFoundError:
        raise DataError(f"{path}: not there; run from the folder that holds it") from None
    except (YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not readable as a DVC pipeline ({error})") from None
    return stages


def code_deps(root: Path) -> dict[str, set[str]]:
    """The dependencies of each stage that are code, as dvc.yaml names them: by stage, without the part after @."""
    found = {}
    for stage, entry in _stages(root).items():
        deps = entry.get("do", entry).get("deps", ())  # a foreach stage has them in ``do``, a matrix beside it
        names = (dep if isinstance(dep, str) else next(iter(dep)) for dep in deps)
        found[stage] = {name for name in names if name.startswith(CODE)}
    return found


def _code_files(root: Path, names: Iterable[str]) -> set[Path]:
    files: set[Path] = set()
    for name in names:
        path = root / name
        if path.is_dir():
            files.update(path.rglob("*.py"))
        elif not path.is_file():
            raise DataError(f"{path}: not there, yet dvc.yaml names it as a dependency; restore it from git")
        elif path.suffix == ".py":
            files.add(path)
    return files
