"""The parameters of an external set, and messages that name them."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pneumoseg.config.data import DataParams
from pneumoseg.shared.errors import DataError, ParameterError

logger = logging.getLogger(__name__)

_DATA_KEYS = re.compile(r"\bdata\.(root|annotations)\b(?!\.)")


def find_source(external: Mapping[str, DataParams], name: str) -> DataParams:
    """The parameters of a set.

    Raises:
        ParameterError: there is none of this name.
    """
    if name not in external:
        known = ", ".join(sorted(external)) or "none"
        raise ParameterError(f"--site {name}: evaluate.external has no such set; it has {known}")
    return external[name]


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let errors name evaluate.external.<name> where they would name data.root or data.annotations."""
    try:
        yield
    except DataError as error:
        told = _DATA_KEYS.sub(rf"evaluate.external.{name}.\1", str(error))
        raise DataError(told if told != str(error) else f"external set {name}: {error}") from error


def remove_stale_sites(folder: Path, external: Container[str]) -> None:
    """Remove the figures of sets that are no longer in evaluate.external.

    DVC hashes metrics/external as one dependency: what an earlier experiment left there would make dvc.lock differ from
    a clean run's. The figures stay in git, if they were committed.

    Args:
        folder: metrics/external; files in it are left alone.
        external: the names of evaluate.external.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name not in external:
            logger.info("%s is of no set in evaluate.external: removed from the workspace", path)
            shutil.rmtree(path)
