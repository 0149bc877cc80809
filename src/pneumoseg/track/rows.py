"""The rows of MLflow: one top-level run for each configuration, its folds as nested runs."""

from __future__ import annotations

import getpass
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from pneumoseg import __version__
from pneumoseg.config import Params
from pneumoseg.shared import fingerprints
from pneumoseg.shared.errors import TrackingError
from pneumoseg.shared.tables import METADATA, read_table
from pneumoseg.track.flat import flat_params
from pneumoseg.track.fold_run import HINT, FoldRun, Sink
from pneumoseg.track.store import FAILURES, Store, close_dead_runs, first_line, is_running, shown, this_process

logger = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
DVC_TAGS = {"DVC_EXP_NAME": "dvc.exp_name", "DVC_EXP_BASELINE_REV": "dvc.baseline_rev", "DVC_STAGE": "dvc.stage"}


@dataclass(frozen=True)
class Configuration:
    """One full configuration: what a top-level row stands for.

    Attributes:
        root: the folder with params.yaml, dvc.yaml, metrics/ and what there is of data/.
        params: all parameters.
        key: see fingerprints.config_key.
        data: see fingerprints.data_fingerprint.
        tags: where it comes from (git, DVC), as MLflow tags.
    """

    root: Path
    params: Params
    key: str
    data: str
    tags: Mapping[str, str]

    @classmethod
    def here(cls, root: Path, params: Params) -> Configuration:
        """The configuration of a stage that runs in ``root``."""
        tags = {tag: os.environ[name] for name, tag in DVC_TAGS.items() if os.environ.get(name)}
        return cls.of(root, params, git_tags(root) | tags)

    @classmethod
    def of(cls, root: Path, params: Params, tags: Mapping[str, str]) -> Configuration:
        """The configuration of files in ``root``."""
        key, data = fingerprints.config_key(root, params.model_dump(mode="json")), fingerprints.data_fingerprint(root)
        code = {"pneumoseg.version": __version__, "code_fingerprint": fingerprints.pipeline_code(root)}
        return cls(root, params, key, data, {**code, **tags})

    @property
    def name(self) -> str:
        """The experiment's name, else architecture and encoder."""
        return self.tags.get("dvc.exp_name") or f"{self.params.model.architecture}-{self.params.model.encoder}"


