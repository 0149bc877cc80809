"""Predict every image that needs a map: validation by its own fold's network, the rest by all of them."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pneumoseg.devices import choose_device, choose_precision
from pneumoseg.files import fresh_dir, read_png, write_png
from pneumoseg.inference.predictor import Predictor
from pneumoseg.models.storage import load_model
from pneumoseg.params.predict import PredictParams
from pneumoseg.params.runtime import RuntimeParams
from pneumoseg.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, read_table, write_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Images that the same networks predict into the same folder."""

    name: str  # validation, test or unlabelled
    fold: str  # the fold whose images they are; test; or empty for unlabelled
    members: tuple[int, ...]
    image_ids: tuple[str, ...]


def predict(
    models: Path,
    curves: Path,
    train_folds: Sequence[int],
    images: Path,
    metadata: Path,
    annotations: Path,
    folds: Path,
    out: Path,
    params: PredictParams,
    runtime: RuntimeParams,
) -> None:
    """Write maps (PNG, uint8 = round(255 p), at the original size) and images.csv into ``out``; one batch in memory.

    Args:
        models: folder that holds fold<k>/ of every trained fold.
        curves: metrics/train, from which only what is left of other folds is removed.
        train_folds: the folds that are trained.
        images: folder of PNG radiographs.
        metadata: data/metadata.csv.
        annotations: data/annotations.csv.
        folds: data/splits/folds.csv.
        out: data/predictions.
        params: section predict.
        runtime: section runtime.

    Raises:
        DataError: a model or an image is missing or damaged.
    """
    remove_stale_folds(models, curves, train_folds)
    device = choose_device(runtime.device)
    precision = choose_precision(runtime.precision or params.precision, device)
    members = {fold: load_model(models / f"fold{fold}") for fold in train_folds}
    described = read_table(metadata, METADATA)
    sides = dict(zip(described["image_id"], zip(described["rows"], described["columns"], strict=True), strict=True))
    annotated = read_table(annotations, ANNOTATIONS)
    unlabelled = sorted(annotated.loc[annotated["annotated"] == 0, "image_id"])
    tasks = plan(read_table(folds, FOLDS), unlabelled, train_folds)
    fresh_dir(out)
    for name in ("validation", "test", "unlabelled"):
        (out / name).mkdir()
    rows = []
    total = sum(len(task.image_ids) for task in tasks)
    with tqdm(total=total, desc="predict", unit="image", disable=not sys.stderr.isatty()) as bar:
        for task in tasks:
            predictor = Predictor(
                [members[fold] for fold in task.members], device, precision, horizontal_flip=params.horizontal_flip
            )
            for image_id, score in _predict_task(task, predictor, images, sides, out / task.name, params.batch_size):
                rows.append((image_id, task.name, task.fold, score))
                bar.update()
    frame = pd.DataFrame(rows, columns=list(PREDICTED)).sort_values(["set", "image_id"])
    write_table(out / "images.csv", frame, PREDICTED)
    logger.info("predicted %d images on %s, %s", total, device, precision)


def plan(folds: pd.DataFrame, unlabelled: Sequence[str], train_folds: Sequence[int]) -> list[Task]:
    """Who predicts what: no network ever sees an image that it was trained on, nor one of the same patient.

    Annotated images that split leaves out of every fold (of patients in a given test list) are not predicted.
    """
    every = tuple(train_folds)
    tasks = [
        Task("validation", str(fold), (fold,), tuple(sorted(folds.loc[folds["fold"] == str(fold), "image_id"])))
        for fold in train_folds
    ]
    tasks.append(Task("test", "test", every, tuple(sorted(folds.loc[folds["fold"] == "test", "image_id"]))))
    tasks.append(Task("unlabelled", "", every, tuple(unlabelled)))
    return [task for task in tasks if task.image_ids]


def remove_stale_folds(models: Path, curves: Path, train_folds: Sequence[int]) -> None:
    """Remove models and curves of folds that are no longer in split.train_folds.

    DVC hashes each of the two folders as one dependency: what an earlier experiment left there would make dvc.lock
    differ from a clean run's. The models stay in DVC's cache, the curves in git.
    """
    wanted = {f"fold{fold}" for fold in train_folds}
    for path in sorted([*models.glob("fold*"), *curves.glob("fold*")]):
        if re.fullmatch(r"fold\d+", path.stem) and path.stem not in wanted:
            logger.info("%s is not of split.train_folds: removed from the workspace", path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _predict_task(
    task: Task, predictor: Predictor, images: Path, sides: Mapping[str, tuple[int, int]], out: Path, batch_size: int
) -> Iterator[tuple[str, float]]:
    starts = range(0, len(task.image_ids), batch_size)
    batches = [task.image_ids[start : start + batch_size] for start in starts]

    def read(batch: Sequence[str]) -> list[NDArray[np.uint8]]:
        return [read_png(images / f"{image_id}.png") for image_id in batch]

    # Threads: OpenCV leaves the interpreter lock while it codes; the next batch is read while this one is computed.
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(read, batches[0])
        for number, batch in enumerate(batches):
            pixels = coming.result()
            if number + 1 < len(batches):
                coming = pool.submit(read, batches[number + 1])
            sizes = [sides[image_id] for image_id in batch]
            results = predictor(pixels, sizes)
            written = [
                pool.submit(write_png, out / f"{image_id}.png", np.rint(probability * 255).astype(np.uint8))
                for image_id, (probability, _) in zip(batch, results, strict=True)
            ]
            for future in written:
                future.result()
            yield from ((image_id, score) for image_id, (_, score) in zip(batch, results, strict=True))
