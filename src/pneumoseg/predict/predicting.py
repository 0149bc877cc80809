"""Predict every image of a set: validation by its own fold's network, the rest by all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.predict import PredictParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.networks.family import Answer
from pneumoseg.predict.ensemble import load_ensemble
from pneumoseg.predict.finished import Finished, finished_in
from pneumoseg.predict.members import find_member
from pneumoseg.predict.planning import SETS, Task, plan
from pneumoseg.predict.predictor import Predictor
from pneumoseg.predict.runner import Shown
from pneumoseg.rule.crop import box_path, write_box
from pneumoseg.rule.findings import findings_path, write_findings
from pneumoseg.rule.maps import grey_levels
from pneumoseg.shared.files import read_png, write_json, write_png
from pneumoseg.shared.fingerprints import project_root
from pneumoseg.shared.layout import ACTIVATION, Layout
from pneumoseg.shared.parallel import available_cores
from pneumoseg.shared.progress_lines import follow
from pneumoseg.shared.studies import read_laterals
from pneumoseg.shared.tables import METADATA, PREDICTED, read_table, write_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Radiographs:
    """The images of a set.

    Attributes:
        folder: of PNG files <image_id>.png.
        lungs: of PNG files of lung masks, which images may lack.
        sides: image id → (rows, columns) of its map.
        laterals: image id → its study's view from the side, where networks look at both.
    """

    folder: Path
    lungs: Path
    sides: Mapping[str, tuple[int, int]]
    laterals: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, layout: Layout, with_laterals: bool = False) -> Radiographs:
        """Maps have the size of the original file, which metadata.csv tells."""
        table = read_table(layout.metadata, METADATA)
        sides = zip(table["image_id"], zip(table["rows"], table["columns"], strict=True), strict=True)
        laterals = read_laterals(layout.metadata) if with_laterals else {}
        return cls(layout.images, layout.lungs, dict(sides), laterals)

    def read(self, image_ids: Sequence[str]) -> list[Shown]:
        """Each (H, W), or a pair of such with the view from the side."""
        return [self._read(image_id) for image_id in image_ids]

    def _read(self, image_id: str) -> Shown:
        front, beside = read_png(self.folder / f"{image_id}.png"), self.laterals.get(image_id)
        return front if beside is None else (front, read_png(self.folder / f"{beside}.png"))

    def read_lungs(self, image_ids: Sequence[str]) -> list[NDArray[np.uint8] | None]:
        """Each (H, W), None where there is none."""
        paths = [self.lungs / f"{image_id}.png" for image_id in image_ids]
        return [read_png(path) if path.is_file() else None for path in paths]


def predict(layout: Layout, train_folds: Sequence[int], params: PredictParams, runtime: RuntimeParams) -> None:
    """Write maps (PNG, uint8 = round(255 p), at the original size) and images.csv; one block in memory.

    Where networks tell findings apart, those of each image too (rule/findings). Networks without a map that tell where
    they looked leave that in activation/, as PNG on a grid of their own; single outputs of networks that have several
    are further columns of images.csv.

    Where more than one network a fold predicts, members.json says what was combined. What is finished of a killed
    prediction waits in .resume/.

    Args:
        layout: of the main set, or of an external one, which the main set's networks predict.
        train_folds: the folds that are trained.
        params: section predict.
        runtime: section runtime.

    Raises:
        DataError: a model or an image is missing or damaged, or a member was trained on another split.
        ParameterError: a network cannot take one of the scales.
    """
    main, root = layout.main, project_root(layout.root)
    own = {fold: main.models / f"fold{fold}" for fold in train_folds}
    members = [find_member(entry, root, main.splits, train_folds) for entry in params.members]
    tasks = plan(layout, train_folds)
    ensemble = load_ensemble(own, members, params, runtime)
    radiographs = Radiographs.of(layout, ensemble.takes_laterals)
    key = ensemble.fingerprint(tasks, layout.metadata)
    rows: list[dict[str, Any]] = []
    with finished_in(root / ".resume" / f"predict-{key}", layout.predictions) as finished:
        with follow(sum(len(task.image_ids) for task in tasks), "predict", "image") as bar:
            for name in SETS:
                (finished.out / name).mkdir(exist_ok=True)
                started, count = time.perf_counter(), len(rows)
                for task in (task for task in tasks if task.name == name):
                    predictor = ensemble.predictor(task)
                    for image_id, said in _predict(task, predictor, radiographs, params.batch_size, finished):
                        rows.append({"image_id": image_id, "set": name, "fold": task.fold} | said)
                        bar.update()
                _tell(name, len(rows) - count, time.perf_counter() - started)
        if ensemble.is_several:
            write_json(finished.out / layout.members.name, ensemble.describe())
        frame = pd.DataFrame(rows).sort_values(["set", "image_id"])
        write_table(finished.out / "images.csv", frame, PREDICTED)
    logger.info("predicted %d images on %s, %s", len(rows), ensemble.runner.device, ensemble.runner.precision)


def _tell(name: str, count: int, seconds: float) -> None:
    if count:
        logger.info(
            "predicted %d %s images in %.0f s (%.1f a second)", count, name, seconds, count / max(seconds, 1e-9)
        )


def _predict(
    task: Task, predictor: Predictor, radiographs: Radiographs, batch_size: int, finished: Finished
) -> Iterator[tuple[str, _Said]]:
    """Write the map of each image; give its id and what is said of it as soon as the map is there."""
    folder = finished.out / task.name
    waiting = []
    for start in range(0, len(task.image_ids), batch_size):
        batch = task.image_ids[start : start + batch_size]
        known = finished.take(batch)
        if known is None:
            waiting.append(batch)
        else:
            yield from known.items()
    size = predictor.block_batches
    blocks = [waiting[start : start + size] for start in range(0, len(waiting), size)]
    names = [[image_id for batch in block for image_id in batch] for block in blocks]
    # Threads: coding and decoding leave the interpreter lock. While a block is computed the next one is read and the
    # one before is written; so three are in memory, of what is written a byte a pixel.
    with ThreadPoolExecutor(max(2, available_cores())) as pool:
        coming = [pool.submit(radiographs.read, [name]) for name in names[0]] if names else []
        before: list[_Written] = []
        try:
            for number, (block, ids) in enumerate(zip(blocks, names, strict=True)):
                pixels = [image for one in coming for image in one.result()]
                following = names[number + 1] if number + 1 < len(names) else []
                coming = [pool.submit(radiographs.read, [name]) for name in following]
                lungs = radiographs.read_lungs(ids) if predictor.asks_for_lungs else None
                answers = predictor(pixels, [radiographs.sides[image_id] for image_id in ids], batch_size, lungs)
                yield from _finish(before, finished)
                said = dict(zip(ids, answers, strict=True))
                before = [_write(pool, folder, {name: said[name] for name in batch}) for batch in block]
        finally:
            last = list(_finish(before, finished))  # a run that is stopped keeps what it has computed
        yield from last


#: Of an image, by column of images.csv: its probability, and single outputs of networks that have several.
_Said = dict[str, float]
#: What is said of a batch, and its pictures and findings by path with what tells that they are written.
_Written = tuple[dict[str, _Said], dict[Path, "Future[None]"]]


def _write(pool: ThreadPoolExecutor, folder: Path, said: Mapping[str, Answer]) -> _Written:
    """Begin to write the maps of a batch, or where networks without maps looked, and its findings."""
    maps = {folder / f"{name}.png": one.map for name, one in said.items() if one.map is not None}
    levels = dict(zip(maps, pool.map(grey_levels, maps.values()), strict=True))
    looked = {name: one.looked for name, one in said.items() if one.looked is not None}
    if looked:
        folder.with_name(ACTIVATION).mkdir(exist_ok=True)
    levels |= {folder.with_name(ACTIVATION) / f"{name}.png": grey_levels(grid) for name, grid in looked.items()}
    files = {path: pool.submit(write_png, path, level) for path, level in levels.items()}
    for name, one in said.items():
        if one.findings is not None:
            path = findings_path(folder, name)
            files[path] = pool.submit(write_findings, path, one.findings)
        if one.seen is not None:
            path = box_path(folder, name)
            files[path] = pool.submit(write_box, path, one.seen)
    return {name: {"probability": one.probability} | dict(one.outputs or {}) for name, one in said.items()}, files


def _finish(written: Sequence[_Written], finished: Finished) -> Iterator[tuple[str, _Said]]:
    """Wait for batches of maps, and keep them."""
    for said, maps in written:
        for one in maps.values():
            one.result()
        finished.add(said, list(maps))
        yield from said.items()
