"""A bundle as an MLflow model: the same reader as everywhere, its code copied along, requirements given.

Nothing is inferred: MLflow would load and run the model to find its requirements, which doubles the time (tried).
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import mlflow
from mlflow.entities import Run
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map, Object, Property

from pneumoseg.track.configuration import Configuration
from pneumoseg.track.store import Store
from pneumoseg.use.answer_rows import COLUMNS, IMAGE, IMAGE_ID, Kind
from pneumoseg.use.bundle import Bundle

logger = logging.getLogger(__name__)

#: What the reader imports; the test of a loaded model checks that nothing else is needed.
DISTRIBUTIONS = (
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "numpy",
    "opencv-python-headless",
    "zlib-ng",
    "pandas",
    "pydantic",
    "ruamel.yaml",
    "safetensors",
    "pydicom",
    "python-gdcm",
    "pillow",
    "mlflow",
)
#: Where the bundle lies within a logged model.
BUNDLE = "artifacts/bundle"
#: Loggers that would warn of what is meant so: no example, and no pip in an environment that uv made.
QUIET = ("mlflow.models.model", "mlflow.pyfunc", "mlflow.utils.environment")


def signature() -> ModelSignature:
    """Contents of files in, a row an image out."""
    given = Schema([ColSpec(DataType.binary, IMAGE), ColSpec(DataType.string, IMAGE_ID, required=False)])
    return ModelSignature(given, Schema([ColSpec(_type(kind), name, required=False) for name, kind in COLUMNS.items()]))


#: Kinds of columns that MLflow knows by another name, or builds of others.
_TYPES: Mapping[Kind, Array | Map] = {
    "strings": Array(DataType.string),
    "figures": Map(DataType.string),
    "findings": Array(
        Object(
            [
                Property("score", DataType.double),
                Property("box", Array(DataType.double)),
                Property("area_px", DataType.long),
                Property("area_mm2", DataType.double, required=False),
            ]
        )
    ),
}


def _type(kind: Kind) -> DataType | Array | Map:
    return _TYPES[kind] if kind in _TYPES else DataType[kind]


def requirements() -> list[str]:
    """Exact versions of what the reader needs, without the local part that names a build (``+cu128``)."""
    return [f"{name}=={version(name).split('+')[0]}" for name in DISTRIBUTIONS]


def log_model(store: Store, row: str, configuration: Configuration, bundle: Bundle) -> bool:
    """Log a bundle as a pyfunc model of a run; False where no code lies here to go with it.

    Args:
        store: the store.
        row: run id.
        configuration: whose ``root`` holds src/pneumoseg/.
        bundle: of this configuration.
    """
    package = configuration.layout.root / "src/pneumoseg"
    served = package / "track/served_model.py"
    if not served.is_file():
        logger.warning("%s: not there, so no model is logged", served)
        return False
    with _active_run(store, row):
        mlflow.pyfunc.log_model(
            name=re.sub(r"""[/:.%"']""", "_", configuration.name),
            python_model=str(served),
            artifacts={"bundle": str(bundle.folder)},
            code_paths=[str(package)],
            pip_requirements=requirements(),
            signature=signature(),
            metadata={"bundle": bundle.about.id, "phantom": bundle.about.phantom, "rule": bundle.rule.describe()},
            model_config={"device": "cpu"},
        )
    return True


def logged_bundles(store: Store, row: Run) -> list[str]:
    """Ids of the models of a run that hold a bundle, the newest first."""
    models = [output.model_id for output in row.outputs.model_outputs] if row.outputs else []
    found = [store.client.get_logged_model(model) for model in models if _holds_bundle(store, model)]
    return [model.model_id for model in sorted(found, key=lambda model: -model.creation_timestamp)]


def _holds_bundle(store: Store, model: str) -> bool:
    folder = BUNDLE.partition("/")[0]
    return any(item.path == BUNDLE for item in store.client.list_logged_model_artifacts(model, folder))


@contextmanager
def _active_run(store: Store, run_id: str) -> Iterator[None]:
    """MLflow logs models to the run that is active in the process only; the process's settings are put back after."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    levels = {name: logging.getLogger(name).level for name in QUIET}
    mlflow.set_tracking_uri(store.uri)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
            # Raised by MLflow's own types, and for want of the example that is left out on purpose.
            warnings.filterwarnings("ignore", message=r"(?s).*(Any type hint|An input example)", category=UserWarning)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
