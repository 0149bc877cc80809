"""A family that this file adds: an image probability and no map, learnt from labels, some of them without a mask."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pneumoseg.networks.family import Prediction
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.networks.network import Network
from pneumoseg.networks.storage import load_model
from pneumoseg.shared.errors import ParameterError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import ANNOTATIONS, write_table
from pneumoseg.train.training import write_fold
from tests.train.disks import StopError, assert_same, load, make_params, train, weights, write_disks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")]


class Classifier(Network):
    """Two convolutions, the brightest place, a line."""

    def __init__(self, params):
        layers = [nn.Conv2d(params.in_channels, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
        super().__init__(params, nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()))
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.encoder(x))[:, 0]


class Toy:
    gives_map = False

    def gives_image(self, params):
        return True

    def build(self, params, published):
        return Classifier(params)

    def objective(self, params):
        def minimise(model, pixels, truth):
            logits = model(pixels).float()
            return {"loss": sum(w * term for _, w, term in image_terms(logits, truth.labels, params.image))}, logits

        return minimise

    def predict(self, output):
        return Prediction(None, output.float().sigmoid())


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with FAMILIES.temporarily("toy", Toy()):
        yield


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """The disks, of which no mask of the training pool and none but one of the validation images is known."""
    layout = write_disks(tmp_path_factory.mktemp("labelled"))
    paths = sorted(layout.masks.glob("*.png"))
    for path in paths[:-1]:
        path.unlink()
    unknown = [path.stem for path in paths[:-1]]
    names = [f"image{number:02d}" for number in range(20)]
    known = pd.DataFrame({"image_id": names, "mask_known": [int(name not in unknown) for name in names]})
    write_table(layout.annotations, known, ANNOTATIONS)
    return layout


def toy_params(**changes):
    given = {"model": {"architecture": "toy", "decoder_channels": None}, "lr": 1e-2, "selection_metric": "auc"}
    return make_params(**(given | changes))


def test_it_learns_from_labels_and_tells_what_there_is(labelled: Layout, tmp_path: Path):
    params = toy_params(phase={"epochs": 8})
    trained = train(labelled, tmp_path / "a", params)
    assert trained.summary["val_auc"] > 0.8
    assert trained.summary["n_mask_unknown"] == 9
    figures = {name.removeprefix("val_") for name in trained.history[-1] if name.startswith("val_")}
    assert figures == {"loss", "sensitivity", "specificity", "collapsed", "marked_share", "auc"}
    assert not [name for name in trained.summary if "dice" in name or "empty" in name]
    with pytest.raises(StopError):
        train(labelled, tmp_path / "b", params, on_epoch=StopError.after(3))
    assert_same(train(labelled, tmp_path / "b", params), trained)
    write_fold(trained, Layout(tmp_path), {})
    again, spec = load_model(tmp_path / "data/models/fold1")
    assert spec.params.architecture == "toy"
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in weights(trained).items())


def test_a_figure_of_maps_cannot_choose_its_epoch(labelled: Layout, tmp_path: Path):
    with pytest.raises(ParameterError, match=r"train\.selection_metric = dice_tuned: .* toy gives no map"):
        train(labelled, tmp_path, toy_params(selection_metric="dice_tuned"))
    plateau = {"name": "plateau", "plateau": {"metric": "iou"}}
    with pytest.raises(ParameterError, match=r"train\.scheduler\.plateau\.metric = iou"):
        train(labelled, tmp_path, toy_params(scheduler=plateau))


def test_a_segmentation_judges_masks_on_the_known_ones_alone(labelled: Layout, disks: Layout, tmp_path: Path):
    """Of six validation images two positives have no known mask: figures of masks are of four, of labels of six."""
    params = make_params(phase={"epochs": 1}, model={"image_head": {"enabled": True}})
    partly = train(labelled, tmp_path / "a", params).history[0]
    whole = train(disks, tmp_path / "b", params).history[0]
    assert partly["train_image_bce"] == pytest.approx(whole["train_image_bce"], rel=0.2)  # the same labels
    assert partly["train_bce"] < whole["train_bce"]  # half of the images cost nothing
    data = load(labelled, params)
    assert data.unknown_masks == {f"image{number:02d}" for number in range(0, 18, 2)}
    assert np.isfinite([partly[name] for name in ("val_dice_all", "val_dice_pos", "val_sensitivity", "val_auc")]).all()
