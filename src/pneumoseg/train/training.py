"""Train one fold: from its data to weights, curves and a summary."""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from lightning_fabric import Fabric

from pneumoseg.augment import Augmenter
from pneumoseg.config import Params
from pneumoseg.config.model import ModelParams
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.config.train import SchedulerParams, TrainParams, ValidationMetric
from pneumoseg.networks.building import build_network
from pneumoseg.networks.family import Family
from pneumoseg.networks.lungs import LungFinder
from pneumoseg.networks.network import Network, check_size, freeze_unused
from pneumoseg.networks.storage import save_model
from pneumoseg.shared.devices import Device, choose_device, choose_precision, machine, use_threads
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.files import fresh_dir, write_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.parallel import available_cores
from pneumoseg.shared.processes import is_first_process, other_trainings
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.shared.tables import write_csv
from pneumoseg.train.averaging import Weights
from pneumoseg.train.batch_norm_sync import synchronise_batch_norms
from pneumoseg.train.collapse import collapse_of, unmoved_since
from pneumoseg.train.dataset import TrainingSet
from pneumoseg.train.figures import BY_NAME, check_measured
from pneumoseg.train.fold_data import FoldData
from pneumoseg.train.loop import OnEpoch, Result, Trainer
from pneumoseg.train.lung_boxes import count_cut
from pneumoseg.train.resume import Checkpoint

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class TrainedFold:
    """What training a fold gives: the model with the kept weights, the curves, a summary of the figures of those.

    ``others`` are the weights of further good epochs (train.checkpoints), the next best first.
    ``timing`` (seconds, images a second, share of time spent waiting for data, peak memory in GiB) goes to tracking
    only: it is never an output of the pipeline. ``machine`` is what figures hang on beside parameters, data and code.
    """

    fold: int
    model: Network
    model_params: ModelParams
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    timing: dict[str, float]
    others: list[Weights]
    machine: dict[str, Any]
    lungs: LungFinder | None = None


