"""Predict every image that needs a map: validation by its own fold's network, the rest by all of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pneumoseg.config.predict import PredictParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.predict.bringing import Repository
from pneumoseg.predict.ensemble import Ensemble, load_ensemble
from pneumoseg.predict.finished import Finished, finished_maps
from pneumoseg.predict.members import Member, Own, find_members
from pneumoseg.predict.planning import Panel, Task, assign, plan
from pneumoseg.predict.predictor import Predictor
from pneumoseg.predict.seen_images import Families, Judges, known_patients
from pneumoseg.shared.files import fresh_dir, read_png, write_json, write_png
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, PREDICTED, read_table, write_table

logger = logging.getLogger(__name__)

MEMBERS_FILE = "members.json"
SETS = ("validation", "test", "unlabelled")


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
    repository: Repository | None = None,
    *,
    split: Path | None = None,
) -> None:
    """Write maps (PNG, uint8 = round(255 p), at the original size) and images.csv into ``out``; one block in memory.

    Where more than one network a fold predicts, members.json says what was combined.

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
        repository: where an unfinished prediction is kept and members' revisions come from; None: neither.
        split: the folds.csv that the networks were trained on, where ``folds`` is not it: for a set from elsewhere,
            whose patient ids mean other people.

    Raises:
        DataError: a model or an image is missing or damaged, or a member has seen an image that figures are made of.
        ParameterError: a network cannot take one of the scales.
    """
    own = Own({fold: models / f"fold{fold}" for fold in train_folds}, split or folds)
    members = find_members(params.members, own, repository)
    annotated = read_table(annotations, ANNOTATIONS)
    unlabelled = sorted(annotated.loc[annotated["annotated"] == 0, "image_id"])
    patients = known_patients(folds, metadata) if split is None else None
    tasks = assign(plan(read_table(folds, FOLDS), unlabelled, train_folds), _panels(members, patients))
    ensemble = load_ensemble(own, members, params, runtime)
    resume = None
    if repository is not None:
        key = ensemble.fingerprint(tasks, metadata, repository.code)
        resume = repository.root / ".resume" / f"predict-{key}"
    described = read_table(metadata, METADATA)
    sides = dict(zip(described["image_id"], zip(described["rows"], described["columns"], strict=True), strict=True))
    fresh_dir(out)
    for name in SETS:
        (out / name).mkdir()
    with finished_maps(resume) as finished:
        rows = _predict_tasks(tasks, ensemble, images, sides, out, params.batch_size, finished)
        if ensemble.is_several:
            write_json(out / MEMBERS_FILE, ensemble.description)
        frame = pd.DataFrame(rows, columns=list(PREDICTED)).sort_values(["set", "image_id"])
        write_table(out / "images.csv", frame, PREDICTED)
    logger.info("predicted %d images on %s, %s", len(rows), ensemble.runner.device, ensemble.runner.precision)


def _panels(members: Sequence[Member], patients: Mapping[str, str] | None) -> list[Panel]:
    """Members as planning sees them; ``patients`` None: no image here shares a patient with one of theirs."""
    panels = []
    for member in members:
        families = Families() if patients is None else Families(patients, member.pool.patients)
        trained = tuple(sorted(member.folders))
        panels.append(Panel(member.name, trained, Judges(member.pool, trained, families)))
    return panels


def _predict_tasks(
    tasks: Sequence[Task],
    ensemble: Ensemble,
    images: Path,
    sides: Mapping[str, tuple[int, int]],
    out: Path,
    batch_size: int,
    finished: Finished,
) -> list[tuple[str, str, str, float]]:
    """Rows of images.csv: image id, set, fold, probability; one line is told for each set."""
    rows: list[tuple[str, str, str, float]] = []
    total = sum(len(task.image_ids) for task in tasks)
    with tqdm(total=total, desc="predict", unit="image", disable=not sys.stderr.isatty()) as bar:
        for name in SETS:
            started, count = time.perf_counter(), len(rows)
            for task in (task for task in tasks if task.name == name):
                predictor = ensemble.predictor(task)
                for image_id, score in predict_images(
                    task.image_ids, predictor, images, sides, out / name, batch_size, finished
                ):
                    rows.append((image_id, name, task.fold, score))
                    bar.update()
            if len(rows) > count:
                seconds = max(time.perf_counter() - started, 1e-9)
                speed = (len(rows) - count) / seconds
                logger.info("predicted %d %s images in %.0f s (%.1f a second)", len(rows) - count, name, seconds, speed)
    return rows


def predict_images(
    image_ids: Sequence[str],
    predictor: Predictor,
    images: Path,
    sides: Mapping[str, tuple[int, int]],
    out: Path,
    batch_size: int,
    finished: Finished | None = None,
) -> Iterator[tuple[str, float]]:
    """Write the map of each image into ``out`` as <image_id>.png.

    Args:
        image_ids: in the order in which they are predicted.
        predictor: the networks.
        images: folder of PNG radiographs.
        sides: image id → (rows, columns) of the map.
        out: an existing folder.
        batch_size: images in a network at once.
        finished: what an earlier run has done; None: nothing is kept.

    Yields:
        Image id and probability of pneumothorax in the image, as soon as its map is there.

    Raises:
        DataError: an image is missing or damaged.
    """
    finished = finished or Finished(None)
    batches = [image_ids[start : start + batch_size] for start in range(0, len(image_ids), batch_size)]
    waiting = []
    for batch in batches:
        scores = finished.take(batch, out)
        if scores is None:
            waiting.append(batch)
        else:
            yield from scores.items()
    size = predictor.block_batches
    blocks = [waiting[start : start + size] for start in range(0, len(waiting), size)]

    def read(block: Sequence[Sequence[str]]) -> list[NDArray[np.uint8]]:
        return [read_png(images / f"{image_id}.png") for batch in block for image_id in batch]

    # Threads: OpenCV leaves the interpreter lock while it codes; the next block is read while this one is computed.
    with ThreadPoolExecutor(2) as pool:
        coming = pool.submit(read, blocks[0]) if blocks else None
        for number, block in enumerate(blocks):
            ids = [image_id for batch in block for image_id in batch]
            pixels = coming.result() if coming else []
            coming = pool.submit(read, blocks[number + 1]) if number + 1 < len(blocks) else None
            results = predictor(pixels, [sides[image_id] for image_id in ids], batch_size)
            written = [
                pool.submit(write_png, out / f"{image_id}.png", np.rint(probability * 255).astype(np.uint8))
                for image_id, (probability, _) in zip(ids, results, strict=True)
            ]
            for future in written:
                future.result()
            scores = {image_id: score for image_id, (_, score) in zip(ids, results, strict=True)}
            for batch in block:
                finished.add({image_id: scores[image_id] for image_id in batch}, out)
            yield from scores.items()
