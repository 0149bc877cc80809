"""The rows of MLflow: one top-level run for each configuration, its folds as nested runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow.entities import Run

from pneumoseg.shared.errors import TrackingError
from pneumoseg.shared.passwords import masked
from pneumoseg.track.configuration import Configuration
from pneumoseg.track.live_run import LiveRun
from pneumoseg.track.store import (
    FAILURES,
    HINT,
    Store,
    close_dead_runs,
    first_line,
    is_running,
    locked,
    this_process,
)

logger = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
TRAIN_KEY = "train_key.fold"


def find_row(store: Store, key: str) -> Run | None:
    """The newest top-level run of a configuration."""
    return next(iter(store.search(f"tags.config_key = '{key}'")), None)


def find_fold_runs(store: Store, train_key: str) -> list[Run]:
    """The runs of one training, the newest first; ``complete`` is among their tags once it was finished."""
    return store.search(f"tags.train_key = '{train_key}'")


def open_row(store: Store, configuration: Configuration) -> str:
    """Find or make the row of a configuration; returns its run id.

    The lock holds the other processes off: two folds at once make one row.
    """
    with locked(store.lock_path):
        row = find_row(store, configuration.key) or store.client.create_run(
            store.experiment_id, tags=configuration.row_tags(), run_name=configuration.name
        )
    run_id = str(row.info.run_id)
    fresh = {name: value for name, value in configuration.tags.items() if name not in row.data.tags}
    # Parameters again on a row that was there: the process that made it may have ended before this line.
    store.log(run_id, params=configuration.row_params(), tags={**fresh, "process": this_process()})
    if row.inputs is None or not row.inputs.dataset_inputs:
        store.client.log_inputs(run_id, datasets=[configuration.dataset()])
    return run_id


@contextmanager
def record_fold(
    store: Store, configuration: Configuration, fold: int, train_key: str, *, strict: bool = False
) -> Iterator[LiveRun]:
    """Open the run of one training, new or broken off, and close it with the status of what happened inside.

    Raises:
        TrackingError: the store fails before the training starts; later too with ``strict``.
    """
    try:
        close_dead_runs(store)
        row = open_row(store, configuration)
        store.client.update_run(row, status="RUNNING")
        run = LiveRun(store, _open_fold(store, configuration, row, fold, train_key), strict=strict)
    except FAILURES as error:
        raise TrackingError(
            f"MLflow at {masked(store.uri)} failed ({first_line(error)}); mend it, or set tracking.enabled: false"
        ) from error
    status = "FAILED"
    try:
        yield run
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        _close_fold(store, row, run, status, strict)


def log_training(store: Store, row: str, train_keys: Mapping[int, str]) -> None:
    """Put on a row which trainings it rests on, and what they came to: means of ``best/…``, costs over the folds.

    Args:
        store: the store.
        row: run id of the configuration's row.
        train_keys: of the models, by fold; a training may have been made for another configuration.
    """
    tags: dict[str, str] = {}
    values: dict[str, list[float]] = {}
    for fold, key in train_keys.items():
        tags[f"{TRAIN_KEY}{fold}"] = key
        finished = [run for run in find_fold_runs(store, key) if "complete" in run.data.tags]
        if finished:
            tags[f"run_id.fold{fold}"] = finished[0].info.run_id
            for name, value in finished[0].data.tags.items():
                if name.startswith(("best/", "cost/")):
                    values.setdefault(name, []).append(float(value))
    metrics = {name.removeprefix("cost/"): _over_folds(name, found) for name, found in values.items()}
    store.log(row, metrics=metrics, tags=tags)


def _over_folds(name: str, values: list[float]) -> float:
    if name.startswith("cost/"):
        if "memory" in name:
            return max(values)
        if "per_second" not in name and (name.endswith("seconds") or name.startswith("cost/seconds")):
            return sum(values)
    return sum(values) / len(values)


def _open_fold(store: Store, configuration: Configuration, row: str, fold: int, train_key: str) -> str:
    """The run that was broken off, if its process is gone; else a new one."""
    mine = this_process()
    for run in find_fold_runs(store, train_key):
        tags = run.data.tags
        if tags.get(PARENT) != row:
            continue
        if "complete" in tags:
            break
        ours = tags.get("process") == mine
        if run.info.status != "RUNNING" or ours or is_running(tags.get("process")) is False:
            store.client.update_run(run.info.run_id, status="RUNNING")
            store.client.set_tag(run.info.run_id, "process", mine)
            return str(run.info.run_id)
    tags = {PARENT: row, "train_key": train_key, "fold": str(fold), "process": mine, **configuration.tags}
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=f"fold {fold}")
    store.log(row, tags={f"{TRAIN_KEY}{fold}": train_key})
    return str(run.info.run_id)


def _close_fold(store: Store, row: str, run: LiveRun, status: str, strict: bool) -> None:
    try:
        if run.finished:
            store.client.set_tag(run.run_id, "complete", "true")
            tags = store.client.get_run(row).data.tags.items()
            keys = {int(name.removeprefix(TRAIN_KEY)): key for name, key in tags if name.startswith(TRAIN_KEY)}
            log_training(store, row, keys)
        store.client.set_terminated(run.run_id, status)
        store.client.set_terminated(row, status)
    except FAILURES as error:
        if strict:
            raise
        logger.warning(
            "MLflow at %s failed at the end of training (%s); %s", masked(store.uri), first_line(error), HINT
        )
