"""Stage external_predict: probability maps of an external set, made as those of the test images are."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pneumoseg.config.predict import PredictParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.predict.bringing import Repository
from pneumoseg.predict.predicting import predict
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, read_table, write_table


def predict_site(
    site: Layout,
    models: Path,
    curves: Path,
    train_folds: Sequence[int],
    split: Path,
    params: PredictParams,
    runtime: RuntimeParams,
    repository: Repository | None,
) -> None:
    """Write ``site.predictions``: maps by the networks of all trained folds, and of predict.members, for each image.

    Images without annotation are left out: nothing can be measured on them.

    Args:
        site: the set, extracted.
        models: folder that holds fold<k>/ of every trained fold.
        curves: metrics/train.
        train_folds: the folds that are trained.
        split: data/splits/folds.csv, with which they were trained.
        params: section predict.
        runtime: section runtime.
        repository: as in predict.

    Raises:
        DataError: a model or an image is missing or damaged, or a member was trained on an image of the set.
    """
    annotations = read_table(site.annotations, ANNOTATIONS)
    with tempfile.TemporaryDirectory(prefix="pneumoseg-external-") as folder:
        annotated = Path(folder) / "annotations.csv"
        write_table(annotated, annotations[annotations["annotated"] == 1], ANNOTATIONS)
        predict(
            models=models,
            curves=curves,
            train_folds=train_folds,
            images=site.images,
            metadata=site.metadata,
            annotations=annotated,
            folds=site.folds,
            out=site.predictions,
            params=params,
            runtime=runtime,
            repository=repository,
            split=split,
        )