def git_tags(root: Path) -> dict[str, str]:
    """Commit of the code and whether pipeline or code differ from it; nothing where there is no git."""
    git = shutil.which("git")
    if git is None:
        return {}

    def output(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", os.fspath(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = output("rev-parse", "HEAD"), output("status", "--porcelain", "--", "src", "stages", "dvc.yaml")
    if commit is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": "true" if changes else "false"}


def find_row(store: Store, key: str) -> Run | None:
    """The newest top-level run of a configuration."""
    return next(iter(store.search(f"tags.config_key = '{key}'")), None)


def find_fold_runs(store: Store, train_key: str) -> list[Run]:
    """The runs of one training, the newest first; ``complete`` is among their tags once it was finished."""
    return store.search(f"tags.train_key = '{train_key}'")


def open_row(store: Store, configuration: Configuration) -> tuple[str, bool]:
    """Find or make the row of a configuration; returns its run id and whether it is new.

    The lock holds the other processes off: two folds at once make one row.
    """
    with store.locked():
        found = find_row(store, configuration.key)
        if found is None:
            tags = _row_tags(configuration)
            run_id = store.client.create_run(store.experiment_id, tags=tags, run_name=configuration.name).info.run_id
        else:
            run_id = found.info.run_id
    known = found.data.tags if found else {}
    fresh = {name: value for name, value in configuration.tags.items() if name not in known}
    log_tags(store, run_id, {**fresh, "process": this_process()})
    # Again on a row that was there: the process that made it may have ended before this line.
    sections = configuration.params.model_dump(mode="json", exclude=set(fingerprints.UNTRACKED_SECTIONS))
    params = [Param(name, value) for name, value in flat_params(sections).items()]
    for start in range(0, len(params), 100):
        store.client.log_batch(run_id, params=params[start : start + 100])
    if found is None or found.inputs is None or not found.inputs.dataset_inputs:
        store.client.log_inputs(run_id, datasets=[_dataset(configuration)])
    return run_id, found is None


@contextmanager
def record_fold(
    store: Store, configuration: Configuration, fold: int, train_key: str, *, strict: bool = False
) -> Iterator[FoldRun]:
    """Open the run of one training, new or broken off, and close it with the status of what happened inside.

    Raises:
        TrackingError: the store fails before the training starts; later too with ``strict``.
    """
    try:
        close_dead_runs(store)
        row, _ = open_row(store, configuration)
        store.client.update_run(row, status="RUNNING")
        run_id = _open_fold(store, configuration, row, fold, train_key)
        sink = Sink(store, run_id, strict)
    except FAILURES as error:
        raise TrackingError(
            f"MLflow at {shown(store.uri)} failed ({first_line(error)}); mend it, or set tracking.enabled: false"
        ) from error
    status = "FAILED"
    try:
        yield FoldRun(sink)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        _close_fold(store, row, sink, status, strict)


def log_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Set several tags at once; MLflow takes 5000 characters each."""
    store.client.log_batch(run_id, tags=[RunTag(name, value[:5000]) for name, value in tags.items()])


def log_metrics(store: Store, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log numbers without a step: the newest value of a name is the one that MLflow shows."""
    now = int(time.time() * 1000)
    points = [Metric(name, value, now, 0) for name, value in metrics.items()]
    for start in range(0, len(points), 500):
        store.client.log_batch(run_id, metrics=points[start : start + 500])


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
        tags[f"train_key.fold{fold}"] = key
        finished = [run for run in find_fold_runs(store, key) if "complete" in run.data.tags]
        if finished:
            tags[f"run_id.fold{fold}"] = finished[0].info.run_id
            for name, value in finished[0].data.metrics.items():
                if name.startswith(("best/", "cost/")) and name != "best/fold":
                    values.setdefault(name, []).append(value)
    log_tags(store, row, tags)
    log_metrics(store, row, {name.removeprefix("cost/"): _over_folds(name, found) for name, found in values.items()})


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
    log_tags(store, row, {f"train_key.fold{fold}": train_key})
    return str(run.info.run_id)


def _close_fold(store: Store, row: str, sink: Sink, status: str, strict: bool) -> None:
    try:
        if sink.finished:
            store.client.set_tag(sink.run_id, "complete", "true")
            tags = store.client.get_run(row).data.tags
            keys = {
                name.removeprefix("train_key.fold"): key
                for name, key in tags.items()
                if name.startswith("train_key.fold")
            }
            log_training(store, row, {int(fold): key for fold, key in keys.items()})
        store.client.set_terminated(sink.run_id, status)
        store.client.set_terminated(row, status)
    except FAILURES as error:
        if strict:
            raise
        logger.warning("MLflow at %s failed at the end of training (%s); %s", shown(store.uri), first_line(error), HINT)


def _row_tags(configuration: Configuration) -> dict[str, str]:
    phantom = phantom_share(configuration.root)
    tags = {
        "config_key": configuration.key,
        "data_fingerprint": configuration.data,
        "mlflow.source.name": "pneumoseg",
        "mlflow.source.type": "PROJECT",
        **configuration.tags,
    }
    if phantom is not None:
        tags["phantom"] = "true" if phantom else "false"
    if phantom:
        tags["mlflow.note.content"] = "**Phantom data.** These figures say nothing about patients."
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError):  # a container without an account
        logger.debug("no user name")
    return tags


def phantom_share(root: Path) -> float | None:
    """Share of synthetic images in data/metadata.csv; None where the table is not here."""
    path = root / "data/metadata.csv"
    if not path.is_file():
        return None
    phantom = read_table(path, {"phantom": METADATA["phantom"]})["phantom"]
    return float(phantom.fillna(0).mean()) if len(phantom) else 0.0


def _dataset(configuration: Configuration) -> DatasetInput:
    """The data set as MLflow's entity: name, digest, source."""
    source = configuration.params.data.root
    profile = {"metadata": "data/metadata.csv", "annotations": configuration.params.data.annotations}
    dataset = Dataset(
        name=Path(source).name or source,
        digest=configuration.data,
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
