"""The trained networks as one MLflow model: weights from safetensors, code copied along, requirements given.

Nothing is inferred: MLflow would load and run the model to find its requirements, which doubles the time (tried), and
an example would fix the size of the batch.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from pneumoseg.shared.registry import FAMILIES
from pneumoseg.track.configuration import Configuration
from pneumoseg.track.store import Store

logger = logging.getLogger(__name__)

#: What inference imports; the test of a loaded model checks that nothing else is needed.
DISTRIBUTIONS = (
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pydantic",
    "ruamel.yaml",
    "safetensors",
    "mlflow",
)


#: Loggers that would warn of what is meant so: no example, and no pip in an environment that uv made.
QUIET = ("mlflow.models.model", "mlflow.pyfunc", "mlflow.utils.environment")


def signature(*, maps: bool) -> ModelSignature:
    """What goes in and what comes out, in [0, 1].

    Args:
        maps: images (N, H, W) uint8 → probability maps (N, H, W) float32 at their size; else → probabilities (N,).
    """
    # Without names: an input with one would reach the model as a dictionary.
    images = TensorSpec(np.dtype(np.uint8), (-1, -1, -1))
    answers = TensorSpec(np.dtype(np.float32), (-1, -1, -1) if maps else (-1,))
    return ModelSignature(Schema([images]), Schema([answers]))


def requirements() -> list[str]:
    """Exact versions of what inference needs, without the local part that names a build (``+cu128``)."""
    return [f"{name}=={version(name).split('+')[0]}" for name in DISTRIBUTIONS]


def log_model(store: Store, row: str, configuration: Configuration, metadata: dict[str, Any]) -> bool:
    """Log the mean of the folds' networks as a pyfunc model of a run; False where no code lies here to go with it.

    Args:
        store: the store.
        row: run id.
        configuration: whose ``root`` holds data/models/fold<k>/ and src/pneumoseg/.
        metadata: goes into the MLmodel file.
    """
    layout, params = configuration.layout, configuration.params
    package = layout.root / "src/pneumoseg"
    served = package / "track/served_model.py"
    if not served.is_file():
        logger.warning("%s: not there, so no model is logged", served)
        return False
    with _active_run(store, row):
        mlflow.pyfunc.log_model(
            name=re.sub(r"""[/:.%"']""", "_", configuration.name),
            python_model=str(served),
            artifacts={f"fold{fold}": str(layout.models / f"fold{fold}") for fold in params.split.train_folds},
            code_paths=[str(package)],
            pip_requirements=requirements(),
            signature=signature(maps=FAMILIES[params.model.architecture].gives_map),
            metadata=metadata,
            model_config={"device": "cpu"},
        )
    return True


def holds_model(store: Store, row: Run) -> bool:
    """Whether a model of a run was logged, and its files are there."""
    models = [output.model_id for output in row.outputs.model_outputs] if row.outputs else []
    return any(
        item.path.endswith("MLmodel") for model in models for item in store.client.list_logged_model_artifacts(model)
    )


@contextmanager
def _active_run(store: Store, run_id: str) -> Iterator[None]:
    """MLflow logs models to the run that is active in the process only; the process's settings are put back after."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    before = {name: os.environ.get(name) for name in names}
    levels = {name: logging.getLogger(name).level for name in QUIET}
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
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
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
