"""Where the files of an external set lie, and messages that name the set's own parameters."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.errors import DataError, ParameterError
from pneumoseg.params.data import DataParams

logger = logging.getLogger(__name__)

_DATA_KEYS = re.compile(r"\bdata\.(root|annotations)\b(?!\.)")


@dataclass(frozen=True)
class Site:
    """The files of one external set.

    Attributes:
        name: its key in evaluate.external.
        data: folder of what shows or describes its images; the files are those of data/, and of the same form.
        metrics: folder of its figures.
    """

    name: str
    data: Path
    metrics: Path

    @classmethod
    def below(cls, root: Path, name: str) -> Site:
        """The set's places below the folder of dvc.yaml."""
        return cls(name, root / "data/external" / name, root / "metrics/external" / name)

    @property
    def images(self) -> Path:
        """Folder of PNG radiographs."""
        return self.data / "images"

    @property
    def masks(self) -> Path:
        """Folder of PNG masks, positives only."""
        return self.data / "masks"

    @property
    def metadata(self) -> Path:
        """Table METADATA."""
        return self.data / "metadata.csv"

    @property
    def annotations(self) -> Path:
        """Table ANNOTATIONS."""
        return self.data / "annotations.csv"

    @property
    def folds(self) -> Path:
        """Table FOLDS: every annotated image is a test image here."""
        return self.data / "folds.csv"

    @property
    def similar(self) -> Path:
        """Table similarity.SIMILAR: images whose radiograph is in data.root too."""
        return self.data / "similar.csv"

    @property
    def predictions(self) -> Path:
        """Folder of probability maps, as data/predictions."""
        return self.data / "predictions"

    @property
    def figures(self) -> Path:
        """What metrics/test.json is for the test set."""
        return self.metrics / "figures.json"

    @property
    def cases(self) -> Path:
        """What metrics/test_cases.csv is for the test set."""
        return self.metrics / "cases.csv"


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
