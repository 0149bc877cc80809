"""Learning on real radiographs: three seeds, each holding out another third of the patients, pooled.

    python -m benchmarks real ROOT TABLE WEIGHTS [key=value ...] [-- key=value ...] ...

ROOT and TABLE are data.root and data.annotations, WEIGHTS a file for model.weights; key=value changes a parameter of
params.yaml. What follows a -- are further changes to the first configuration: another one, compared with it on the same
images, paired by patient. The parameters are those of recipes/real_cpu.yaml, at 128 pixels. Every epoch is judged on
its validation images and on the held-out ones, and what any decision rule and any choice of an epoch need of both is
kept in .cache/real: so a second call only reads it, and benchmarks/choosing.py compares ways to choose on the same
trainings.
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
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import changed
from benchmarks.choosing import (
    Stored,
    auc_difference,
    describe,
    difference,
    kept_epoch,
    outcome,
    pooled,
    steady_rule,
)
from pneumoseg.config import Params, load_params, parse_params
from pneumoseg.config.flat import merge
from pneumoseg.config.recipes import load_recipe
from pneumoseg.extract.extraction import extract
from pneumoseg.masks.mask_files import write_masks
from pneumoseg.rule.cases import patient_codes
from pneumoseg.rule.level_counts import LEVELS, LevelCounts
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import FOLDS, read_table
from pneumoseg.split.splitting import load_images, split
from pneumoseg.stats.permutations import holm
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
        counts = [_counts(seen) for seen in self.epochs]
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


def _counts(seen: Validated) -> LevelCounts:
    """Those of its maps; of a family without maps a pixel an image, which says whether it is positive."""
    if seen.counts is not None:
        return seen.counts
    count = len(seen.probability)
    none, one = np.zeros((count, LEVELS), np.int64), np.ones(count, np.int64)
    clean = np.zeros((count, 0), np.int64)
    label = seen.positive.astype(np.int64)
    return LevelCounts(np.arange(count), seen.probability, one, label, none, none, (), clean, clean)


def main(arguments: Sequence[str]) -> str:
    """Train the seeds beside each other, one thread each, and pool what they say of the held-out patients."""
    words = list(arguments[3:])
    if len(arguments) < 3 or not all("=" in word or word == "--" for word in words):
        return str(__doc__)
    root, table, weights = map(Path, arguments[:3])
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            parts.append([])
        else:
            parts[-1].append(word)
    first, *others = parts
    configurations = [first, *([*first, *other] for other in others)]
    params = params_of(root, table, weights, SEEDS[0], first)
    prepared(stored(params).parent.parent, params)

    def run(job: tuple[list[str], int]) -> None:
        changes, seed = job
        command = [sys.executable, "-m", "benchmarks.real", *map(str, (root, table, weights)), str(seed), *changes]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)

    with ThreadPoolExecutor(min(len(SEEDS), os.cpu_count() or 1)) as pool:
        list(pool.map(run, product(configurations, SEEDS)))
    named = zip(map(" ".join, parts), configurations, strict=True)
    return "\n".join(_told([_Configuration(root, table, weights, changes, name) for name, changes in named]))


class _Configuration:
    """What the networks of one configuration say of the held-out patients."""

    def __init__(self, root: Path, table: Path, weights: Path, changes: list[str], name: str) -> None:
        params = [params_of(root, table, weights, seed, changes) for seed in SEEDS]
        runs = [Stored(stored(one)) for one in params]
        self.name = name
        self.epochs = [kept_epoch(run, params[0]) for run in runs]
        self.gives_map = FAMILIES[params[0].model.architecture].gives_map
        pairs = zip(runs, self.epochs, strict=True)
        self.whole = pooled([outcome(run, at, steady_rule(run, at) if self.gives_map else None) for run, at in pairs])

    def lines(self) -> list[str]:
        """Each figure that it has, with its interval."""
        figures = describe(self.whole).items()
        return [
            f"{name:<16} {value:6.3f}  {low:.3f} to {high:.3f}"
            for name, (value, low, high) in figures
            if self.gives_map or name == "AUC"
        ]


def _told(configurations: Sequence[_Configuration]) -> list[str]:
    first, *others = configurations
    whole = first.whole
    lines = [
        f"{len(whole.dice)} held-out images of {len(set(whole.patient))} patients, {whole.positive.sum()} with "
        f"pneumothorax; seeds {SEEDS}; 95 % intervals over patients; AUC is the mean of the networks",
        f"{'all-empty':<16} {(~whole.positive).mean():6.3f}",
    ]
    for one in configurations:
        lines += ["", f"{one.name or 'real_cpu'}: kept epochs {[epoch + 1 for epoch in one.epochs]}", *one.lines()]
    with_maps = [one for one in others if first.gives_map and one.gives_map]
    for figure, measure, compared in (("AUC", auc_difference, others), ("D_all", difference, with_maps)):
        found = [measure(one.whole, whole) for one in compared]
        lines += ["", f"{figure} minus that of the first; p after Holm"] if found else []
        for one, gain, p in zip(compared, found, holm([gain[3] for gain in found]), strict=True):
            lines.append(f"{gain[0]:+.3f} ({gain[1]:+.3f} to {gain[2]:+.3f}), p {p:.3f}: {one.name}")
    return lines


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"seed {sys.argv[4]}: %(message)s")
    train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[5:], int(sys.argv[4]))