def train_fold(data: FoldData, params: Params, scratch: Path, checkpoint: Checkpoint, on_epoch: OnEpoch) -> TrainedFold:
    """Train, and put the best weights into the model that is saved.

    Args:
        data: what to train and validate on.
        params: of which the sections model, train, augment and runtime count.
        scratch: folder for the memory-mapped arrays; may be deleted at any time.
        checkpoint: where an unfinished run is kept.
        on_epoch: called after every epoch.
    """
    started = time.perf_counter()
    family: Family = FAMILIES[params.model.architecture]
    train, runtime = _with_figures(params.train, family, data.outlined), params.runtime
    wanted = _wanted_figures(train)
    for key, name in wanted.items():
        check_measured(name, key, params.model.architecture, family.gives_map)
    fabric = make_fabric(train, runtime)
    torch.manual_seed(derive_seed(train.seed, "weights"))
    model = build_network(params.model)
    _fit(model, train, runtime)
    if train.synchronise_batch_norm and fabric.world_size > 1:
        model = cast(Network, synchronise_batch_norms(model, choose_device(runtime.device)))
    timings: list[Mapping[str, float]] = []

    def noted(number: int, row: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        timings.append(timing)
        on_epoch(number, row, timing)

    device = fabric.device.type
    workers, pin_memory = loader_workers(runtime, device), device == "cuda"
    images = TrainingSet(data, Augmenter(params.augment), scratch, workers, pin_memory, train.drop_view_share)
    trainer = Trainer(fabric, family, model, train, images, checkpoint, noted)
    trainer.validation.check(wanted)
    result = trainer.run()
    summary = _summary(data, result, trainer.validation.all_empty, train)
    timing = _timing(timings, time.perf_counter() - started)
    used = machine(cast(Device, device))
    timing["threads"] = used["threads"]
    return TrainedFold(data.fold, model, params.model, result.history, summary, timing, result.others, used, data.lungs)


def _with_figures(params: TrainParams, family: Family, outlined: bool) -> TrainParams:
    """``auto`` replaced: the figure that the family chooses by; for a schedule, the one that chooses the epoch.

    Without ``outlined`` validation images (FoldData) that is one of ranking.
    """
    metric = params.selection_metric
    if metric == "auto":
        metric = cast(ValidationMetric, family.chooses)
        if BY_NAME[metric].needs_map and not outlined:
            logger.warning(
                "no validation image with pneumothorax has a known mask: auc chooses the epoch, not %s", metric
            )
            metric = "auc"

    def scheduler(given: SchedulerParams | None) -> SchedulerParams | None:
        if given is None or given.plateau.metric != "auto":
            return given
        return given.model_copy(update={"plateau": given.plateau.model_copy(update={"metric": metric})})

    phases = tuple(phase.model_copy(update={"scheduler": scheduler(phase.scheduler)}) for phase in params.phases)
    return params.model_copy(
        update={"selection_metric": metric, "scheduler": scheduler(params.scheduler), "phases": phases}
    )


def _wanted_figures(params: TrainParams) -> dict[str, str]:
    """Key → figure that chooses something."""
    wanted: dict[str, str] = {"train.selection_metric": params.selection_metric}
    for key, scheduler in [
        ("train.scheduler", params.scheduler),
        *((f"train.phases.{number}.scheduler", phase.scheduler) for number, phase in enumerate(params.phases)),
    ]:
        if scheduler is not None and scheduler.name == "plateau":
            wanted[f"{key}.plateau.metric"] = scheduler.plateau.metric
    return wanted


def _fit(model: Network, params: TrainParams, runtime: RuntimeParams) -> None:
    """Refuse sizes that the network cannot train at; leave out parameters that no output depends on, for DDP stops."""
    share = params.batch_size // (runtime.devices * runtime.nodes)
    for number, phase in enumerate(params.phases):
        side_px = phase.crop_px or phase.size_px
        check_size(model, side_px, share, f"train.phases.{number}.size_px")
    unused = freeze_unused(model, params.phases[0].crop_px or params.phases[0].size_px)
    if unused and is_first_process():
        logger.info(
            "%d tensors of weights (such as %s) belong to parts of the published network that this one does not use: "
            "they stay untrained, and nothing needs to be done",
            len(unused), unused[0],
        )  # fmt: skip


def make_fabric(params: TrainParams, runtime: RuntimeParams) -> Fabric:
    """Fabric for the wanted device, number of processes and precision; launched.

    Raises:
        ParameterError: the batch cannot be shared evenly, the device is not there, or torchrun started another number
            of processes.
    """
    device = choose_device(runtime.device)
    precision = choose_precision(runtime.precision or params.precision, device)
    processes = runtime.devices * runtime.nodes
    _check_launcher(runtime)
    if params.batch_size % processes:
        raise ParameterError(
            f"train.batch_size = {params.batch_size} does not divide by runtime.devices x runtime.nodes = {processes}"
        )
    if params.mean_teacher.images_per_step % processes:
        raise ParameterError(
            f"train.mean_teacher.images_per_step = {params.mean_teacher.images_per_step} does not divide by "
            f"runtime.devices x runtime.nodes = {processes}"
        )
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    fabric = Fabric(
        accelerator=device,
        devices=runtime.devices,
        num_nodes=runtime.nodes,
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        strategy="auto" if processes == 1 else "ddp",
    )
    # What Fabric's all_gather calls, as of Lightning 2.6 with torch 2.15: nothing that a user could mend.
    warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional\.all_gather is deprecated")
    fabric.launch()
    use_threads(runtime.threads)
    if fabric.is_global_zero:
        logger.info("training on %s (%d), %s, %d threads", device, processes, precision, torch.get_num_threads())
    if device == "cpu" and processes == 1:
        _tell_of_others()
    return fabric


def _tell_of_others() -> None:
    """Trainings that share cores wait for each other's threads at every step, unless each has its own."""
    others, cores, threads = other_trainings(), available_cores(), torch.get_num_threads()
    if others and threads * (1 + len(others)) > cores:
        logger.warning(
            "another training (process %d) runs on these %d cores: with %d threads each they take 1.7 times as "
            "long as in turn; set runtime.threads to %d in each, or let one wait (dvc queue start -j 1)",
            others[0], cores, threads, max(1, cores // (1 + len(others))),
        )  # fmt: skip


def _check_launcher(runtime: RuntimeParams) -> None:
    """Refuse more or fewer processes than Fabric is told of: each group of them would train for itself."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    started = tuple(int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if started != (runtime.devices, runtime.devices * runtime.nodes):
        raise ParameterError(
            f"torchrun started {started[0]} processes on this machine and {started[1]} in all, but runtime.devices = "
            f"{runtime.devices} and runtime.nodes = {runtime.nodes}: give torchrun --nproc-per-node {runtime.devices} "
            f"--nnodes {runtime.nodes}, or change these parameters"
        )


def loader_workers(runtime: RuntimeParams, device: str) -> int:
    """Processes that load data; null is none on a CPU, whose cores the network needs; beside a GPU all cores but one.

    More than 15 only wait: a core should augment 80 to 150 images of 512 x 512 a second, fast networks take 1,500.
    """
    if runtime.workers is not None:
        return runtime.workers
    return 0 if device == "cpu" else max(1, min(15, available_cores() // runtime.devices - 1))


def write_fold(trained: TrainedFold, layout: Layout, run: Mapping[str, Any]) -> None:
    """Write weights with model.json and run.json, the curves (CSV) and the summary (JSON); nothing timed or random."""
    name = f"fold{trained.fold}"
    folder = fresh_dir(layout.models / name)
    size_px = trained.history[-1]["size_px"]
    save_model(folder, trained.model, trained.model_params, size_px)
    if trained.lungs is not None:
        trained.lungs.save(folder)
    other = copy.deepcopy(trained.model) if trained.others else trained.model
    for number, weights in enumerate(trained.others, start=2):
        other.load_state_dict(weights)
        save_model(folder / f"checkpoint{number}", other, trained.model_params, size_px)
    write_json(folder / "run.json", {**run, "machine": trained.machine})
    write_csv(layout.training / f"{name}.csv", pd.DataFrame(trained.history))
    write_json(layout.training / f"{name}.json", trained.summary)


def _summary(data: FoldData, result: Result, all_empty: float | None, params: TrainParams) -> dict[str, Any]:
    summary = {
        "fold": data.fold,
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "selection_metric": params.selection_metric,
        # Whose figures these are: of the best epoch, the last one, or of averaged weights.
        "kept": result.kept["kept"],
        **{name: value for name, value in result.kept.items() if name.startswith(("val_", "train_"))},
        # The mean Dice of predicting nothing for the same validation images.
        **({} if all_empty is None else {"val_all_empty": all_empty}),
        "n_manifest": len(data.manifest),
        "n_validation": len(data.validation_ids),
    }
    wrong = collapse_of(result.kept)
    since = unmoved_since(result.history, params.selection_metric)
    if wrong:
        summary["collapse"] = "; ".join(wrong)
    if since is not None:
        summary["unmoved_since"] = since
    if data.unknown_masks:
        summary["n_mask_unknown"] = len(data.unknown_masks)
        # Figures of masks leave these out; those of labels do not.
        summary["n_validation_mask_unknown"] = len(data.unknown_masks.intersection(data.validation_ids))
    if data.boxes:
        summary |= count_cut(data.boxes, data.layout)
    if data.unlabelled_ids:
        summary["n_mean_teacher"] = len(data.unlabelled_ids)
    if len(data.pseudo.rows):
        summary["n_pseudo_positive"] = len(data.pseudo.maps)
        summary["n_pseudo_negative"] = len(data.pseudo.rows) - len(data.pseudo.maps)
        summary |= {f"n_pseudo_{rule}": count for rule, count in data.pseudo.dropped.items()}
    return summary


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
