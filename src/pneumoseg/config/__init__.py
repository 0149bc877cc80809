"""params.yaml, checked whole before any work is done: one module and one frozen section for each of its parts.

Every stage validates the whole file, so a mistake in ``report`` is told before hours of training; it *depends* only on
the modules of the sections it reads (see dvc.yaml), so that a new report parameter retrains nothing.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pneumoseg.config.augment import AugmentParams
from pneumoseg.config.data import DataParams
from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.config.explore import ExploreParams
from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.masks import MasksParams
from pneumoseg.config.model import ModelParams
from pneumoseg.config.phantom import PhantomParams
from pneumoseg.config.predict import PredictParams
from pneumoseg.config.report import ReportParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.config.section import Section
from pneumoseg.config.split import SplitParams
from pneumoseg.config.tracking import TrackingParams
from pneumoseg.config.train import TrainParams
from pneumoseg.config.tune import TuneParams
from pneumoseg.shared.errors import ParameterError


class Params(Section):
    """The whole of params.yaml."""

    phantom: PhantomParams
    data: DataParams
    extract: ExtractParams
    masks: MasksParams
    explore: ExploreParams
    split: SplitParams
    augment: AugmentParams
    model: ModelParams
    train: TrainParams
    predict: PredictParams
    tune: TuneParams
    evaluate: EvaluateParams
    report: ReportParams
    runtime: RuntimeParams
    tracking: TrackingParams

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        """What one section says of another must hold: augmentations of split exist, heads of model are trained."""
        self.split.check_augmentations(self.augment)
        self.train.mean_teacher.check_augmentations(self.augment)
        for loss in (self.train.loss, *(phase.loss for phase in self.train.phases)):
            if loss is not None:
                loss.check_model(self.model)
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml (YAML 1.2, as DVC reads it: 1e-3 is a number, off is text).

    Raises:
        ParameterError: for every mistake found, one line that names section.key, value and fix.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ParameterError(f"{path}: not there; run from the folder that holds params.yaml") from None
    except YAMLError as error:
        raise ParameterError(f"{path}: not valid YAML: {error}") from None
    return parse_params(content, str(path))


def parse_params(content: Any, source: str = "params.yaml") -> Params:
    """Check the content of a params file.

    Raises:
        ParameterError: as in load_params.
    """
    try:
        # JSON mode: strict about types, yet a list may fill a tuple.
        return Params.model_validate_json(json.dumps(content))
    except ValidationError as error:
        lines = [_explain(source, item) for item in error.errors(include_url=False)]
        raise ParameterError("\n".join(lines)) from None


def _explain(source: str, item: Any) -> str:
    location = ".".join(str(part) for part in item["loc"]) or "(sections)"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{source}: {location} is missing; every parameter is given in params.yaml, add it"
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"])
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{source}: {location} is not a parameter; {advice}"
    if location == "(sections)":
        return f"{source}: {message}"
    shown = json.dumps(item["input"], default=str)
    return f"{source}: {location} = {shown if len(shown) < 120 else shown[:117] + '...'}: {message}"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """The keys of the section in which an unknown one was found (empty below lists and maps)."""
    model: type[BaseModel] = Params
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)
