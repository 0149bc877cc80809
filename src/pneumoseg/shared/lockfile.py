"""dvc.lock as a record: which parameters, code and data made the outputs that lie here. Read as YAML, without DVC."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pneumoseg.shared.errors import DataError


@dataclass(frozen=True)
class LockedStage:
    """One stage as it last ran.

    Attributes:
        params: values of params.yaml by key, a whole section (``train``) or one value (``split.train_folds``).
        deps: MD5 of each dependency by its path; a folder's ends with ``.dir``.
        outs: MD5 of each output, metric and plot by its path.
    """

    params: Mapping[str, Any]
    deps: Mapping[str, str]
    outs: Mapping[str, str]


class _Loader(yaml.CSafeLoader):
    """YAML 1.2, as DVC writes it, by the C parser.

    PyYAML is of YAML 1.1, where 1e-07 is text, ``off`` is false and 1:30 is 90: here a word is what YAML 1.2 says.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - not annotated as ClassVar in PyYAML


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))


def parse_yaml(text: str) -> Any:
    """The content of a file that DVC writes; ten times as fast as config.read_yaml, which refuses a key said twice.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - derived from the safe loader


def read_lock(root: Path) -> dict[str, LockedStage]:
    """The stages of ``root/dvc.lock`` by name (``train@0``); none where nothing has run yet."""
    path = root / "dvc.lock"
    return parse_lock(path.read_text("utf-8"), str(path)) if path.is_file() else {}


def parse_lock(text: str, source: str) -> dict[str, LockedStage]:
    """The stages of a dvc.lock (schema 2.0).

    Raises:
        DataError: the text is no dvc.lock, for example one with a merge conflict in it.
    """
    try:
        return {name: _locked(stage) for name, stage in parse_yaml(text)["stages"].items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{source}: not readable as dvc.lock ({error}); restore it from git, or run dvc repro"
        ) from None


def _locked(stage: Mapping[str, Any]) -> LockedStage:
    # A path without an MD5 belongs to another file system (s3://…): nothing here can be compared with it.
    deps, outs = (
        {item["path"]: item["md5"] for item in stage.get(kind, ()) if "md5" in item} for kind in ("deps", "outs")
    )
    return LockedStage(stage.get("params", {}).get("params.yaml", {}), deps, outs)


def md5_of(path: Path) -> str:
    """MD5 of a file, as DVC computes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
