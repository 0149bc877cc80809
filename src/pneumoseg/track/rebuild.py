"""Rows rebuilt from files: after ``dvc pull``, after mlflow.db was deleted, for experiments that came from the cache.

What is rebuilt is what dvc.lock can vouch for (see provenance). Times and memory are in no file and do not come back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from pneumoseg.config import Params, parse_params, read_yaml
from pneumoseg.config.flat import known
from pneumoseg.revisions import METRICS_DIR, Revision, Snapshot, overlap
from pneumoseg.shared.errors import DataError, ParameterError, TrackingError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.fingerprints import MORE_TABLES, UNTRACKED_SECTIONS, config_key
from pneumoseg.shared.lockfile import LockedStage
from pneumoseg.shared.passwords import masked
from pneumoseg.shared.tables import read_history
from pneumoseg.track.configuration import Configuration, git_tags
from pneumoseg.track.evidence import holds_pages, record_evaluation, record_external, record_model, record_pages
from pneumoseg.track.model_packaging import logged_bundles
from pneumoseg.track.provenance import broken_link, changed_code, changed_outputs, chosen, current_stages, locked_params
from pneumoseg.track.rows import (
    find_fold_runs,
    find_row,
    log_training,
    open_row,
    record_fold,
)
from pneumoseg.track.store import FAILURES, Store, close_dead_runs, first_line, open_store

PIPELINE = ("params.yaml", "dvc.yaml", "dvc.lock", "src", "stages")
DATA_TABLES = ("data/metadata.csv", "data/annotations.csv")


@dataclass
class Outcome:
    """What became of one revision.

    Attributes:
        source: its name; ``workspace``.
        done: what was put into MLflow; empty where everything was there.
        skipped: what could not be vouched for, and why.
    """

    source: str
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def rebuild(root: Path, params: Params, sources: Sequence[Revision | None]) -> list[Outcome]:
    """Rebuild the missing rows of revisions; None stands for the workspace.

    Args:
        root: the repository, with .dvc/.
        params: of the workspace; only section tracking counts.
        sources: which revisions.

    Raises:
        TrackingError: the store cannot be used.
    """
    if not params.tracking.enabled:
        raise TrackingError("tracking.enabled is false in params.yaml: set it to true to rebuild rows")
    store = open_store(root, params.tracking)
    outcomes = []
    try:
        close_dead_runs(store)
        for revision in sources:
            outcome = Outcome("workspace" if revision is None else revision.name)
            outcomes.append(outcome)
            try:
                _rebuild(store, root, params, revision, outcome)
            except (DataError, ParameterError) as error:
                outcome.skipped.append(str(error))
    except FAILURES as error:
        raise TrackingError(
            f"MLflow at {masked(store.uri)} failed ({first_line(error)}); mend it and run pneumoseg track again"
        ) from error
    return outcomes


def _rebuild(store: Store, root: Path, current: Params, revision: Revision | None, outcome: Outcome) -> None:
    snapshot = Snapshot(root, None if revision is None else revision.sha)
    with tempfile.TemporaryDirectory(prefix="pneumoseg-track-") as name:
        params, stages, content = _read(snapshot, Path(name), current)
        configuration = Configuration.of(Path(name), params, _tags(root, revision))
        before = config_key(Path(name), known(params.model_dump(mode="json"), content, params.written()))
        if find_row(store, before) is not None:  # made when the keys that its params.yaml lacks did not exist
            configuration = replace(configuration, key=before)
        _Rebuilding(store, snapshot, stages, configuration, outcome).record()
        row = find_row(store, configuration.key)
        if outcome.done and row is not None:
            store.client.set_tag(row.info.run_id, "rebuilt", "true")  # its times are not those of the training
            store.client.set_terminated(row.info.run_id, "FINISHED")


def _read(
    snapshot: Snapshot, folder: Path, current: Params
) -> tuple[Params, dict[str, LockedStage], Mapping[str, Any]]:
    """Bring what is needed of a revision, and see that its training can be vouched for.

    Args:
        snapshot: of the revision.
        folder: for its files.
        current: of the workspace, whose sections that no stage reads count.

    Returns:
        The parameters that it ran with, its stages, and the parameters as they were written.

    Raises:
        DataError: why it cannot be recorded.
        ParameterError: its parameters are none of today's.
    """
    if not any(name.startswith("train@") for name in snapshot.stages):
        raise DataError("nothing has been trained yet")
    absent = set(snapshot.export(PIPELINE, folder)) & {"params.yaml", "dvc.yaml"}
    if absent:
        raise DataError(f"no {', '.join(sorted(absent))} in this revision")
    content = read_yaml(folder / "params.yaml")
    stages = current_stages(snapshot.stages, *chosen(content, snapshot.stages))
    content = locked_params(content, stages)
    untracked = {name: getattr(current, name).model_dump(mode="json") for name in UNTRACKED_SECTIONS}
    params = parse_params(content | untracked, "dvc.lock")
    changed = changed_code(snapshot, stages, folder)
    if changed:
        raise DataError(f"code has changed since the stages ran ({', '.join(changed)}): dvc repro first")
    fault = _fault(snapshot, stages, [f"train@{fold}" for fold in params.split.train_folds])
    if fault:
        raise DataError(f"training: {fault}")
    lacking = snapshot.export([f"data/models/fold{fold}/run.json" for fold in params.split.train_folds], folder)
    if lacking:
        raise DataError(f"{', '.join(lacking)} not in DVC's cache: dvc pull first")
    # One by one: dvc.lock also names metrics of folds and external sets that are gone.
    metrics = sorted(out for stage in stages.values() for out in stage.outs if overlap(out, METRICS_DIR))
    beside = [f"data/more/{name}/{table}" for name in params.data.more for table in MORE_TABLES]
    snapshot.export([*DATA_TABLES, *beside, *metrics], folder)
    return params, stages, content


def _fault(snapshot: Snapshot, stages: Mapping[str, LockedStage], names: Sequence[str]) -> str | None:
    """Why the outputs of stages cannot be recorded; None where they can."""
    absent = [name for name in names if name not in stages]
    if absent:
        return f"stage {', '.join(absent)} has not run"
    link = broken_link(snapshot, stages, names)
    if link:
        return f"{link}: dvc repro first"
    changed = [path for name in names for path in changed_outputs(snapshot, stages[name])]
    return f"{', '.join(changed)}: not as the stage wrote it; dvc repro first" if changed else None


def _tags(root: Path, revision: Revision | None) -> dict[str, str]:
    if revision is None:
        return git_tags(root)
    tags = {"mlflow.source.git.commit": revision.sha, "git.dirty": "false"}
    if revision.experiment:
        tags |= {"dvc.exp_name": revision.experiment, "dvc.baseline_rev": revision.baseline or ""}
    return tags


@dataclass(frozen=True)
class _Rebuilding:
    """A revision whose training can be vouched for, and what becomes of it."""

    store: Store
    snapshot: Snapshot
    stages: Mapping[str, LockedStage]
    configuration: Configuration
    outcome: Outcome

    def record(self) -> None:
        """Put on its row what is not there yet."""
        self._training()
        row = find_row(self.store, self.configuration.key)
        if row is None:
            raise TrackingError(
                f"the row of {self.configuration.key} vanished while it was rebuilt; run pneumoseg track again"
            )
        trained = [f"train@{fold}" for fold in self._folds]
        fault = _fault(self.snapshot, self.stages, [*trained, "tune", "evaluate"])
        if fault:
            self.outcome.skipped.append(f"test metrics: {fault}")
            return
        self._test(row)
        self._external(row)
        if "report" in self.stages and not holds_pages(self.store, row):
            self._of_stage("report", row, record_pages)
        wants_model = "bundle" in self.stages and self.configuration.params.tracking.log_model
        if wants_model and not logged_bundles(self.store, row):
            self._of_stage("bundle", row, record_model, "model")

    @property
    def _folds(self) -> tuple[int, ...]:
        return self.configuration.params.split.train_folds

    def _training(self) -> None:
        """The row, and a run for each fold that MLflow does not know."""
        layout, keys = self.configuration.layout, {}
        for fold in self._folds:
            keys[fold] = str(read_json(layout.models / f"fold{fold}/run.json")["train_key"])
            if any("complete" in known.data.tags for known in find_fold_runs(self.store, keys[fold])):
                continue
            with record_fold(self.store, self.configuration, fold, keys[fold], strict=True) as record:
                curves = read_curves(layout.training / f"fold{fold}.csv")
                record.finish(read_json(layout.training / f"fold{fold}.json"), {}, curves)
            self.outcome.done.append(f"fold {fold}")
        if find_row(self.store, self.configuration.key) is None:
            row = open_row(self.store, self.configuration)
            log_training(self.store, row, keys)
            self.outcome.done.append("row")

    def _test(self, row: Run) -> None:
        lacking = self.snapshot.export(["data/submission.csv"], self.configuration.root)
        if lacking:
            self.outcome.skipped.append(f"{', '.join(lacking)} not in DVC's cache: dvc pull first")
        if record_evaluation(self.store, self.configuration, row.info.run_id):
            self.outcome.done.append("test metrics")

    def _external(self, row: Run) -> None:
        names = [f"external_evaluate@{name}" for name in self.configuration.params.evaluate.external]
        fault = _fault(self.snapshot, self.stages, names)
        if fault:
            self.outcome.skipped.append(f"external sets: {fault}")
        elif names and record_external(self.store, self.configuration, row.info.run_id):
            self.outcome.done.append("external sets")

    def _of_stage(
        self, stage: str, row: Run, record: Callable[[Store, Configuration, str], bool], called: str = ""
    ) -> None:
        """The folder data/<stage> that a last stage makes."""
        called = called or stage
        fault = broken_link(self.snapshot, self.stages, [stage])
        if fault or self.snapshot.export([f"data/{stage}"], self.configuration.root):
            self.outcome.skipped.append(f"{called}: {fault or 'not in the cache of DVC: dvc pull first'}")
        elif record(self.store, self.configuration, row.info.run_id):
            self.outcome.done.append(called)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics/train/fold<k>.csv, empty cells left out.

    Raises:
        DataError: the file is missing or has no column epoch.
    """
    rows = read_history(path).to_dict("records")
    return [{str(name): cell for name, cell in row.items() if cell != "" and not pd.isna(cell)} for row in rows]
