"""The configuration behind a report: every parameter, what differs from the default, and the pinned versions.

The default is that of the code, which params.yaml as shipped states. The installed versions and the commit differ
between machines and commits; they stand in the MLflow run, while a report of the same params, data and code is the same
everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from pneumoseg.config import Params, parse_params, read_yaml
from pneumoseg.config.flat import inline, leaves
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.fingerprints import UNTRACKED_SECTIONS

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
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


@dataclass(frozen=True)
class Setting:
    """One parameter; ``default`` is None where the default has no such key."""

    key: str
    value: str
    default: str | None

    @property
    def changed(self) -> bool:
        """Whether it differs from the default."""
        return self.value != self.default


@dataclass(frozen=True)
class Configuration:
    """What a reader needs to make the same figures again."""

    settings: tuple[Setting, ...]
    versions: tuple[tuple[str, str], ...]
    lock_sha256: str

    @property
    def changed(self) -> tuple[Setting, ...]:
        """The parameters that differ from the default."""
        return tuple(setting for setting in self.settings if setting.changed)

    def value(self, key: str) -> str:
        """The value of ``section.key`` as text, empty where there is none."""
        return next((setting.value for setting in self.settings if setting.key == key), "")


def read_configuration(params: Path, lock: Path) -> Configuration:
    """Read params.yaml and the lock.

    Raises:
        ParameterError: params.yaml is missing or wrong.
        DataError: the lock is missing.
    """
    values = flatten(parse_params(read_yaml(params), str(params)).written())
    defaults = flatten(Params().written())
    settings = tuple(Setting(key, value, defaults.get(key)) for key, value in values.items())
    if not lock.is_file():
        raise DataError(f"{lock}: not there; it belongs to the repository (git checkout {lock.name})")
    content = lock.read_bytes()
    pinned = {name.lower(): version for name, version in _PINNED.findall(content.decode("utf-8", "replace"))}
    versions = tuple((name, pinned[name]) for name in KEY_PACKAGES if name in pinned)
    return Configuration(settings, versions, hashlib.sha256(content).hexdigest())


def flatten(content: Mapping[str, Any]) -> dict[str, str]:
    """Dotted keys with their values as JSON text, in the order of the content; lists are one value.

    Absolute paths lose their folders: they tell of one machine and its user, not of the method.
    """
    tracked = {name: section for name, section in content.items() if name not in UNTRACKED_SECTIONS}
    return {key: inline(_without_folders(value)) for key, value in leaves(tracked)}


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
