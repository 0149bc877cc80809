"""The model as MLflow loads it ("models from code"): this file is copied into the model and run when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class RadiographModel(PythonModel):
    """The reader of a bundle. A research tool, not a medical device."""

    # MLflow calls it by the name of its parameter: another name, and a model that was registered cannot be loaded.
    def load_context(self, context: PythonModelContext) -> None:
        """Load the networks; ``model_config={"device": "cuda"}`` puts them on a GPU."""
        from pneumoseg.use.bundle import Bundle
        from pneumoseg.use.reader import Reader

        bundle = Bundle.read(Path(context.artifacts["bundle"]))
        self._reader = Reader(bundle, context.model_config["device"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer radiographs, one a row; see use.answer_rows."""
        from pneumoseg.use.answer_rows import answer_rows

        return answer_rows(self._reader, model_input)


mlflow.models.set_model(RadiographModel())
