"""The folder of a model in use: networks, rule and everything between a file and an answer; moved by copying it.

``bundle.json`` describes it, ``networks/<group>/fold<k>/`` hold weights as safetensors, ``selftest.dcm`` and
``selftest.json`` a phantom and what the model said of it when it was made. Nothing is pickled, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.predict import PredictParams, Use
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import read_json, write_json
from pneumoseg.stats.bootstrap import Estimate

#: Raised when a reader of the older form would misunderstand the newer one; every older form stays readable.
FORMAT = 1
DESCRIPTION = "bundle.json"
SELF_TEST = "selftest"
PHANTOM_WARNING = "trained on drawings: means nothing for a patient"
RESEARCH_ONLY = "research use only, not a medical device"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # of a later version that older readers understand


class GroupEntry(_Read):
    """Networks of one experiment, below ``networks/``, one folder a fold."""

    folders: tuple[str, ...]
    weight: float = 1.0
    use: Use = "both"


class Tested(_Read):
    """What evaluate measured on the test images under this rule."""

    images: int
    positives: int
    patients: int
    figures: Mapping[str, Estimate]

    @property
    def prevalence(self) -> float:
        """Share of the test images with pneumothorax."""
        return self.positives / self.images if self.images else 0.0


class Description(_Read):
    """The content of bundle.json.

    Attributes:
        id: the same for the same networks, rule and preparation.
        phantom: whether any training image was drawn by software.
        extract: section extract, by which a file becomes an image.
        predict: section predict without members.
        rule: of metrics/thresholds.json.
        view_positions: that are answered; an unknown one is answered with a flag.
        tested: None where nothing was measured.
        data: fingerprint of images, annotations and folds.
        code: digest of the code that made it.
        files: SHA-256 of every other file but the self-test's answer.
    """

    format: int
    id: str
    phantom: bool
    architecture: str
    encoder: str
    groups: tuple[GroupEntry, ...]
    extract: Mapping[str, Any]
    predict: Mapping[str, Any]
    rule: Mapping[str, Any]
    view_positions: tuple[str, ...]
    intended_use: str
    weights_license: str | None = None
    tested: Tested | None = None
    data: str
    code: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Bundle:
    """A folder that was read and found whole."""

    folder: Path
    about: Description
    extract: ExtractParams
    predict: PredictParams
    rule: DecisionRule

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the description and check every file.

        Raises:
            DataError: the folder is no bundle, of a later form, or a file is missing or not as it was written.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            raise DataError(f"{folder}: no model to use ({DESCRIPTION} is not there); run dvc repro bundle")
        content = read_json(path)
        made = content.get("format") if isinstance(content, dict) else None
        if not isinstance(made, int) or not 1 <= made <= FORMAT:
            raise DataError(f"{path}: format {made}, this version reads up to {FORMAT}; use a newer pneumoseg")
        try:
            about = Description.model_validate(content)
            extract = ExtractParams.read(about.extract, f"{path}, extract")
            predict = PredictParams.read(about.predict, f"{path}, predict")
        except (ValidationError, ParameterError) as error:
            raise DataError(f"{path}: no description of a model ({error}); run dvc repro bundle") from None
        for name, digest in about.files.items():
            if not (folder / name).is_file() or sha256(folder / name) != digest:
                raise DataError(f"{folder / name}: missing or not as it was written; copy the whole folder again")
        return cls(folder, about, extract, predict, DecisionRule.from_json(about.rule, str(path)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What stands on every answer, overlay and page."""
        return (RESEARCH_ONLY, PHANTOM_WARNING) if self.about.phantom else (RESEARCH_ONLY,)

    def measured(self, name: str) -> str:
        """A test figure in words, ``not measured`` where there is none."""
        figure = self.about.tested.figures.get(name) if self.about.tested else None
        if figure is None or figure.value is None:
            return "not measured"
        spread = "" if figure.low is None or figure.high is None else f" ({figure.low:.2f} to {figure.high:.2f})"
        return f"{figure.value:.2f}{spread}"


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_description(folder: Path, content: Mapping[str, Any]) -> None:
    """Write bundle.json, whose ``files`` and ``id`` are made from what already lies in the folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: sha256(folder / name) for name in names}
    parts = [repr(sorted(files.items())), *(repr(content[key]) for key in ("extract", "predict", "rule"))]
    made = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    write_json(folder / DESCRIPTION, {"format": FORMAT, "id": made, **content, "files": files})
