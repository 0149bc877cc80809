"""Everything the report is made of, read and checked before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoseg.report.parameter_changes import Configuration, read_configuration
from pneumoseg.report.parts import Figure
from pneumoseg.rule.cases import read_predicted
from pneumoseg.rule.decision import DecisionRule, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, Columns, read_table

#: What the report needs of metrics/test_cases.csv.
TEST_CASES: Columns = {
    "image_id": "text",
    "probability": "number",
    "truth_px": "integer",
    "predicted_px": "integer",
    "intersection_px": "integer",
    "dice": "number",
    "hd95_mm": "number",
    "lesion_size": "text",
    "sex": "text",
    "age_band": "text",
    "view_position": "text",
    "phantom": "integer",
}
SUBMISSION: Columns = {"ImageId": "text", "EncodedPixels": "text"}
#: Figures without which there is no report; the value of each may be null.
_HEADLINE = ("dice_all", "dice_pos", "sensitivity", "specificity", "all_empty", "prevalence")


@dataclass(frozen=True)
class Inputs:
    """The files of all stages; tables sorted as they are in the files."""

    root: Path
    configuration: Configuration
    test: Mapping[str, Any]
    thresholds: Mapping[str, Any]
    rule: DecisionRule
    cases: pd.DataFrame
    predicted: pd.DataFrame
    metadata: pd.DataFrame
    annotations: pd.DataFrame
    folds: pd.DataFrame
    submission: pd.DataFrame
    train_folds: tuple[int, ...]
    size_limits_px_at_1024: tuple[int, int]
    models: Mapping[int, Mapping[str, Any]]  # model.json of each trained fold
    runs: Mapping[int, Mapping[str, Any]]  # run.json of each trained fold
    external: Mapping[str, Mapping[str, Any]]  # figures.json of each external set, by name in the order of names

    def figure(self, name: str) -> Figure:
        """A figure of the test set by its name in metrics/test.json."""
        return figure_of(self.test, name)

    @property
    def phantom_share(self) -> float:
        """Share of all images that are phantoms, 0 to 1."""
        return float(self.metadata["phantom"].fillna(0).mean()) if len(self.metadata) else 0.0


def read_inputs(root: Path) -> Inputs:
    """Read the files below ``root`` that the report needs.

    Raises:
        DataError: a file is missing, unreadable, or contradicts another.
    """
    data, metrics = root / "data", root / "metrics"
    configuration = read_configuration(root / "params.yaml", root / "requirements.lock")
    train_folds = _whole_numbers(configuration, "split.train_folds", root)
    limits = _whole_numbers(configuration, "evaluate.size_limits_px_at_1024", root)
    if len(limits) != 2:
        raise DataError(f"{root / 'params.yaml'}: evaluate.size_limits_px_at_1024 must be two numbers")
    test = read_object(metrics / "test.json")
    missing = [name for name in (*_HEADLINE, "n", "intervals") if name not in test]
    if missing:
        raise DataError(f"{metrics / 'test.json'}: no figure {', '.join(missing)}; run dvc repro evaluate")
    cases = read_table(metrics / "test_cases.csv", TEST_CASES)
    if len(cases) != test["n"]:
        raise DataError(
            f"{metrics / 'test_cases.csv'} has {len(cases)} images, test.json {test['n']}; run dvc repro evaluate"
        )
    folders = {fold: data / "models" / f"fold{fold}" for fold in train_folds}
    return Inputs(
        root=root,
        configuration=configuration,
        test=test,
        thresholds=read_object(metrics / "thresholds.json"),
        rule=read_rule(metrics / "thresholds.json"),
        cases=cases,
        predicted=read_predicted(data / "predictions"),
        metadata=read_table(data / "metadata.csv", METADATA),
        annotations=read_table(data / "annotations.csv", ANNOTATIONS),
        folds=read_table(data / "splits" / "folds.csv", FOLDS),
        submission=read_table(data / "submission.csv", SUBMISSION),
        train_folds=train_folds,
        size_limits_px_at_1024=(limits[0], limits[1]),
        models={fold: read_object(folder / "model.json") for fold, folder in folders.items()},
        runs={fold: read_object(folder / "run.json") for fold, folder in folders.items()},
        external=_external_figures(configuration, metrics),
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        DataError: missing, unreadable or something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold named figures; delete it and run dvc repro")
    return content


def mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under a key; an empty one where the data set gives no such figures."""
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def texts_of(content: Mapping[str, Any]) -> list[str]:
    """The sentences of its notes."""
    return [str(note["text"] if isinstance(note, Mapping) else note) for note in content.get("notes") or ()]


def figure_of(content: Mapping[str, Any], name: str) -> Figure:
    """A figure with its interval, which stands in ``intervals`` or beside it as ``<name>_interval``."""
    value = content.get(name)
    interval = mapping(content, "intervals").get(name) or content.get(f"{name}_interval") or (None, None)
    low, high = interval
    return Figure(None if value is None else float(value), low, high)


def _external_figures(configuration: Configuration, metrics: Path) -> dict[str, dict[str, Any]]:
    keys = [setting.key.split(".") for setting in configuration.settings]
    names = sorted({key[2] for key in keys if key[:2] == ["evaluate", "external"] and len(key) > 2})
    found = {name: read_object(metrics / "external" / name / "figures.json") for name in names}
    for name, figures in found.items():
        missing = [key for key in (*_HEADLINE, "n", "intervals", "overlap") if key not in figures]
        if missing:
            raise DataError(
                f"{metrics / 'external' / name / 'figures.json'}: no figure {', '.join(missing)}; "
                f"run dvc repro external_evaluate@{name}"
            )
    return found


def _whole_numbers(configuration: Configuration, key: str, root: Path) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in json.loads(configuration.value(key)))
    except (ValueError, TypeError) as error:
        raise DataError(f"{root / 'params.yaml'}: {key} must be a list of whole numbers ({error})") from None
