"""Learning on real radiographs: three seeds, each holding out another third of the patients, pooled.

    python -m benchmarks real ROOT TABLE WEIGHTS [key=value ...]

ROOT and TABLE are data.root and data.annotations, WEIGHTS a file for model.weights; key=value changes a parameter of
params.yaml. The parameters are those of recipes/real_cpu.yaml, at 128 pixels. Every epoch is judged on its validation
images and on the held-out ones, and what any decision rule and any choice of an epoch need of both is kept in
.cache/real: so a second call only reads it, and benchmarks/choosing.py compares ways to choose on the same trainings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import changed
from benchmarks.choosing import Stored, describe, kept_epoch, outcome, pooled, steady_rule
from pneumoseg.config import Params, load_params, parse_params
from pneumoseg.config.flat import merge
from pneumoseg.config.recipes import load_recipe
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.rule.cases import patient_codes
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import FOLDS, read_table
from pneumoseg.split.splitting import load_images, split
from pneumoseg.train import validation
from pneumoseg.train.figures import Validated, summarise
from pneumoseg.train.fold_data import FoldData, load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import train_fold
from pneumoseg.tune.selection import patient_groups

HOME = Path(__file__).resolve().parent.parent
CACHE = HOME / ".cache/real"
SEEDS = (1, 2, 3)
SIZE_PX = 128


class Recorder:
    """Keeps what each validation saw; it stands in for the function that sums a validation up."""

    def __init__(self) -> None:
        self.last: list[Validated] = []
        self.epochs: list[Validated] = []
        self.rows: list[dict[str, float]] = []

    def summarise(self, seen: Validated) -> dict[str, float]:
        """As train.figures.summarise."""
        self.last = [seen]
        return summarise(seen)

    def after_epoch(self, number: int, row: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        """As train.loop.OnEpoch."""
        self.epochs += self.last
        self.rows.append({"train_loss": row["train_loss"], "seconds": timing["seconds"]})

    def write(self, path: Path, data: FoldData, patients: Mapping[str, str], own: int) -> None:
        """Store all epochs; the first ``own`` of the images are those of the validation set."""
        counts = [seen.counts for seen in self.epochs if isinstance(seen.counts, LevelCounts)]
        np.savez_compressed(
            path,
            image_id=np.array(data.validation_ids),
            patient=np.array([patients[image_id] for image_id in data.validation_ids]),
            validation=np.arange(len(data.validation_ids)) < own,
            image_px=counts[0].image_px,
            truth_px=counts[0].truth_px,
            above=np.stack([each.above for each in counts]).astype(np.int32),
            inside=np.stack([each.inside for each in counts]).astype(np.int32),
            probability=np.stack([seen.probability for seen in self.epochs]),
            loss=np.stack([seen.loss for seen in self.epochs]),
            **{name: np.array([row[name] for row in self.rows]) for name in self.rows[0]},
        )


def params_of(root: Path, table: Path, weights: Path, seed: int, changes: Sequence[str]) -> Params:
    """Those of real_cpu at 128 pixels, with a third of the patients as test set."""
    recipe = load_recipe("real_cpu", HOME / "recipes")
    content = merge(load_params(HOME / "params.yaml").written(), recipe.params)
    content["train"]["phases"] = [phase | {"size_px": SIZE_PX} for phase in content["train"]["phases"]]
    overlay: dict[str, Any] = {
        "data": {"root": str(root.resolve()), "annotations": str(table.resolve())},
        "extract": {"size_px": 2 * SIZE_PX},
        "split": {"seed": seed, "train_folds": [0], "test_fraction": None, "test_list": f"held_out{seed}.txt"},
        "model": {"weights": str(weights.resolve())},
        "train": {"seed": seed},
        "runtime": {"workers": 0, "device": "cpu"},
    }
    return parse_params(merge(merge(content, overlay), changed(changes)))


def prepared(folder: Path, params: Params) -> Layout:
    """Images and masks at ``folder``, made once."""
    layout = Layout(folder)
    if not layout.annotations.is_file():
        extract(layout, params.data, params.extract, params.runtime.workers)
        write_masks(layout, params.data, params.masks, params.runtime.workers)
    return layout


def hold_out(whole: Layout, layout: Layout, params: Params, third: int) -> tuple[FoldData, int]:
    """The fold of a split whose test set is a third of the patients; its test images are validated beside its own."""
    layout.data.mkdir(parents=True)
    for source in (whole.images, whole.masks, whole.metadata, whole.annotations):
        (layout.data / source.name).symlink_to(source.resolve())
    table, _ = load_images(layout, params.split)
    groups = patient_groups(
        patient_codes(table["patient"].tolist()), table["pneumothorax"].to_numpy() > 0, len(SEEDS), 0
    )
    held_out = sorted(table.loc[groups == third, "image_id"])
    (layout.root / str(params.split.test_list)).write_text("\n".join(held_out) + "\n", encoding="utf-8")
    split(layout, params.split, params.augment, params.runtime.workers)
    data = load_fold(layout, params.split.train_folds[0], params)
    ids = (*data.validation_ids, *held_out)
    digest = f"{data.digest}-held-out"
    return dataclasses.replace(data, validation_ids=ids, digest=digest), len(data.validation_ids)


def train(root: Path, table: Path, weights: Path, changes: Sequence[str], seed: int) -> None:
    """Train one network, unless its file is there, and keep the counts of its epochs."""
    params = params_of(root, table, weights, seed, changes)
    target = stored(params)
    if target.is_file():
        return
    whole = prepared(target.parent.parent, params)
    with tempfile.TemporaryDirectory(dir=whole.root) as name:
        layout = Layout(Path(name))
        data, own = hold_out(whole, layout, params, SEEDS.index(seed))
        patients = read_table(layout.folds, FOLDS).set_index("image_id")["patient"]
        recorder, checkpoint = Recorder(), Checkpoint(layout.root / ".resume", 1e9)
        with mock.patch.object(validation, "summarise", recorder.summarise):
            train_fold(data, params, layout.root / "arrays", checkpoint, recorder.after_epoch)
        if params.train.keep == "averaged":
            recorder.epochs += recorder.last
        target.parent.mkdir(exist_ok=True)
        recorder.write(target, data, patients, own)


def stored(params: Params) -> Path:
    """The file of a training: one folder for a data set, in it one for a configuration."""
    data = hashlib.sha256(f"{params.data}{params.extract}{params.masks}".encode()).hexdigest()[:8]
    seedless = params.model_copy(update={"runtime": None, "split": None, "train": None})
    splits = params.split.model_copy(update={"seed": 0, "test_list": None})
    trains = params.train.model_copy(update={"seed": 0})
    configuration = hashlib.sha256(f"{seedless}{splits}{trains}".encode()).hexdigest()[:8]
    return CACHE / data / configuration / f"{params.train.seed}.npz"


def main(arguments: Sequence[str]) -> str:
    """Train the seeds beside each other, one thread each, and pool what they say of the held-out patients."""
    if len(arguments) < 3 or not all("=" in word for word in arguments[3:]):
        return str(__doc__)
    root, table, weights = map(Path, arguments[:3])
    first = params_of(root, table, weights, SEEDS[0], arguments[3:])
    prepared(stored(first).parent.parent, first)

    def run(seed: int) -> None:
        command = [
            sys.executable,
            "-m",
            "benchmarks.real",
            *map(str, (root, table, weights)),
            str(seed),
            *arguments[3:],
        ]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)

    with ThreadPoolExecutor(min(len(SEEDS), os.cpu_count() or 1)) as pool:
        list(pool.map(run, SEEDS))
    runs = [Stored(stored(params_of(root, table, weights, seed, arguments[3:]))) for seed in SEEDS]
    epochs = [kept_epoch(run, first) for run in runs]
    parts = [outcome(run, epoch, steady_rule(run, epoch)) for run, epoch in zip(runs, epochs, strict=True)]
    whole = pooled(parts)
    lines = [
        f"{len(whole.dice)} held-out images of {len(set(whole.patient))} patients, {whole.positive.sum()} with "
        f"pneumothorax; seeds {SEEDS}, kept epochs {[epoch + 1 for epoch in epochs]}; 95 % intervals over patients",
        f"{'all-empty':<16} {(~whole.positive).mean():6.3f}",
    ]
    lines += [
        f"{name:<16} {value:6.3f}  {low:.3f} to {high:.3f}" for name, (value, low, high) in describe(whole).items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"seed {sys.argv[4]}: %(message)s")
    train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[5:], int(sys.argv[4]))
