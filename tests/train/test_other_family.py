"""A family that this file adds: an image probability and no map, learnt from labels, some of them without a mask."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
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
from pneumoseg.shared.errors import DataError, ParameterError, TrainingError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.tables import ANNOTATIONS, write_table
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import train_fold, write_fold
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
    chooses = "auc"

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
    given = {"model": {"architecture": "toy", "decoder_channels": None}, "lr": 1e-2, "selection_metric": "auto"}
    return make_params(**(given | changes))


def test_it_learns_from_labels_and_tells_what_there_is(labelled: Layout, tmp_path: Path):
    params = toy_params(phase={"epochs": 8})
    trained = train(labelled, tmp_path / "a", params)
    assert trained.summary["val_auc"] > 0.8
    assert trained.summary["selection_metric"] == "auc"  # the family's choice
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


def test_it_needs_no_loss_of_a_mask_and_a_schedule_follows_its_figure(labelled: Layout, tmp_path: Path):
    loss = {"dice": {"weight": 0.0}, "bce": {"weight": 0.0}}
    plateau = {"name": "plateau", "plateau": {"metric": "auto", "patience_epochs": 0}}
    params = toy_params(loss=loss, scheduler=plateau, phase={"epochs": 3})
    trained = train(labelled, tmp_path, params)
    scores = [row["val_auc"] for row in trained.history]
    assert trained.history[1]["lr"] == params.train.lr  # the first is the best so far
    lower = scores[1] <= scores[0] + 1e-3
    assert (trained.history[2]["lr"] < params.train.lr) == lower
    with pytest.raises(ValueError, match=r"train\.loss\.image\.bce = train\.loss\.image\.focal = 0, from which alone"):
        toy_params(loss=loss | {"image": {"bce": 0.0}})
    with pytest.raises(ValueError, match="every mask term has weight 0"):
        make_params(loss=loss)


def test_a_map_alone_cannot_be_learnt_without_a_known_mask(labelled: Layout, tmp_path: Path):
    with pytest.raises(DataError, match=r"train_fold1\.csv: .*known mask.* set model\.image_head\.enabled to true"):
        load(labelled, make_params())
    with_head = make_params(phase={"epochs": 1}, model={"image_head": {"enabled": True}}, selection_metric="dice_pos")
    assert train(labelled, tmp_path / "a", with_head).summary["val_dice_pos"] >= 0  # one validation mask is known


def test_a_figure_that_the_validation_images_cannot_give_is_refused_before_an_epoch(disks: Layout, tmp_path: Path):
    params = make_params(model={"image_head": {"enabled": True}}, selection_metric="iou")
    data = load(disks, params)
    none_known = replace(data, unknown_masks=frozenset(path.stem for path in disks.masks.glob("*.png")))
    layout = Layout(tmp_path)
    shutil.copytree(disks.images, layout.images)
    no_masks = replace(none_known, layout=layout)
    seen: list[int] = []
    with pytest.raises(TrainingError, match=r"train\.selection_metric = iou: .*take one of loss, sensitivity"):
        train_fold(no_masks, params, tmp_path / "arrays", Checkpoint(tmp_path / "r", 0.0), lambda n, *_: seen.append(n))
    assert seen == []


def test_a_segmentation_judges_masks_on_the_known_ones_alone(labelled: Layout, disks: Layout, tmp_path: Path):
    """Of six validation images two positives have no known mask: figures of masks are of four, of labels of six."""
    params = make_params(phase={"epochs": 1}, model={"image_head": {"enabled": True}})
    partly = train(labelled, tmp_path / "a", params).history[0]
    whole = train(disks, tmp_path / "b", params).history[0]
    assert partly["train_image_bce"] == pytest.approx(whole["train_image_bce"], rel=0.2)  # the same labels
    data = load(labelled, params)
    assert data.unknown_masks == {f"image{number:02d}" for number in range(0, 18, 2)}
    assert np.isfinite([partly[name] for name in ("val_dice_all", "val_dice_pos", "val_sensitivity", "val_auc")]).all()
