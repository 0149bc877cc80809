"""Images that a child could segment, and short trainings on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from pneumoseg.config import Params
from pneumoseg.networks.building import build_network
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, UNLABELLED, write_table
from pneumoseg.train.fold_data import FoldData, load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import TrainedFold, train_fold

SMALL = {"encoder": "tu-test_resnet", "decoder_channels": [32, 32, 16, 16, 16]}


def write_disks(root: Path) -> Layout:
    """20 images of 96 px, every second one with a bright disk that is its mask; a split of two folds."""
    layout = Layout(root)
    chooser = np.random.default_rng(0)
    rows = []
    for number in range(20):
        image = chooser.normal(80, 10, (96, 96)).clip(0, 255).astype(np.uint8)
        image_id = f"image{number:02d}"
        if number % 2 == 0:
            mask = np.zeros((96, 96), np.uint8)
            cv2.circle(mask, tuple(int(value) for value in chooser.integers(25, 70, 2)), 14, 255, -1)
            image[mask > 0] += 100
            write_png(layout.masks / f"{image_id}.png", mask)
        write_png(layout.images / f"{image_id}.png", image)
        rows.append((image_id, image_id, str(int(number >= 14))))
    write_table(layout.folds, pd.DataFrame(rows, columns=list(FOLDS)), FOLDS)
    known = [
        {"image_id": name, "annotated": 1, "pneumothorax": 1 - int(name[-2:]) % 2, "mask_known": 1} for name, *_ in rows
    ]
    write_table(layout.annotations, pd.DataFrame(known), ANNOTATIONS)
    pool = [(name, 1 - int(name[-2:]) % 2, "none", 0) for name, _, fold in rows if fold == "0"]
    write_table(layout.splits / "train_fold1.csv", pd.DataFrame(pool, columns=list(MANIFEST)), MANIFEST)
    for number in range(3):  # without annotation, two of them with a disk
        image = chooser.normal(80, 10, (96, 96)).clip(0, 255).astype(np.uint8)
        if number < 2:
            cv2.circle(image, (40, 50), 14, 200, -1)
        write_png(layout.images / f"free{number}.png", image)
    free = pd.DataFrame({"image_id": [f"free{number}" for number in range(3)]})
    write_table(layout.splits / "unlabelled_fold1.csv", free, UNLABELLED)
    return layout


def make_params(
    phase: dict[str, Any] | None = None, model: dict[str, Any] | None = None, workers: int = 0, **train: Any
) -> Params:
    """Two epochs of 64 px on the CPU with a small network; changes of the first phase, of model, of train."""
    one = {"name": "main", "size_px": 64, "epochs": 2, **(phase or {})}
    content = {
        "model": SMALL | (model or {}),
        "train": {"lr": 2e-3, "batch_size": 4, "precision": "fp32", "phases": [one]} | train,
        "runtime": {"workers": workers, "device": "cpu"},
    }
    return Params.model_validate_json(json.dumps(content))


def load(layout: Layout, params: Params) -> FoldData:
    return load_fold(layout, 1, params)


def train(layout: Layout, folder: Path, params: Params, on_epoch: Any = lambda *_: None) -> TrainedFold:
    """Train fold 1; a broken run in ``folder`` is resumed."""
    return train_fold(load(layout, params), params, folder / "arrays", Checkpoint(folder / "resume", 0.0), on_epoch)


class StopError(Exception):
    """Ends a training as a kill would, after an epoch."""

    @classmethod
    def after(cls, epoch: int) -> Any:
        def on_epoch(number: int, *_: Any) -> None:
            if number == epoch:
                raise cls

        return on_epoch


def weights(trained: TrainedFold) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def initial_weights(params: Params) -> dict[str, torch.Tensor]:
    torch.manual_seed(derive_seed(params.train.seed, "weights"))
    return build_network(params.model).state_dict()


def assert_same(first: TrainedFold, second: TrainedFold) -> None:
    """The same curves, the same figures, the same weights to the last bit."""
    assert first.history == second.history
    assert first.summary == second.summary
    for name, value in weights(first).items():
        assert torch.equal(value, weights(second)[name]), name
