"""One experiment as a revision holds it: its test images, its parameters, and what is doubtful about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pneumoseg.report.inputs import read_object
from pneumoseg.report.parameter_changes import flatten
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.shared.revisions import Snapshot, resolve
from pneumoseg.shared.tables import FOLDS, Columns, read_table
from pneumoseg.track.provenance import broken_link, changed_outputs, chosen, current_stages, locked_params

#: The name of the files that lie here, whatever was committed; dvc calls them so too.
WORKSPACE: Final = "workspace"
_NEEDED: Final = ("metrics/test.json", "metrics/test_cases.csv", "metrics/thresholds.json", "params.yaml")
_FOLDS: Final = "data/splits/folds.csv"
_CASES: Columns = {
    "image_id": "text",
    "patient": "text",
    "image_px": "integer",
    "truth_px": "integer",
    "predicted_px": "integer",
    "intersection_px": "integer",
    "dice": "number",
    "lesion_size": "text",
    "phantom": "integer",
}
_FOLD_CSV: Final = re.compile(r"fold([0-9]+)\.csv")
# Figures are written with six decimals, cells with nine digits.
_ROUNDING = 2e-6


@dataclass(frozen=True)
class Experiment:
    """What a comparison needs of one revision.

    Attributes:
        name: as the user gave it.
        sha: its commit; None for the workspace.
        test: metrics/test.json.
        rule: the decision rule in words.
        cases: metrics/test_cases.csv by image_id, sorted; dice from the pixel counts; probability where there is one.
        settings: the parameters that its stages ran with, flat, as JSON text; params.yaml where dvc.lock has none.
        stages: dvc.lock.
        curves: metrics/train/fold<k>.csv by fold.
        folds: data/splits/folds.csv; None where DVC's cache does not have it.
        doubts: why the figures may not be those of the parameters, in sentences.
        unknowns: what could not be checked, in sentences.
    """

    name: str
    sha: str | None
    test: Mapping[str, Any]
    rule: str
    cases: pd.DataFrame
    settings: Mapping[str, str]
    stages: Mapping[str, LockedStage]
    curves: Mapping[int, pd.DataFrame]
    folds: pd.DataFrame | None
    doubts: tuple[str, ...]
    unknowns: tuple[str, ...]

    @property
    def commit(self) -> str:
        """The beginning of its commit, or what it is instead."""
        return self.sha[:9] if self.sha else "files that lie here"

    def setting(self, key: str) -> str:
        """The value of ``section.key`` as plain text; empty where there is none."""
        text = self.settings.get(key, "")
        return str(json.loads(text)) if text.startswith('"') else text


def read_experiment(root: Path, name: str, folder: Path) -> Experiment:
    """Bring a revision's files and read them.

    Args:
        root: the repository.
        name: anything git can name, an experiment of DVC, or ``workspace``.
        folder: an empty one for its files.

    Raises:
        DataError: there is no such revision, it has no test figures, or its files contradict each other.
    """
    sha = None if name == WORKSPACE else resolve(root, name).sha
    snapshot = Snapshot(root, sha)
    missing = set(snapshot.export([*_NEEDED, "metrics/train", _FOLDS], folder)) & set(_NEEDED)
    if missing:
        raise DataError(
            f"{name}: has no {', '.join(sorted(missing))}; only a revision on which dvc repro has run to evaluate can "
            "be compared"
        )
    try:
        test = read_object(folder / "metrics/test.json")
        cases = _read_cases(folder / "metrics/test_cases.csv", test)
        thresholds = read_object(folder / "metrics/thresholds.json")
        settings, stages, doubts, unknowns = _read_settings(snapshot, folder)
        folds = read_table(folder / _FOLDS, FOLDS) if (folder / _FOLDS).is_file() else None
        curves = _read_curves(folder / "metrics/train", settings)
    except DataError as error:
        # The files lie in a temporary folder; the reader knows them by their revision.
        raise DataError(f"{name}: {str(error).replace(f'{folder}/', '')}") from None
    rule = str(thresholds.get("description") or "not recorded")
    return Experiment(name, sha, test, rule, cases, settings, stages, curves, folds, tuple(doubts), tuple(unknowns))


def _read_cases(path: Path, test: Mapping[str, Any]) -> pd.DataFrame:
    """Read the test images and see that they are those of test.json, and their Dice that of their pixels."""
    frame = read_table(path, _CASES)
    if "probability" in frame.columns:
        frame = read_table(path, {**_CASES, "probability": "number"})
    twice = frame.loc[frame["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} has two rows; run dvc repro evaluate")
    counts = frame[["image_px", "truth_px", "predicted_px", "intersection_px"]]
    if counts.isna().any(axis=None):
        raise DataError(f"{path}: an image has no pixel count; run dvc repro evaluate")
    exact = dice(*(counts[name].to_numpy(np.float64) for name in ("intersection_px", "predicted_px", "truth_px")))
    wrong = ~(np.abs(exact - frame["dice"].to_numpy(np.float64)) < _ROUNDING)
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise DataError(
            f"{path}: {row['image_id']} has dice {row['dice']:g}, but its pixels give {exact[wrong][0]:.6f}; "
            "run dvc repro evaluate"
        )
    frame["dice"] = exact
    mean = float(exact.mean()) if len(exact) else float("nan")
    if test.get("n") != len(frame) or not abs(float(test.get("dice_all") or 0.0) - mean) < _ROUNDING:
        raise DataError(
            f"metrics/test.json has dice_all {test.get('dice_all')} of {test.get('n')} images, but {path} gives "
            f"{mean:.6f} of {len(frame)}: they are not of one run; run dvc repro evaluate"
        )
    return frame.set_index("image_id").sort_index()


def _read_settings(
    snapshot: Snapshot, folder: Path
) -> tuple[dict[str, str], dict[str, LockedStage], list[str], list[str]]:
    """The parameters that made the figures, dvc.lock, and what speaks against their belonging together."""
    content = _read_params(folder / "params.yaml")
    stages = snapshot.stages
    if "evaluate" not in stages:
        return (
            flatten(content),
            stages,
            ["dvc.lock does not know the test figures; the parameters may not be theirs"],
            [],
        )
    stages = current_stages(stages, *chosen(content, stages))
    doubts, unknowns = [], []
    changed = [
        path for stage in ("tune", "evaluate") if stage in stages for path in changed_outputs(snapshot, stages[stage])
    ]
    if changed:
        doubts.append(f"{', '.join(changed)}: not as the pipeline wrote it (dvc.lock has another MD5)")
    try:
        link = broken_link(snapshot, stages, ["evaluate"])
        if link:
            doubts.append(f"the parameters may not be those of the figures: {link}")
    except DataError as error:
        unknowns.append(f"whether the parameters are those of the figures cannot be told: {error}")
    try:
        content = locked_params(content, stages)
    except DataError as error:
        doubts.append(f"the parameters may not be those of the figures: {error}")
    return flatten(content), stages, doubts, unknowns


def _read_params(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe").load(path)
    except YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold sections of parameters; restore it from git")
    return content


def _read_curves(folder: Path, settings: Mapping[str, str]) -> dict[int, pd.DataFrame]:
    """Training curves of the trained folds; files of other folds are left from earlier runs."""
    trained = json.loads(settings.get("split.train_folds", "[]"))
    found = {}
    for path in sorted(folder.glob("fold*.csv")):
        named = _FOLD_CSV.fullmatch(path.name)
        if named and int(named[1]) in trained:
            frame = read_table(path, {"epoch": "number"})
            found[int(named[1])] = frame
    return dict(sorted(found.items()))
