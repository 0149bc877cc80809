"""Networks of one parameter, for tests that work out ensembles by hand, and a small data set for them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pneumoseg.config import load_params
from pneumoseg.networks.network import Output
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.predict.runner import Network, model_folders
from pneumoseg.shared.files import write_json, write_png
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, write_table

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load_params(ROOT / "params.yaml")
RUNTIME = PARAMS.runtime.model_copy(update={"device": "cpu"})
PREDICT = PARAMS.predict.model_copy(update={"precision": "fp32", "horizontal_flip": False})


class Constant(nn.Module):
    """Says the same probability of every pixel: left and right half may differ; perhaps one of the image too."""

    def __init__(self, left: float, right: float | None = None, head: float | None = None) -> None:
        super().__init__()
        self.mean, self.std, self.size_multiple = (0.5,), (0.5,), 8
        self.logits = nn.Parameter(torch.tensor([_logit(left), _logit(left if right is None else right)]))
        self.head = None if head is None else _logit(head)
        self.seen_px: list[int] = []

    def forward(self, x: Tensor) -> Output:
        count, _, side, _ = x.shape
        if not x.is_meta:
            self.seen_px.append(side)
        halves = self.logits.repeat_interleave(side // 2).expand(count, 1, side, side)
        return Output(halves, (), None if self.head is None else torch.full((count,), self.head))


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def network(left: float, right: float | None = None, head: float | None = None, size_px: int = 32) -> Network:
    model = PARAMS.model.model_copy(
        update={"image_head": PARAMS.model.image_head.model_copy(update={"enabled": head is not None})}
    )
    return Network(Constant(left, right, head), ModelSpec(model, size_px, (0.5,), (0.5,)))  # type: ignore[arg-type]


def write_data(
    folder: Path, folds: dict[str, str], unlabelled: tuple[str, ...] = (), patients: dict[str, str] | None = None
) -> dict[str, Any]:
    """Files of the stages before predict for images named in ``folds`` (image id → fold); arguments of predict."""
    chooser = np.random.default_rng(1)
    names = [*sorted(folds), *unlabelled]
    for name in names:
        write_png(folder / "images" / f"{name}.png", chooser.integers(0, 255, (40, 48)).astype(np.uint8))
    write_table(folder / "metadata.csv", pd.DataFrame({"image_id": names, "rows": 40, "columns": 48}), METADATA)
    annotated = pd.DataFrame({"image_id": names, "annotated": [int(name in folds) for name in names]})
    write_table(folder / "annotations.csv", annotated, ANNOTATIONS)
    write_folds(folder / "folds.csv", folds, patients)
    return {
        "curves": folder / "train",
        "images": folder / "images",
        "metadata": folder / "metadata.csv",
        "annotations": folder / "annotations.csv",
        "folds": folder / "folds.csv",
        "runtime": RUNTIME,
    }


def write_folds(path: Path, folds: dict[str, str], patients: dict[str, str] | None = None) -> None:
    named = {name: (patients or {}).get(name, f"image:{name}") for name in folds}
    rows = [(name, named[name], fold) for name, fold in sorted(folds.items())]
    write_table(path, pd.DataFrame(rows, columns=list(FOLDS)), FOLDS)


def write_model(folder: Path, left: float, right: float | None = None, data: str | None = None) -> None:
    """A model folder whose network ``read_stub`` makes; ``data`` is the digest in its run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_text(f"{left} {left if right is None else right}")
    (folder / "model.json").write_text("{}")
    if data is not None:
        write_json(folder / "run.json", {"data": data})


def read_stubs(fold: Path) -> tuple[Network, ...]:
    """In place of load_networks."""
    values = [(folder / "weights.safetensors").read_text().split() for folder in model_folders(fold)]
    return tuple(network(float(left), float(right)) for left, right in values)
