"""Everything the report is made of, read and checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from pneumoseg.config import Params
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.result import TestResult
from pneumoseg.rule.cases import read_predicted
from pneumoseg.rule.decision import DecisionRule, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_object
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.studies import read_laterals
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, Columns, read_table

_SUBMISSION: Columns = {"ImageId": "text", "EncodedPixels": "text"}


@dataclass(frozen=True)
class Figures:
    """The test figures and what they rest on; the table sorted as it is in the file."""

    layout: Layout
    test: TestResult
    rule: DecisionRule
    cases: pd.DataFrame

    @property
    def maps(self) -> bool:
        """Whether the networks give a map, and so a mask."""
        return self.rule.mask_threshold is not None

    @cached_property
    def told_apart(self) -> bool:
        """Whether the networks tell single findings apart."""
        return any((self.layout.predictions / "test").glob("*.json"))


@dataclass(frozen=True)
class Inputs(Figures):
    """The files of all stages; tables sorted as they are in the files."""

    params: Params
    thresholds: Mapping[str, Any]
    predicted: pd.DataFrame
    metadata: pd.DataFrame
    annotations: pd.DataFrame
    folds: pd.DataFrame
    submission: pd.DataFrame
    models: Mapping[int, Mapping[str, Any]]  # model.json of each trained fold
    runs: Mapping[int, Mapping[str, Any]]  # run.json of each trained fold
    external: Mapping[str, TestResult]  # by name in the order of names

    @property
    def task(self) -> str:
        """What the networks do, as a word."""
        return "segmentation" if self.maps else "detection"

    @cached_property
    def laterals(self) -> Mapping[str, str]:
        """The view from the side of each image that was looked at with one; empty where networks have one output."""
        return read_laterals(self.layout.metadata) if self.test.outputs else {}

    @property
    def phantom_share(self) -> float:
        """Share of all images that are phantoms, 0 to 1."""
        return float(self.metadata["phantom"].fillna(0).mean()) if len(self.metadata) else 0.0


def read_figures(layout: Layout) -> Figures:
    """Read what a judgement needs.

    Raises:
        DataError: a file is missing, unreadable, or contradicts another.
    """
    test = TestResult.read(layout.test)
    cases = read_table(layout.test_cases, TEST_CASES)
    if len(cases) != test.n:
        raise DataError(f"{layout.test_cases} has {len(cases)} images, {layout.test} {test.n}; run dvc repro evaluate")
    return Figures(layout, test, read_rule(layout.thresholds), cases)


def read_inputs(layout: Layout, params: Params) -> Inputs:
    """Read the files that the report needs.

    Raises:
        DataError: a file is missing, unreadable, or contradicts another.
    """
    figures = read_figures(layout)
    folders = {fold: layout.models / f"fold{fold}" for fold in params.split.train_folds}
    return Inputs(
        layout=layout,
        test=figures.test,
        rule=figures.rule,
        cases=figures.cases,
        params=params,
        thresholds=read_object(layout.thresholds),
        predicted=read_predicted(layout.predictions),
        metadata=read_table(layout.metadata, METADATA),
        annotations=read_table(layout.annotations, ANNOTATIONS),
        folds=read_table(layout.folds, FOLDS),
        submission=read_table(layout.submission, _SUBMISSION),
        models={fold: read_object(folder / "model.json") for fold, folder in folders.items()},
        runs={fold: read_object(folder / "run.json") for fold, folder in folders.items()},
        external={name: _external(layout.external(name)) for name in sorted(params.evaluate.external)},
    )


def _external(layout: Layout) -> TestResult:
    remedy = f"run dvc repro external_evaluate@{layout.site}"
    found = TestResult.read(layout.test, remedy)
    if found.overlap is None:
        raise DataError(f"{layout.test}: no overlap; {remedy}")
    return found
