"""The model as MLflow loads it ("models from code"): this file is copied into the model and run when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

#: Images in the network at once, whatever the number asked for.
BATCH = 8


class PneumothoraxModel(PythonModel):
    """Mean over the networks of all folds. A research tool, not a medical device."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights of every fold; ``model_config={"device": "cuda"}`` puts them on a GPU."""
        from pneumoseg.predict.predictor import Predictor

        folders = [Path(folder) for _, folder in sorted(context.artifacts.items())]
        self._predictor = Predictor.load(folders, device=context.model_config["device"])

    # Plain np.ndarray, the one annotation of an array from which MLflow does not try to make a signature of its own.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Say what is seen in radiographs (N, H, W) uint8.

        Returns:
            Probability maps (N, H, W) float32, at their size; of networks that give none the probabilities (N,) of
            pneumothorax in the image.
        """
        batches = [model_input[start : start + BATCH] for start in range(0, len(model_input), BATCH)]
        answers = [answer for batch in batches for answer in self._predictor(list(batch))]
        if not self._predictor.gives_map:
            return np.array([answer.probability for answer in answers], np.float32)
        maps = [answer.map for answer in answers if answer.map is not None]
        return np.stack(maps) if maps else np.zeros(model_input.shape, np.float32)


mlflow.models.set_model(PneumothoraxModel())
