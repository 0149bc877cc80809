"""params.yaml, checked whole before any work is done: one module and one frozen section for each of its parts.

Every stage validates the whole file, so a mistake in ``report`` is told before hours of training; in dvc.yaml it
*depends* only on the values that it reads, so that another value of ``report`` retrains nothing.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pneumoseg.config.augment import AugmentParams
from pneumoseg.config.bundle import BundleParams
from pneumoseg.config.data import MainParams
from pneumoseg.config.detector import check_others
from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.config.explore import ExploreParams
from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.flat import inline, lacking, leaves
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

    phantom: PhantomParams = PhantomParams()
    data: MainParams = MainParams(root="data/phantom", annotations="data/phantom/train-rle.csv")
    extract: ExtractParams = ExtractParams()
    masks: MasksParams = MasksParams()
    explore: ExploreParams = ExploreParams()
    split: SplitParams = SplitParams()
    augment: AugmentParams = AugmentParams()
    model: ModelParams = ModelParams()
    train: TrainParams = TrainParams()
    predict: PredictParams = PredictParams()
    tune: TuneParams = TuneParams()
    evaluate: EvaluateParams = EvaluateParams()
    report: ReportParams = ReportParams()
    bundle: BundleParams = BundleParams()
    runtime: RuntimeParams = RuntimeParams()
    tracking: TrackingParams = TrackingParams()

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        """What one section says of another must hold: augmentations of split exist, heads of model are trained."""
        self.split.check_augmentations(self.augment)
        self.train.mean_teacher.check_augmentations(self.augment)
        self.data.check_external(self.evaluate.external)
        check_others(self)
        self.train.check_model(self.model)
        self.train.loss.check_model(self.model)
        self.tune.check_model(self.model)
        for number, phase in enumerate(self.train.phases):
            if phase.loss is not None:
                phase.loss.check_model(self.model, f"train.phases.{number}.loss")
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml (YAML 1.2, as DVC reads it: 1e-3 is a number, off is text).

    Keys that an older file lacks are told in the log, with the values they get.

    Raises:
        ParameterError: for every mistake found, one line that names section.key, value and fix.
    """
    content = read_yaml(path)
    params = parse_params(content, str(path))
    told = age(content, params)
    if told:
        logging.getLogger("pneumoseg").warning("%s has %s; pneumoseg params upgrade mends it", path, "; ".join(told))
    return params


def parse_params(content: Any, source: str = "params.yaml") -> Params:
    """Check the content of a params file, also of an older one.

    Raises:
        ParameterError: as in load_params.
    """
    return Params.read(content, source)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ParameterError: it is missing or not valid.
    """
    try:
        return YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ParameterError(f"{path}: not there; run from the folder that holds params.yaml") from None
    except YAMLError as error:
        raise ParameterError(f"{path}: not valid YAML: {error}") from None


def age(content: Mapping[str, Any], params: Params) -> list[str]:
    """What tells that a file is older than this version: keys that came later, and keys that are no more.

    What has names of its own, such as an external set, may leave keys out at any time.
    """
    whole, fixed = params.written(), dict(leaves(Params().written()))
    new = [(key, value) for key, value in leaves(lacking(content, whole)) if re.sub(r"\.\d+\..*", "", key) in fixed]
    return [f"no {key}, which counts as {inline(value):.60}" for key, value in new] + [
        f"{key}, which is called otherwise now or gone" for key, _ in leaves(lacking(whole, content))
    ]
