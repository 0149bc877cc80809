"""The configuration behind a report: every parameter, what differs from the default, and the pinned versions.

The installed versions and the commit differ between machines and commits; they stand in the MLflow run, while a report
of the same params, data and code is the same everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from pneumoseg.config import Params
from pneumoseg.config.flat import inline, leaves
from pneumoseg.report.parts import Part, Table, facts
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.fingerprints import UNTRACKED_SECTIONS
from pneumoseg.shared.passwords import masked

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_METHOD: Final = ("split", "augment", "model", "train", "predict", "tune")
KEY_PACKAGES: Final = (
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "lightning-fabric",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "pydicom",
    "pillow",
    "python-gdcm",
    "dvc",
    "mlflow",
)


def settings(content: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that outputs depend on, by dotted key in the order of the file, as JSON text.

    Absolute paths lose their folders, and addresses their password: they tell of one machine and its user, not of the
    method.
    """
    tracked = {name: section for name, section in content.items() if name not in UNTRACKED_SECTIONS}
    return {key: masked(inline(_without_folders(value))) for key, value in leaves(tracked)}


def changes(params: Params) -> list[tuple[str, str, str]]:
    """The parameters that differ from the default: key, value and default as JSON text."""
    default = settings(Params().written())
    found = settings(params.written())
    return [(key, value, default.get(key, "not there")) for key, value in found.items() if default.get(key) != value]


def told_changes(params: Params, most: int) -> str:
    """The first parameters that differ from the default, those of the method before those of the data."""
    found = sorted(changes(params), key=lambda change: change[0].split(".")[0] not in _METHOD)
    texts = [(key, value.strip('"')) for key, value, _ in found[:most]]
    shown = [f"{key} = {text if len(text) <= 40 else text[:39] + '…'}" for key, text in texts]
    return "; ".join([*shown, *([f"{len(found) - most} more"] if len(found) > most else [])])


def configuration_part(params: Params, lock: Path, fingerprints: tuple[tuple[str, str], ...]) -> Part:
    """The section on the configuration.

    Args:
        params: of the run.
        lock: requirements.lock.
        fingerprints: names and values by which data, weights and code are known again.

    Raises:
        DataError: the lock is missing.
    """
    pinned, digest = read_lock(lock)
    every, changed = settings(params.written()), changes(params)
    note = f"{len(changed)} of {len(every)} parameters differ from the default."
    versions = [(name, pinned[name]) for name in KEY_PACKAGES if name in pinned]
    return Part(
        "Configuration",
        notes=(note if changed else "Every parameter has its default value.",),
        tables=(
            Table("Differences from the default", ("parameter", "here", "default"), tuple(changed), False, mono=True),
            facts("All parameters", every.items(), mono=True, folded=f"All {len(every)} parameters"),
        ),
        parts=(
            Part(
                "Versions and fingerprints",
                notes=(
                    "The commit, the installed versions, seconds and memory stand in the MLflow run: here they would "
                    "make this folder differ between commits and machines.",
                ),
                tables=(
                    facts("Fingerprints", (("requirements.lock, SHA-256", digest), *fingerprints)),
                    facts("Versions", versions, folded="Pinned versions of the main packages"),
                ),
            ),
        ),
    )


def read_lock(lock: Path) -> tuple[dict[str, str], str]:
    """The pinned version of every package, by its name in lower case, and the file's SHA-256.

    Raises:
        DataError: it is missing.
    """
    if not lock.is_file():
        raise DataError(f"{lock}: not there; it belongs to the repository (git checkout {lock.name})")
    content = lock.read_bytes()
    pinned = {name.lower(): version for name, version in _PINNED.findall(content.decode("utf-8", "replace"))}
    return pinned, hashlib.sha256(content).hexdigest()


def _without_folders(value: object) -> object:
    if isinstance(value, str):
        for flavour in (PurePosixPath(value), PureWindowsPath(value)):
            if flavour.is_absolute():
                return f"…/{flavour.name}"
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _without_folders(item) for key, item in value.items()}
    return value
