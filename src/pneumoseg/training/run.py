"""Train one fold: from the files of a split to weights, curves and a summary."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric

from pneumoseg.augment import Augmenter
from pneumoseg.devices import choose_device, choose_precision
from pneumoseg.errors import DataError, ParameterError
from pneumoseg.files import atomic_path, digest_bytes, digest_files, fresh_dir, write_json
from pneumoseg.models.factory import build_model, check_size, freeze_unused
from pneumoseg.models.network import SegmentationModel
from pneumoseg.models.storage import save_model
from pneumoseg.params.augment import AugmentParams
from pneumoseg.params.model import ModelParams
from pneumoseg.params.runtime import RuntimeParams
from pneumoseg.params.train import TrainParams
from pneumoseg.tables import FOLDS, MANIFEST, read_table
from pneumoseg.training.arrays import ImageArrays, build_arrays
from pneumoseg.training.checkpoint import Checkpoint
from pneumoseg.training.loop import OnEpoch, Progress, Trainer
from pneumoseg.training.sampling import derive_seed
from pneumoseg.training.validation import Validation

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class FoldData:
    """The training pool and the validation images of a fold, and the digest of all files that they stand for."""

    fold: int
    images: Path
    masks: Path
    manifest: pd.DataFrame
    validation_ids: tuple[str, ...]
    digest: str

    @property
    def image_ids(self) -> list[str]:
        """Every image of the fold once, sorted."""
        return sorted({*self.manifest["image_id"], *self.validation_ids})


@dataclass(frozen=True)
class TrainedFold:
    """What training a fold gives: the model with its best weights, the curves, a summary of the kept epoch.

    ``timing`` (seconds, images a second, share of time spent waiting for data, peak memory in GiB) goes to tracking
    only: it is never an output of the pipeline.
    """

    model: SegmentationModel
    model_params: ModelParams
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    timing: dict[str, float]


def load_fold(splits: Path, images: Path, masks: Path, fold: int, weights: Path | None) -> FoldData:
    """Read what fold ``fold`` is trained and validated on; ``weights`` counts in its digest where it is a file.

    Raises:
        DataError: there is no training image with pneumothorax, no validation image, or a file is missing.
    """
    manifest_path = splits / f"train_fold{fold}.csv"
    manifest = read_table(manifest_path, MANIFEST)
    folds = read_table(splits / "folds.csv", FOLDS)
    validation_ids = tuple(sorted(folds.loc[folds["fold"] == str(fold), "image_id"]))
    if not (manifest["pneumothorax"] == 1).any():
        raise DataError(f"{manifest_path}: no image with pneumothorax to learn from; lower split.folds or add images")
    if not validation_ids:
        raise DataError(f"{splits / 'folds.csv'}: no image in fold {fold}; lower split.folds or add images")
    ids = sorted({*manifest["image_id"], *validation_ids})
    paths = [images / f"{image_id}.png" for image_id in ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]}: not there ({len(missing)} images missing); run dvc repro extract")
    paths += [path for path in (masks / f"{image_id}.png" for image_id in ids) if path.is_file()]
    tables = digest_files([manifest_path, splits / "folds.csv"], splits)
    digest = digest_files(paths, Path(os.path.commonpath([images.parent, masks.parent])))
    start = digest_files([weights], weights.parent) if weights is not None and weights.is_file() else ""
    data = digest_bytes(digest.encode(), tables.encode(), start.encode())
    return FoldData(fold, images, masks, manifest, validation_ids, data)


def train_fold(
    data: FoldData,
    model_params: ModelParams,
    params: TrainParams,
    augment: AugmentParams,
    runtime: RuntimeParams,
    *,
    scratch: Path,
    checkpoint: Checkpoint,
    on_epoch: OnEpoch,
) -> TrainedFold:
    """Train, and put the best weights into the model that is saved.

    Args:
        data: what to train and validate on.
        model_params: section model.
        params: section train.
        augment: section augment.
        runtime: section runtime.
        scratch: folder for the memory-mapped arrays; may be deleted at any time.
        checkpoint: where an unfinished run is kept.
        on_epoch: called after every epoch.
    """
    started = time.perf_counter()
    fabric = make_fabric(params, runtime)
    torch.manual_seed(derive_seed(params.seed, "weights"))
    model = build_model(model_params)
    _fit(model, params, runtime)
    timings: list[Mapping[str, float]] = []

    def arrays(size_px: int) -> ImageArrays:
        return build_arrays(data.images, data.masks, data.image_ids, size_px, scratch, data.digest)

    def noted(number: int, row: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        timings.append(timing)
        on_epoch(number, row, timing)

    trainer = Trainer(
        fabric,
        model,
        params,
        data.manifest,
        arrays,
        Augmenter(augment),
        Validation(data.validation_ids, data.images, data.masks, params.batch_size),
        checkpoint,
        loader_workers(runtime, fabric.device.type),
        noted,
    )
    progress = trainer.run()
    summary = _summary(data, progress, trainer.validation.all_empty, params)
    return TrainedFold(model, model_params, progress.history, summary, _timing(timings, time.perf_counter() - started))


def _fit(model: SegmentationModel, params: TrainParams, runtime: RuntimeParams) -> None:
    """Refuse sizes that the network cannot train at; leave out parameters that no output depends on, for DDP stops."""
    for number, phase in enumerate(params.phases):
        side_px = phase.crop_px or phase.size_px
        check_size(model, side_px, params.batch_size // runtime.devices, f"train.phases.{number}.size_px")
    unused = freeze_unused(model, params.phases[0].crop_px or params.phases[0].size_px)
    if unused:
        logger.info("%d parameters have no part in the output and are left as they are", len(unused))


def make_fabric(params: TrainParams, runtime: RuntimeParams) -> Fabric:
    """Fabric for the wanted device, number of processes and precision; launched.

    Raises:
        ParameterError: the batch cannot be shared evenly, or the device is not there.
    """
    device = choose_device(runtime.device)
    precision = choose_precision(runtime.precision or params.precision, device)
    if params.batch_size % runtime.devices:
        raise ParameterError(
            f"train.batch_size = {params.batch_size} does not divide by runtime.devices = {runtime.devices}"
        )
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    fabric = Fabric(
        accelerator=device,
        devices=runtime.devices,
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        strategy="auto" if runtime.devices == 1 else "ddp",
    )
    fabric.launch()
    logger.info("training on %s (%d), %s", device, runtime.devices, precision)
    return fabric


def loader_workers(runtime: RuntimeParams, device: str) -> int:
    """Processes that load data; null is none on a CPU, whose cores the network needs, and up to 8 beside a GPU."""
    if runtime.workers is not None:
        return runtime.workers
    return 0 if device == "cpu" else min(8, os.cpu_count() or 1)


def write_fold(trained: TrainedFold, folder: Path, curves: Path, metrics: Path, run: Mapping[str, Any]) -> None:
    """Write weights with model.json and run.json, the curves (CSV) and the summary (JSON); nothing timed or random."""
    fresh_dir(folder)
    save_model(folder, trained.model, trained.model_params, trained.history[-1]["size_px"])
    write_json(folder / "run.json", dict(run))
    with atomic_path(curves) as temporary:
        pd.DataFrame(trained.history).to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    write_json(metrics, trained.summary)


def _summary(data: FoldData, progress: Progress, all_empty: float, params: TrainParams) -> dict[str, Any]:
    best = progress.history[progress.best_epoch - 1]
    return {
        "fold": data.fold,
        "epochs": len(progress.history),
        "best_epoch": progress.best_epoch,
        "selection_metric": params.selection_metric,
        **{name: value for name, value in best.items() if name.startswith(("val_", "train_"))},
        # The mean Dice of predicting nothing for the same validation images.
        "val_all_empty": all_empty,
        "n_manifest": len(data.manifest),
        "n_validation": len(data.validation_ids),
    }


def _timing(timings: list[Mapping[str, float]], seconds: float) -> dict[str, float]:
    spent = sum(timing["seconds"] for timing in timings)
    if not spent:
        return {"seconds": seconds}
    images = sum(timing["images_per_second"] * timing["seconds"] for timing in timings)
    waited = sum(timing["data_wait_share"] * timing["seconds"] for timing in timings)
    return {
        "seconds": seconds,
        "images_per_second": images / spent,
        "data_wait_share": waited / spent,
        "memory_gib": max(timing["memory_gib"] for timing in timings),
    }
