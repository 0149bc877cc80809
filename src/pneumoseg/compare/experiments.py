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

from pneumoseg.config import Params, read_yaml
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.evaluate.metric import column
from pneumoseg.evaluate.metrics.core import DICE_ALL
from pneumoseg.evaluate.result import TestResult
from pneumoseg.report.parameter_changes import settings as settings_of
from pneumoseg.revisions import Snapshot, resolve
from pneumoseg.rule.dice import dice
from pneumoseg.shared.errors import DataError, ParameterError
from pneumoseg.shared.files import read_object
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.shared.tables import FOLDS, Columns, read_history, read_table
from pneumoseg.stats.bootstrap import Estimate
from pneumoseg.track.provenance import broken_link, changed_outputs, chosen, current_stages, locked_params

#: The name of the files that lie here, whatever was committed; dvc calls them so too.
WORKSPACE: Final = "workspace"
_NEEDED: Final = ("metrics/test.json", "metrics/test_cases.csv", "metrics/thresholds.json", "params.yaml")
_FOLDS: Final = "data/splits/folds.csv"
_CASES: Columns = {
    "image_id": "text",
    "patient": "text",
    "pneumothorax": "integer",
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
        cases: metrics/test_cases.csv by image_id, sorted; dice from the pixel counts; pneumothorax and called of every
            image, whatever is known of masks.
        settings: the parameters that its stages ran with, flat, as JSON text; params.yaml where dvc.lock has none.
        stages: dvc.lock.
        curves: metrics/train/fold<k>.csv by fold.
        folds: data/splits/folds.csv; None where DVC's cache does not have it.
        doubts: why the figures may not be those of the parameters, in sentences.
        unknowns: what could not be checked, in sentences.
        train_keys: of its folds, where DVC's cache has their run.json.
    """

    name: str
    sha: str | None
    test: TestResult
    rule: str
    cases: pd.DataFrame
    settings: Mapping[str, str]
    stages: Mapping[str, LockedStage]
    curves: Mapping[int, pd.DataFrame]
    folds: pd.DataFrame | None
    doubts: tuple[str, ...]
    unknowns: tuple[str, ...]
    train_keys: tuple[str, ...] = ()

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
        test = TestResult.read(folder / "metrics/test.json")
        cases = read_cases(folder / "metrics/test_cases.csv", test)
        thresholds = read_object(folder / "metrics/thresholds.json")
        settings, stages, doubts, unknowns = _read_settings(snapshot, folder)
        folds = read_table(folder / _FOLDS, FOLDS) if (folder / _FOLDS).is_file() else None
        curves = _read_curves(folder / "metrics/train", settings)
    except (DataError, ParameterError) as error:
        # The files lie in a temporary folder; the reader knows them by their revision.
        raise DataError(f"{name}: {str(error).replace(f'{folder}/', '')}") from None
    rule = str(thresholds.get("description") or "not recorded")
    keys = _train_keys(snapshot, settings, folder)
    return Experiment(
        name, sha, test, rule, cases, settings, stages, curves, folds, tuple(doubts), tuple(unknowns), keys
    )


def read_cases(path: Path, test: TestResult) -> pd.DataFrame:
    """Read the test images and see that they are those of test.json, and their Dice that of their pixels."""
    held = read_table(path, _CASES).columns
    frame = read_table(path, {name: kind for name, kind in TEST_CASES.items() if name in held})
    twice = frame.loc[frame["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} has two rows; run dvc repro evaluate")
    counts = [column(frame, name) for name in ("intersection_px", "predicted_px", "truth_px")]
    known = np.isfinite(counts).all(axis=0)
    exact = np.where(known, dice(*np.nan_to_num(counts)), np.nan)
    told = column(frame, "dice")
    wrong = (known != np.isfinite(told)) | (np.abs(exact - told) >= _ROUNDING)
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise DataError(
            f"{path}: {row['image_id']} has dice {row['dice']:g}, but its pixels give {exact[wrong][0]:.6f}; "
            "run dvc repro evaluate"
        )
    frame["dice"] = exact
    if "called" not in frame:
        frame["called"] = (frame["predicted_px"] > 0).astype("Int64")
    mean = Estimate.of(DICE_ALL.of(frame).value).value
    said = test.figure(DICE_ALL.name).value
    if test.n != len(frame) or (said is None) != (mean is None) or abs((said or 0) - (mean or 0)) >= _ROUNDING:
        raise DataError(
            f"metrics/test.json has {DICE_ALL.name} {said} of {test.n} images, but {path} gives {mean} of "
            f"{len(frame)}: they are not of one run; run dvc repro evaluate"
        )
    return frame.set_index("image_id").sort_index()


def _read_settings(
    snapshot: Snapshot, folder: Path
) -> tuple[dict[str, str], dict[str, LockedStage], list[str], list[str]]:
    """The parameters that made the figures, dvc.lock, and what speaks against their belonging together."""
    content = read_yaml(folder / "params.yaml")
    if not isinstance(content, dict):
        raise DataError("params.yaml: must hold sections of parameters; restore it from git")
    stages = snapshot.stages
    if "evaluate" not in stages:
        return (
            settings_of(_as_now(content)),
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
    return settings_of(_as_now(content)), stages, doubts, unknowns


def _as_now(content: dict[str, Any]) -> dict[str, Any]:
    """The parameters in today's keys: what an older file lacks has its value of then. As they are if not all fit."""
    try:
        return Params.read(content, "params.yaml").written()
    except ParameterError:
        return content


def _train_keys(snapshot: Snapshot, settings: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    paths = [f"data/models/fold{fold}/run.json" for fold in json.loads(settings.get("split.train_folds", "[]"))]
    if snapshot.export(paths, folder):
        return ()
    return tuple(str(read_object(folder / path).get("train_key")) for path in paths)


def _read_curves(folder: Path, settings: Mapping[str, str]) -> dict[int, pd.DataFrame]:
    """Training curves of the trained folds; files of other folds are left from earlier runs."""
    trained = json.loads(settings.get("split.train_folds", "[]"))
    found = {}
    for path in sorted(folder.glob("fold*.csv")):
        named = _FOLD_CSV.fullmatch(path.name)
        if named and int(named[1]) in trained:
            found[int(named[1])] = read_history(path)
    return dict(sorted(found.items()))
