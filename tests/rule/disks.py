"""Images that a child could segment, and short trainings on them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from pneumoseg.config import load_params
from pneumoseg.config.model import ModelParams
from pneumoseg.config.train import TrainParams
from pneumoseg.networks.building import build_network
from pneumoseg.shared.files import write_png
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.shared.tables import FOLDS, MANIFEST, UNLABELLED, write_table
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import TrainedFold, train_fold

ROOT = Path(__file__).resolve().parents[2]


def write_disks(root: Path) -> Path:
    """20 images of 96 px, every second one with a bright disk that is its mask; a split of two folds."""
    chooser = np.random.default_rng(0)
    rows = []
    for number in range(20):
        image = chooser.normal(80, 10, (96, 96)).clip(0, 255).astype(np.uint8)
        image_id = f"image{number:02d}"
        if number % 2 == 0:
            mask = np.zeros((96, 96), np.uint8)
            cv2.circle(mask, tuple(int(value) for value in chooser.integers(25, 70, 2)), 14, 255, -1)
            image[mask > 0] += 100
            write_png(root / "masks" / f"{image_id}.png", mask)
        write_png(root / "images" / f"{image_id}.png", image)
        rows.append((image_id, image_id, str(int(number >= 14))))
    folds = pd.DataFrame(rows, columns=list(FOLDS))
    write_table(root / "splits/folds.csv", folds, FOLDS)
    pool = [(name, 1 - int(name[-2:]) % 2, "none", 0) for name, _, fold in rows if fold == "0"]
    write_table(root / "splits/train_fold1.csv", pd.DataFrame(pool, columns=list(MANIFEST)), MANIFEST)
    for number in range(3):  # without annotation, two of them with a disk
        image = chooser.normal(80, 10, (96, 96)).clip(0, 255).astype(np.uint8)
        if number < 2:
            cv2.circle(image, (40, 50), 14, 200, -1)
        write_png(root / "images" / f"free{number}.png", image)
    free = pd.DataFrame({"image_id": [f"free{number}" for number in range(3)]})
    write_table(root / "splits/unlabelled_fold1.csv", free, UNLABELLED)
    return root


def make_params(**changes) -> TrainParams:
    content = load_params(ROOT / "params.yaml").train.model_dump(mode="json")
    phase = content["phases"][0] | {"size_px": 64, "epochs": 6, "lr": None, "scheduler": None, "positive_share": None}
    content |= {"lr": 2e-3, "batch_size": 4, "precision": "fp32", "phases": [phase]}
    content["phases"][0] |= changes.pop("phase", {})
    return TrainParams.model_validate_json(json.dumps(content | changes))


def train(
    disks: Path, tmp_path: Path, params: TrainParams, on_epoch=lambda *_: None, workers: int = 0, **model
) -> TrainedFold:
    whole = load_params(ROOT / "params.yaml")
    data = load_fold(disks / "splits", disks / "images", disks / "masks", 1, None, params)
    runtime = whole.runtime.model_copy(update={"workers": workers, "device": "cpu"})
    return train_fold(
        data, small_model(**model), params, whole.augment, runtime,
        scratch=tmp_path / "arrays", checkpoint=Checkpoint(tmp_path / "resume", 0.0), on_epoch=on_epoch,
    )  # fmt: skip


def small_model(**changes) -> ModelParams:
    small = {"encoder": "mobilenet_v2", "architecture": "unet", "weights": None}
    return load_params(ROOT / "params.yaml").model.model_copy(update=small | changes)


def weights(trained: TrainedFold) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def initial_weights(**model) -> dict[str, torch.Tensor]:
    torch.manual_seed(derive_seed(load_params(ROOT / "params.yaml").train.seed, "weights"))
    return build_network(small_model(**model)).state_dict()
