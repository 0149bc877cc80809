"""Where MLflow writes: its address, its experiment, and the first touch, safe for many processes at once."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import psutil
from filelock import FileLock, Timeout
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from pneumoseg.config.tracking import TrackingParams, check_uri
from pneumoseg.shared.errors import TrackingError
from pneumoseg.shared.fingerprints import project_root
from pneumoseg.shared.passwords import masked
from pneumoseg.track.database import ARTIFACTS, SQLITE, bring_artifacts_along, make_database

#: What a store that is gone, full or locked raises (a broken connection is an OSError).
FAILURES = (MlflowException, SQLAlchemyError, OSError)
LOCK_TIMEOUT_S = 300.0
HINT = "nothing is lost: `pneumoseg track` rebuilds the row from files"

# MLflow's own defaults keep a training waiting for many minutes when its server is gone.
HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


def points(metrics: Mapping[str, float], step: int = 0) -> list[Metric]:
    """Numbers by name as MLflow's points, of now."""
    now = int(time.time() * 1000)
    return [Metric(name, value, now, step) for name, value in metrics.items()]


@dataclass(frozen=True)
class Store:
    """An MLflow store that answered, and its experiment.

    Attributes:
        uri: absolute address.
        client: bound to it.
        experiment_id: of ``tracking.experiment``.
        lock_path: the lock under which rows are found or made.
    """

    uri: str
    client: MlflowClient
    experiment_id: str
    lock_path: Path

    def search(self, query: str) -> list[Run]:
        """Runs of the experiment, the newest first; at most as many as MLflow gives at once, which are 50,000."""
        order = ["attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment_id], query, order_by=order, max_results=50_000))

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, str] = MappingProxyType({}),
        metrics: Mapping[str, float] = MappingProxyType({}),
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Log by name. MLflow shows the newest value of a metric, and takes 5000 characters of a tag."""
        self.client.log_batch(
            run_id,
            metrics=points(metrics),
            params=[Param(name, masked(value)) for name, value in params.items()],
            tags=[RunTag(name, masked(value)[:5000]) for name, value in tags.items()],
        )


def store_uri(folder: Path, params: TrackingParams) -> str:
    """The absolute address: MLFLOW_TRACKING_URI, else tracking.uri, else SQLite in the repository's root.

    Raises:
        TrackingError: MLFLOW_TRACKING_URI is no address that MLflow can write to.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or params.uri or f"{SQLITE}mlflow.db"
    try:
        check_uri(uri)
    except ValueError as error:
        raise TrackingError(f"MLFLOW_TRACKING_URI = {error}") from None
    # A relative file would be made, and lost, in the temporary folder of a queued experiment.
    return f"{SQLITE}{project_root(folder) / uri.removeprefix(SQLITE)}" if uri.startswith(SQLITE) else uri


def is_server(uri: str) -> bool:
    """Whether an MLflow server stands at this address, and not a database."""
    return urlsplit(uri).scheme in ("http", "https") or uri.startswith("databricks")


def artifact_root(folder: Path, uri: str) -> Path | None:
    """Where artifacts go: beside the SQLite file or in the repository's root; None: the server decides."""
    if is_server(uri):
        return None
    return (Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else project_root(folder)) / ARTIFACTS


def open_store(folder: Path, params: TrackingParams) -> Store:
    """Connect, making database and experiment where they are not there yet.

    Raises:
        TrackingError: the store cannot be reached or used; the message names its address and the fix.
    """
    uri = store_uri(folder, params)
    lock_path = Path(f"{uri.removeprefix(SQLITE)}.lock")
    if not uri.startswith(SQLITE):
        lock_path = project_root(folder) / ".cache" / "mlflow.lock"
    for name, value in HTTP_LIMITS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    _check_port(uri)
    try:
        # Six processes that touch a new SQLite file at once break it for good (tried).
        with locked(lock_path):
            if uri.startswith(SQLITE):
                make_database(uri)
            client = MlflowClient(tracking_uri=uri)
            experiment_id = _experiment(client, params.experiment, artifact_root(folder, uri))
            if uri.startswith(SQLITE):
                bring_artifacts_along(uri, client.get_experiment(experiment_id).artifact_location)
    except FAILURES as error:
        raise TrackingError(f"MLflow at {masked(uri)} cannot be used ({first_line(error)}); {_fix(uri)}") from error
    return Store(uri, client, experiment_id, lock_path)


def this_process() -> str:
    """Name this process so that another one on this machine can tell whether it still lives."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_running(process: str | None) -> bool | None:
    """Whether a named process lives: None where it ran on another machine or no name was kept."""
    host, _, rest = (process or "").partition(":")
    if host != socket.gethostname():
        return None
    pid, _, created = rest.partition(":")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == created
    except psutil.NoSuchProcess:
        return False


def close_dead_runs(store: Store) -> None:
    """Mark runs KILLED that say RUNNING although their process on this machine is gone (kill -9, a power cut)."""
    for run in store.search("attributes.status = 'RUNNING'"):
        if is_running(run.data.tags.get("process")) is False:
            store.client.set_terminated(run.info.run_id, "KILLED")


def _experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            # Without a location of its own, artifacts go to the working directory: lost with a temporary folder.
            return str(client.create_experiment(name, artifact_location=str(artifacts) if artifacts else None))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            found = client.get_experiment_by_name(name)  # another machine was first
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {name!r} was deleted; restore it, or set another tracking.experiment"
        )
    return str(found.experiment_id)


def _check_port(uri: str) -> None:
    """Tell within seconds that nobody listens, where MLflow would try again for minutes."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or any(
        name in os.environ for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    ):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise TrackingError(f"MLflow at {masked(uri)} cannot be reached ({first_line(error)}); {_fix(uri)}") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock.

    Raises:
        TrackingError: another process holds it for minutes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise TrackingError(
            f"{path}: another process has held this lock for {LOCK_TIMEOUT_S:.0f} s; end it, then run again"
        ) from None


def _fix(uri: str) -> str:
    if is_server(uri):
        return "start the server, or correct MLFLOW_TRACKING_URI or tracking.uri, or set tracking.enabled: false"
    return (
        "if its schema is out of date, copy the database and run `mlflow db upgrade "
        f"{masked(uri)}`; else correct MLFLOW_TRACKING_URI or tracking.uri, or set tracking.enabled: false"
    )


def first_line(error: BaseException) -> str:
    """The message of an error in one line that fits a terminal, without a password."""
    return masked(str(error).strip() or type(error).__name__).splitlines()[0][:200]
