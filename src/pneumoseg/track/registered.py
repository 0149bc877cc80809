"""Models by name: those of a run, and the versions of the registered model, of which aliases say what each is for."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from pneumoseg.config.tracking import TrackingParams
from pneumoseg.shared.errors import DataError, TrackingError
from pneumoseg.shared.files import fresh_dir
from pneumoseg.shared.fingerprints import project_root
from pneumoseg.shared.passwords import masked
from pneumoseg.track.database import SQLITE
from pneumoseg.track.model_packaging import BUNDLE, logged_bundles
from pneumoseg.track.store import Store, first_line, is_server, open_store, store_uri
from pneumoseg.use.bundle import Bundle

#: Of the registered model.
NAME = "pneumoseg"
CANDIDATE = "candidate"
CHAMPION = "champion"
_MODEL = re.compile(r"models:/([^/@]+)@([^/]+)|models:/([^/@]+)/([0-9]+)|models:/(m-[0-9a-f]+)")


@dataclass(frozen=True)
class Registered:
    """A version of the registered model, and the bundle in it."""

    version: str
    run_id: str
    bundle: Bundle

    @property
    def name(self) -> str:
        """As it is told to people."""
        return f"version {self.version}"


def tracked_bundle(folder: Path, params: TrackingParams, model: str) -> Path:
    """The folder of the bundle that MLflow has under a name: where it lies, or copied from a server into .cache/.

    Args:
        folder: of the project, or any other.
        params: which store.
        model: a run's id, ``runs:/<id>``, ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.

    Raises:
        DataError: there is no such run or model, or it holds no bundle.
        TrackingError: the store cannot be used.
    """
    uri = store_uri(folder, params)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise TrackingError(f"{model}: MLflow has recorded nothing here ({masked(uri)}); run dvc repro first")
    store = open_store(folder, params)
    try:
        if model.startswith("models:/"):
            return _bundle_of(store, folder, _model_id(store, model))
        run = store.client.get_run(model.removeprefix("runs:/").strip("/"))
    except MlflowException as error:
        raise DataError(f"{model}: {first_line(error)}") from None
    return _bundle_of(store, folder, model_of(store, run))


def model_of(store: Store, run: Run) -> str:
    """The id of the newest model of a run.

    Raises:
        DataError: it has none that holds a bundle.
    """
    found = logged_bundles(store, run)
    if not found:
        raise DataError(
            f"run {run.info.run_name} ({run.info.run_id}) has no model with a bundle; dvc repro bundle logs one where "
            "tracking.log_model is true, and pneumoseg track puts a missing one there"
        )
    return found[0]


def register(store: Store, folder: Path, run: Run) -> Registered:
    """Give the model of a run a version of the registered model, and that the alias ``candidate``.

    A model that has a version keeps it.

    Raises:
        DataError: the run has no model.
    """
    model = model_of(store, run)
    bundle = Bundle.read(_bundle_of(store, folder, model))
    try:
        store.client.create_registered_model(NAME, description="Pneumothorax on chest radiographs. Research use only.")
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    held = [one for one in store.client.search_model_versions(f"name = '{NAME}'") if _model_of(one) == model]
    tags = {"bundle": bundle.about.id, "phantom": str(bundle.about.phantom).lower()}
    version = (
        held[0]
        if held
        else store.client.create_model_version(
            NAME, f"models:/{model}", run_id=run.info.run_id, model_id=model, tags=tags
        )
    )
    store.client.set_registered_model_alias(NAME, CANDIDATE, version.version)
    return Registered(str(version.version), run.info.run_id, bundle)


def registered(store: Store, folder: Path, alias: str) -> Registered | None:
    """The version that has an alias; None where none has it.

    Raises:
        TrackingError: the store cannot say.
    """
    try:
        version = store.client.get_model_version_by_alias(NAME, alias)
    except MlflowException as error:
        # No such model, or no such alias of it. Anything else must not pass for "no champion, nothing to compare".
        if error.error_code in map(ErrorCode.Name, (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)):
            return None
        raise TrackingError(f"models:/{NAME}@{alias}: {first_line(error)}") from None
    return Registered(
        str(version.version), str(version.run_id), Bundle.read(_bundle_of(store, folder, _model_of(version)))
    )


def make_champion(store: Store, model: Registered, tags: dict[str, str]) -> None:
    """Give a version the alias ``champion``, and say with tags why."""
    for name, value in tags.items():
        store.client.set_model_version_tag(NAME, model.version, name, value)
    store.client.set_registered_model_alias(NAME, CHAMPION, model.version)


def _model_id(store: Store, model: str) -> str:
    found = _MODEL.fullmatch(model.rstrip("/"))
    if found is None:
        raise DataError(f"{model}: give models:/{NAME}@{CHAMPION}, models:/{NAME}/1, runs:/<id>, or a bundle's folder")
    name, alias, numbered, version, model_id = found.groups()
    if model_id:
        return model_id
    client = store.client
    return _model_of(
        client.get_model_version_by_alias(name, alias) if name else client.get_model_version(numbered, version)
    )


def _model_of(version: ModelVersion) -> str:
    return str(version.model_id or str(version.source).removeprefix("models:/"))


def _bundle_of(store: Store, folder: Path, model: str) -> Path:
    """Of a store on this machine the bundle itself; a server's is fetched once."""
    wanted = f"{store.client.get_logged_model(model).artifact_location}/{BUNDLE}"
    if not is_server(store.uri):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=wanted, tracking_uri=store.uri))
    kept = project_root(folder) / ".cache/models" / model
    if not kept.is_dir():
        aside = fresh_dir(kept.with_name(f".{model}.{os.getpid()}"))
        found = Path(
            mlflow.artifacts.download_artifacts(artifact_uri=wanted, dst_path=str(aside), tracking_uri=store.uri)
        )
        found.rename(kept)
        shutil.rmtree(aside)
    return kept
