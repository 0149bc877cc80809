"""Every recipe builds and trains two steps a phase on small phantoms, with nothing but its sizes cut down."""

from __future__ import annotations

import math
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML

from pneumoseg.augment import Augmenter
from pneumoseg.config import Params, parse_params
from pneumoseg.config.phantom import PhantomParams
from pneumoseg.config.recipes import load_recipes, merge
from pneumoseg.config.runtime import RuntimeParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.encoders import published_weights
from pneumoseg.networks.network import check_size, input_shape
from pneumoseg.networks.norms import batch_norms
from pneumoseg.phantom import render_phantom
from pneumoseg.shared.files import read_png, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.registry import FAMILIES
from pneumoseg.shared.seeds import derive_seed
from pneumoseg.shared.tables import ANNOTATIONS, FOLDS, MANIFEST, METADATA, UNLABELLED, write_table
from pneumoseg.train.fold_data import load_fold
from pneumoseg.train.resume import Checkpoint
from pneumoseg.train.training import TrainedFold, train_fold

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning")]

ROOT = Path(__file__).resolve().parents[2]
CONTENT: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
RECIPES = {recipe.name: recipe for recipe in load_recipes(ROOT / "recipes")}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Phantoms of 128 px: 3 + 3 to learn from, 1 + 1 for validation, 4 without annotation."""
    layout = Layout(tmp_path_factory.mktemp("phantoms"))
    params = PhantomParams.model_validate(
        CONTENT["phantom"] | {"images": 8, "unannotated_images": 4, "unlabelled_images": 0, "size_px": 128,
                              "prevalence": 0.5, "pneumothorax_median_area": 0.05}
    )  # fmt: skip
    rows, free, counts = [], [], {True: 0, False: 0}
    for index in range(12):
        phantom = render_phantom(params, index)
        image_id = f"phantom{index:02d}"
        write_png(layout.images / f"{image_id}.png", phantom.image)
        if index >= 8:
            free.append(image_id)
            continue
        positive = bool(phantom.mask.any())
        counts[positive] += 1
        if positive:
            write_png(layout.masks / f"{image_id}.png", phantom.mask.astype("uint8") * 255)
        rows.append((image_id, "0" if counts[positive] == 4 else "1", positive))
    assert counts == {True: 4, False: 4}
    folds = pd.DataFrame([(name, name, fold) for name, fold, _ in rows], columns=list(FOLDS))
    write_table(layout.folds, folds, FOLDS)
    pool = [(name, int(positive), "none", 0) for name, fold, positive in rows if fold == "1"]
    write_table(layout.splits / "train_fold0.csv", pd.DataFrame(pool, columns=list(MANIFEST)), MANIFEST)
    write_table(layout.splits / "unlabelled_fold0.csv", pd.DataFrame({"image_id": free}), UNLABELLED)
    for name, _, _ in rows:
        shutil.copy(layout.images / f"{name}.png", layout.images / f"{name}-side.png")
    studies = [(name, name, "PA") for name, _, _ in rows] + [(f"{name}-side", name, "LL") for name, _, _ in rows]
    columns = ["image_id", "study_id", "view_position"]
    write_table(layout.metadata, pd.DataFrame(studies, columns=columns), METADATA)
    known = [{"image_id": name, "pneumothorax": int(positive), "mask_known": 1} for name, _, positive in rows]
    write_table(layout.annotations, pd.DataFrame(known), ANNOTATIONS)
    return layout


def cut_down(name: str, own_encoder: bool) -> Params:
    """The recipe with sizes of 64 and 96 px, one epoch a phase, batches of 2, no weights, perhaps a tiny encoder."""
    params = parse_params(merge(CONTENT, RECIPES[name].params)).written()
    train = params["train"]
    sizes = sorted({phase["size_px"] for phase in train["phases"]})
    ends = list(accumulate(phase["epochs"] for phase in train["phases"]))
    averaged = [sum(end < epoch for end in ends) + 1 for epoch in train["averaging"]["swa"]["epochs"]]
    for phase in train["phases"]:
        phase["size_px"] = 96 if len(sizes) > 1 and phase["size_px"] == sizes[-1] else 64
        phase |= {"epochs": 1, "crop_px": phase["crop_px"] and 32}
        phase["freeze_encoder_epochs"] = min(1, phase["freeze_encoder_epochs"])
    for scheduler in (train["scheduler"], *(phase["scheduler"] for phase in train["phases"])):
        if scheduler and "warmup_epochs" in scheduler:
            scheduler["warmup_epochs"] = 0.0
    train["averaging"]["swa"]["epochs"] = sorted(set(averaged))
    train |= {"batch_size": 2, "checkpoints": 1, "precision": "fp32"}
    train["mean_teacher"]["images_per_step"] = min(2, train["mean_teacher"]["images_per_step"])
    params["model"]["weights"] = None
    params["model"]["detector"] |= {"proposals": 30, "rois_per_image": 16, "pyramid_channels": 16}
    if own_encoder and params["model"]["norm"] == "frozen_batch":
        # Frozen statistics are those of the weights, which are left out here: without them 101 layers overflow.
        params["model"]["norm"] = "batch"
    if not own_encoder:
        kind = "efficientnet" if "efficientnet" in params["model"]["encoder"] else "resnet"
        params["model"]["encoder"] = f"tu-test_{kind}"
    return parse_params(params)


def train(params: Params, phantoms: Layout, tmp_path: Path) -> TrainedFold:
    params = params.model_copy(update={"runtime": RuntimeParams(workers=0, device="cpu")})
    checkpoint = Checkpoint(tmp_path / "resume", 0.0)
    return train_fold(load_fold(phantoms, 0, params), params, tmp_path / "arrays", checkpoint, lambda *_: None)


@pytest.mark.parametrize("own_encoder", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_it_trains(name: str, own_encoder: bool, phantoms: Layout, tmp_path: Path):
    params = cut_down(name, own_encoder)
    trained = train(params, phantoms, tmp_path)
    assert [row["phase"] for row in trained.history] == [phase.name for phase in params.train.phases]
    assert all(math.isfinite(row["train_loss"]) for row in trained.history)
    assert trained.summary["kept"] == params.train.keep
    learned = trained.model.state_dict()
    torch.manual_seed(derive_seed(params.train.seed, "weights"))
    start = build_network(params.model).state_dict()
    assert all(torch.isfinite(value).all() for value in learned.values())
    family = FAMILIES[params.model.architecture]
    last = next(name for name in reversed(learned) if name.endswith("weight"))
    assert not torch.equal(learned[last], start[last])
    assert ("consistency" in " ".join(trained.history[-1])) == (name == "fifth_place")
    with torch.no_grad():
        said = family.predict(trained.model.eval()(torch.zeros(input_shape(trained.model, 2, 64))))
    assert said.map is None or said.map.shape == (2, 64, 64)
    assert (said.map is not None) == family.gives_map
    assert (said.image is not None) == family.gives_image(params.model)
    if params.model.norm == "frozen_batch":
        names = [key for key in start if key.startswith("encoder.") and "running" in key]
        assert names
        assert all(torch.equal(start[key], learned[key]) for key in names)
        outside = len(batch_norms(trained.model)) - len(batch_norms(trained.model.encoder))
        assert (outside > 0) == (params.model.architecture == "unet")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_its_encoder_takes_its_sizes_and_its_weights_exist(name: str):
    params = parse_params(merge(CONTENT, RECIPES[name].params))
    whole = getattr(FAMILIES[params.model.architecture], "published", lambda _: ())(params.model)
    assert params.model.weights in (*published_weights(params.model.encoder), *whole)
    with torch.device("meta"):
        network = build_network(params.model, load_weights=False)
    for phase in params.train.phases:
        check_size(network, phase.crop_px or phase.size_px, 2, "size_px")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_augmentations_act_on_a_phantom(name: str, phantoms: Layout):
    """At the size of the phantom, whatever the limits: image and mask stay what they are, and something happens."""
    params = parse_params(merge(CONTENT, RECIPES[name].params)).augment
    augmenter = Augmenter(params)
    path = next(phantoms.masks.glob("*.png"))
    image, mask = read_png(phantoms.images / path.name), read_png(path)
    changed = 0
    for seed in range(12):
        one, other = augmenter("none", image, mask, seed)
        assert one.shape == image.shape
        assert other.shape == mask.shape
        changed += int((cv2.absdiff(one, image) > 0).any())
    assert changed > 5 if params.online else changed == 0
