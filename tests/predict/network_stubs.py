"""Networks of one parameter, for tests that work out ensembles by hand, and a small data set for them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pneumoseg.config import load_params
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.families.segmentation.assembly import Output
from pneumoseg.networks.family import Prediction
from pneumoseg.networks.spec import ModelSpec
from pneumoseg.predict.runner import TrainedNetwork, model_folders
from pneumoseg.shared.files import write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, METADATA, UNLABELLED, write_table

ROOT = Path(__file__).resolve().parents[2]
PARAMS = load_params(ROOT / "params.yaml")
RUNTIME = PARAMS.runtime.model_copy(update={"device": "cpu"})
PREDICT = PARAMS.predict.model_copy(update={"precision": "fp32", "horizontal_flip": False})


class Constant(nn.Module):
    """Says the same probability of every pixel: left and right half may differ; perhaps one of the image too."""

    def __init__(self, left: float, right: float | None = None, head: float | None = None) -> None:
        super().__init__()
        self.mean, self.std, self.size_multiple, self.views = (0.5,), (0.5,), 8, 1
        self.logits = nn.Parameter(torch.tensor([_logit(left), _logit(left if right is None else right)]))
        self.head = None if head is None else _logit(head)
        self.seen_px: list[int] = []

    def forward(self, x: Tensor) -> Output:
        count, _, side, _ = x.shape
        if not x.is_meta:
            self.seen_px.append(side)
        halves = self.logits.repeat_interleave(side // 2).expand(count, 1, side, side)
        return Output(halves, (), None if self.head is None else torch.full((count,), self.head))

    def misfit(self, output: Output, size_px: int) -> str:
        return ""


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def network(left: float, right: float | None = None, head: float | None = None, size_px: int = 32) -> TrainedNetwork:
    model = PARAMS.model.model_copy(
        update={"image_head": PARAMS.model.image_head.model_copy(update={"enabled": head is not None})}
    )
    return TrainedNetwork(Constant(left, right, head), ModelSpec(model, size_px, (0.5,), (0.5,)))  # type: ignore[arg-type]


class ImageFamily:
    """A family without maps: the output of its networks is the logit of the image."""

    gives_map = False

    def gives_image(self, params: ModelParams) -> bool:
        return True

    def predict(self, output: Output) -> Prediction:
        return Prediction(None, output.image.sigmoid())


def classifier(probability: float) -> TrainedNetwork:
    """A network of the family ``image_only``, which a fixture registers."""
    trained = network(0.5, head=probability)
    params = trained.spec.params.model_copy(update={"architecture": "image_only"})
    return replace(trained, spec=replace(trained.spec, params=params))


def write_data(layout: Layout, folds: dict[str, str], unlabelled: tuple[str, ...] = ()) -> Layout:
    """Files of the stages before predict for images named in ``folds`` (image id → fold)."""
    chooser = np.random.default_rng(1)
    names = [*sorted(folds), *unlabelled]
    for name in names:
        write_png(layout.images / f"{name}.png", chooser.integers(0, 255, (40, 48)).astype(np.uint8))
    write_table(layout.metadata, pd.DataFrame({"image_id": names, "rows": 40, "columns": 48}), METADATA)
    annotated = pd.DataFrame({"image_id": names, "annotated": [int(name in folds) for name in names]})
    write_table(layout.annotations, annotated, ANNOTATIONS)
    write_folds(layout.folds, folds)
    return layout


def write_folds(path: Path, folds: dict[str, str]) -> None:
    rows = [(name, f"image:{name}", fold) for name, fold in sorted(folds.items())]
    write_table(path, pd.DataFrame(rows, columns=list(FOLDS)), FOLDS)


def write_unlabelled(folder: Path, fold: int, *names: str) -> None:
    """The list of images without annotation that a training of a fold may learn from."""
    write_table(folder / f"unlabelled_fold{fold}.csv", pd.DataFrame({"image_id": list(names)}), UNLABELLED)


def write_model(folder: Path, left: float, right: float | None = None) -> None:
    """A model folder whose network ``read_stubs`` makes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_text(f"{left} {left if right is None else right}")
    (folder / "model.json").write_text("{}")


def read_stubs(fold: Path) -> tuple[TrainedNetwork, ...]:
    """In place of load_networks; of a model without a right half a classifier."""
    values = [(folder / "weights.safetensors").read_text().split() for folder in model_folders(fold)]
    return tuple(classifier(*map(float, said)) if len(said) == 1 else network(*map(float, said)) for said in values)
