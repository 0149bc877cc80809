"""Recipes: what they set is what was published, what is ours is said, and they do not mix."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.config import Params, parse_params, read_yaml
from pneumoseg.config.augment import WITHOUT_LIMITS, StepParams
from pneumoseg.config.flat import leaves, merge, same
from pneumoseg.config.model import ModelParams
from pneumoseg.config.recipes import load_recipes

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes"
CONTENT: dict[str, Any] = read_yaml(ROOT / "params.yaml")
RESOLVED = json.loads((Path(__file__).parent / "files/450e244/recipes.json").read_text())
RECIPES = {recipe.name: recipe for recipe in load_recipes(FOLDER)}

HALF_DICE_BCE = {
    "train.loss.dice.weight": 1.0, "train.loss.bce.weight": 0.5, "train.loss.focal.weight": 0.0,
    "train.optimiser.name": "adam", "train.lr": 1e-4, "train.batch_size": 8, "model.architecture": "unet",
    "model.weights": "imagenet", "model.encoder_depth": 5,
}  # fmt: skip
PLATEAU = {
    "train.scheduler.name": "plateau", "train.scheduler.plateau.metric": "iou",
    "train.scheduler.plateau.patience_epochs": 2, "train.scheduler.plateau.threshold_mode": "abs",
}  # fmt: skip
SECOND = {
    "split.folds": 5, "split.train_folds": [0, 1, 2, 3, 4], "train.seed": 1992, "train.lr": 5e-4,
    "train.optimiser.name": "adam", "model.encoder": "se_resnext50_32x4d", "model.weights": "imagenet",
    "augment.transforms.gamma.min_percent": 60, "augment.transforms.gamma.max_percent": 120,
    "augment.transforms.brightness.limit": 0.2, "augment.transforms.contrast.limit": 0.2,
    "augment.transforms.clahe.max_clip_limit": 4.0, "augment.transforms.clahe.tiles": 4,
    "augment.transforms.shift_scale_rotate.shift": 0.2, "augment.transforms.shift_scale_rotate.scale": 0.2,
    "augment.transforms.shift_scale_rotate.rotate_degrees": 20.0,
    "train.averaging.name": "swa", "train.keep": "averaged", "predict.horizontal_flip": False,
    "train.phases.0.scheduler.name": "cosine_restarts",
    "train.phases.0.scheduler.cosine_restarts.period_epochs": 5,
    "train.phases.0.scheduler.cosine_restarts.period_factor": 2,
    "train.scheduler.name": "constant", "train.phases.1.scheduler": None, "train.phases.2.scheduler": None,
    "train.phases.1.lr": 1e-5, "train.phases.1.epochs": 2, "train.phases.1.start": "last",
    "train.phases.2.lr": 5e-6, "train.phases.2.epochs": 2, "train.phases.2.start": "last",
}  # fmt: skip

#: Deng et al. 2023, as its abstract gives it; the defaults of Detectron2 where they are known to have stood.
DENG: dict[str, Any] = {
    "model.architecture": "mask_rcnn", "model.detector.rois_per_image": 512, "train.lr": 1e-3,
    "train.optimiser.weight_decay": 1e-4, "train.optimiser.name": "sgd", "train.optimiser.momentum": 0.9,
    "model.norm": "frozen_batch", "model.detector.least_score": 0.05, "model.detector.anchor_ratios": [0.5, 1.0, 2.0],
    "model.detector.anchor_px_at_1024": [41, 82, 164, 328, 655], "train.phases.0.size_px": 800,
    "train.phases.0.epochs": 25, "train.phases.1.epochs": 15, "train.phases.2.epochs": 10, "train.phases.3.epochs": 10,
    "train.phases.0.lr": None, "train.phases.1.lr": 1e-4, "train.phases.2.lr": 1e-5, "train.phases.3.lr": 1e-6,
}  # fmt: skip

#: What was published, as read in its code: the reference project's report; sneddy/pneumothorax-segmentation
#: (experiments/albunet_valid, transforms/train_transforms_complex_1024_old.json, Losses.py); harshitAgr's copy of the
#: second place (train_model.py, dataset.py) and its segmenter; amirassov/kaggle-pneumothorax (configs/, src/models/);
#: earhian/SIIM-ACR-Pneumothorax-Segmentation-5th (train_semi.py, dataSet/transform.py, models/).
PUBLISHED: dict[str, dict[str, Any]] = {
    "reference_efficientnet_b4": HALF_DICE_BCE
    | PLATEAU
    | {"model.encoder": "efficientnet-b4", "train.phases.0.size_px": 512, "split.positive_share": 0.5},
    "reference_se_resnext101": HALF_DICE_BCE
    | PLATEAU
    | {"model.encoder": "se_resnext101_32x4d", "train.phases.0.size_px": 512, "split.positive_share": 0.5},
    "reference_efficientnet_b4_restarts": HALF_DICE_BCE
    | {
        "model.encoder": "efficientnet-b4", "train.phases.0.size_px": 512, "split.positive_share": 0.5,
        "train.scheduler.name": "cosine_restarts",
    },
    "first_place": {
        "model.architecture": "unet", "model.encoder": "resnet34", "model.weights": "imagenet",
        "model.decoder_channels": [256, 256, 64, 128, 32], "split.folds": 5, "split.train_folds": [0, 1, 2, 3, 4],
        "split.positive_share": None, "train.seed": 42, "train.batch_size": 2, "train.accumulate_batches": 1,
        "train.lr": 1e-4, "train.optimiser.name": "adam", "train.optimiser.weight_decay": 5e-6,
        "train.gradient_clip_norm": 0.1,
        "train.loss.bce.weight": 3.0, "train.loss.dice.weight": 1.0, "train.loss.focal.weight": 4.0,
        "train.loss.dice.pooled": True, "train.loss.dice.smooth": 1e-5, "train.loss.focal.gamma": 2.0,
        "train.scheduler.name": "plateau", "train.scheduler.plateau.factor": 0.1,
        "train.scheduler.plateau.patience_epochs": 2, "train.scheduler.plateau.min_lr": 1e-7,
        "train.scheduler.plateau.threshold": 1e-7, "train.scheduler.plateau.threshold_mode": "rel",
        "train.phases.0.size_px": 512,
        "train.phases.1.size_px": 1024, "train.phases.1.positive_share": 0.8, "train.phases.1.epochs": 50,
        "train.phases.1.lr": None, "train.phases.1.scheduler": None,
        "train.phases.2.size_px": 1024, "train.phases.2.positive_share": 0.6, "train.phases.2.epochs": 50,
        "train.phases.2.lr": 1e-5, "train.phases.2.start": "best",
        "train.phases.2.scheduler.cosine_restarts.period_epochs": 8,
        "train.phases.2.scheduler.cosine_restarts.min_lr": 1e-7,
        "train.phases.3.size_px": 1024, "train.phases.3.positive_share": 0.4, "train.phases.3.epochs": 50,
        "train.phases.3.lr": 1e-5, "train.phases.3.start": "best",
        "train.phases.3.scheduler.cosine_restarts.period_epochs": 8,
        "train.phases.3.scheduler.cosine_restarts.min_lr": 1e-7,
        "train.early_stopping.patience_epochs": 12, "train.checkpoints": 3, "predict.horizontal_flip": True,
        "tune.min_component_px_at_1024": 100, "tune.fill_holes": True, "augment.border": "reflect",
        "augment.transforms.contrast.limit": 0.2, "augment.transforms.brightness.limit": 0.2,
        "augment.transforms.gamma.min_percent": 80, "augment.transforms.gamma.max_percent": 120,
        "augment.transforms.elastic.alpha_px_at_1024": 120.0, "augment.transforms.elastic.sigma_px_at_1024": 6.0,
        "augment.transforms.grid_distortion.limit": 0.3, "augment.transforms.optical_distortion.limit": 2.0,
        "augment.transforms.shift_scale_rotate.shift": 0.0625, "augment.transforms.shift_scale_rotate.scale": 0.1,
        "augment.transforms.shift_scale_rotate.rotate_degrees": 45.0, "augment.online": "first_place",
        "augment.recipes.first_place": [
            {"transform": "horizontal_flip", "probability": 0.5},
            {"one_of": ["contrast", "gamma", "brightness"], "probability": 0.3},
            {"one_of": ["elastic", "grid_distortion", "optical_distortion"], "probability": 0.3},
            {"transform": "shift_scale_rotate", "probability": 0.5},
        ],
    },
    "second_place_classifier": SECOND
    | {
        "model.image_head.enabled": True, "model.image_head.pooling": "average", "train.batch_size": 8,
        "train.loss.image.bce": 1.0, "train.loss.image.focal": 1.0, "train.loss.image.gamma": 2.0,
        "train.loss.bce.weight": 1.0, "train.loss.dice.weight": 0.0, "train.loss.focal.weight": 0.0,
        # 24, 29, 30, 31, 32, 33 counted from 0
        "train.averaging.swa.epochs": [25, 30, 31, 32, 33, 34],
        "train.phases.0.epochs": 30, "train.phases.0.size_px": 768, "train.phases.0.positive_share": None,
        "train.phases.0.scheduler.cosine_restarts.min_lr": 1e-5, "split.positive_share": None,
    },
    "second_place_segmenter": SECOND
    | {
        "model.image_head.enabled": False, "train.batch_size": 4, "train.loss.dice.weight": 1.0,
        "train.loss.dice.squared": True, "train.loss.dice.smooth": 0.01, "train.loss.bce.weight": 0.0,
        # 34, 39, 43 counted from 0
        "train.averaging.swa.epochs": [35, 40, 44],
        "train.phases.0.epochs": 40, "train.phases.0.size_px": 1024, "train.phases.0.positive_share": 1.0,
        "train.phases.1.positive_share": 1.0, "train.phases.2.positive_share": 1.0,
        "train.phases.0.scheduler.cosine_restarts.min_lr": 1e-6,
    },
    "deng_mask_rcnn_r50": DENG | {"model.encoder": "resnet50", "model.weights": "coco"},
    "deng_mask_rcnn_r101": DENG | {"model.encoder": "resnet101", "model.weights": "imagenet"},
    "deng_mask_rcnn_x101": DENG | {"model.encoder": "resnext101_32x8d", "model.weights": "imagenet"},
    "third_place_known_parts": {
        "model.architecture": "unet", "model.encoder": "resnet34", "model.attention": "cbam",
    },
    "third_place": {
        "model.architecture": "unet", "model.encoder": "resnet34", "model.attention": "cbam",
        "model.lungs.source": "masks", "model.image_head.enabled": True,
    },
    "fourth_place": {
        "model.architecture": "unet", "model.encoder": "resnet34", "model.norm": "frozen_batch",
        "model.weights": "imagenet", "model.decoder_channels": [256, 256, 128, 64, 64],
        "model.image_head.enabled": True, "model.image_head.pooling": "average", "model.image_head.dropout": 0.0,
        "model.deep_supervision_levels": 0, "train.seed": 666, "train.batch_size": 8, "train.lr": 7.5e-5,
        "train.optimiser.name": "adam", "train.optimiser.weight_decay": 1e-5, "train.gradient_clip_norm": 0.5,
        "train.loss.bce.weight": 2.7, "train.loss.dice.weight": 0.9, "train.loss.image.bce": 0.1,
        "train.loss.dice.pooled": True, "train.loss.dice.smooth": 1e-5, "train.checkpoints": 4,
        "train.scheduler.name": "cosine_restarts", "train.scheduler.cosine_restarts.period_epochs": 8,
        "train.scheduler.cosine_restarts.min_lr": 1e-6,
        "train.phases.0.epochs": 60, "train.phases.0.size_px": 768, "train.phases.0.crop_px": 512,
        "train.phases.0.positive_share.start": 0.8, "train.phases.0.positive_share.end": 0.22,
        "split.folds": 8, "split.train_folds": [0, 1, 2, 3, 4, 5, 6, 7], "predict.horizontal_flip": True,
        "augment.border": "black", "augment.online": "fourth_place",
        "augment.transforms.brightness_contrast.brightness": 0.2,
        "augment.transforms.brightness_contrast.contrast": 0.2,
        "augment.transforms.shift_scale_rotate.shift": 0.2, "augment.transforms.shift_scale_rotate.scale": 0.2,
        "augment.transforms.shift_scale_rotate.rotate_degrees": 20.0,
        "augment.recipes.fourth_place": [
            {"transform": "horizontal_flip", "probability": 0.5},
            {"transform": "brightness_contrast", "probability": 0.3},
            {"one_of": ["elastic", "grid_distortion", "optical_distortion"], "probability": 0.3},
            {"transform": "shift_scale_rotate", "probability": 0.5},
        ],
    },
    "fifth_place": {
        "model.architecture": "unet", "model.encoder": "se_resnext50_32x4d", "model.in_channels": 1,
        "model.aspp.enabled": True, "model.aspp.rates": [6, 12, 18], "model.aspp.dropout": 0.5,
        "model.hypercolumn": True, "model.image_head.enabled": True,
        "train.loss.bce.weight": 1024.0, "train.loss.image.bce": 1.0, "train.loss.dice.weight": 0.0,
        "train.optimiser.name": "adam", "train.lr": 3e-4, "train.optimiser.weight_decay": 1e-4,
        "train.scheduler.name": "constant", "train.batch_size": 16, "train.gradient_clip_norm": 10.0,
        "train.phases.0.size_px": 1024, "train.phases.0.positive_share": 0.5, "split.folds": 5,
        "train.mean_teacher.images_per_step": 4, "train.mean_teacher.initial_weight": 0.001,
        "train.mean_teacher.weight": 2.0, "train.mean_teacher.ramp_up_epochs": 30,
        "train.mean_teacher.image_weight": 0.001,
        # before epoch 5 and after epochs 5, 10, 20, counted from 0
        "train.mean_teacher.start_epoch": 6,
        "train.mean_teacher.decay": [
            {"from_epoch": 1, "decay": 0.5}, {"from_epoch": 6, "decay": 0.9},
            {"from_epoch": 11, "decay": 0.99}, {"from_epoch": 21, "decay": 0.999},
        ],
        "augment.transforms.shift_scale_rotate.scale": 0.15,
        "augment.transforms.shift_scale_rotate.rotate_degrees": 25.0, "augment.transforms.contrast.limit": 0.05,
        "augment.transforms.brightness_contrast.contrast": 0.1, "predict.horizontal_flip": True,
    },
    "two_stage_unet": {
        "model.architecture": "unet", "model.encoder": "resnet34", "model.weights": "imagenet",
        "train.averaging.name": "swa", "train.keep": "averaged", "predict.horizontal_flip": True,
        "train.phases.1.start": "best",
    },
    "ens4b_unet": {
        "model.architecture": "unet", "model.weights": "imagenet", "train.averaging.name": "swa",
        "train.keep": "averaged", "predict.horizontal_flip": True,
    },
}  # fmt: skip

#: Figures as published, digit for digit.
SCORES = {
    "reference_efficientnet_b4": ["0.7600"], "reference_se_resnext101": ["0.756"],
    "reference_efficientnet_b4_restarts": [None], "first_place": ["0.8679", "0.8641"],
    "second_place_classifier": ["0.8665", "0.8883"], "second_place_segmenter": ["0.8665"],
    "third_place_known_parts": ["0.8651"], "third_place": ["0.8651"],
    "fourth_place": ["0.8644"], "fifth_place": ["0.8643"],
    "two_stage_unet": ["0.8356"], "ens4b_unet": ["0.8608"],
    "deng_mask_rcnn_r50": ["0.9429", "0.0133", "0.0438"], "deng_mask_rcnn_r101": ["0.9568", "0.0088", "0.0344"],
    "deng_mask_rcnn_x101": ["0.5157", "0.6140", "0.9389"],
}  # fmt: skip
#: What was never found may stand in no recipe as theirs.
NOT_FOUND = {
    **{
        f"deng_mask_rcnn_{one}": {"data", "steps", "input size", "augmentation", "findings", "choice of the model"}
        for one in ("r50", "r101", "x101")
    },
    "third_place_known_parts": {"training", "place of CBAM", "ensemble"},
    "third_place": {"training", "place of CBAM", "ensemble", "lung segmentation", "external data"},
    "two_stage_unet": {
        "resolutions", "loss, optimiser, rates, epochs, batch, folds", "positive share", "weight averaging",
        "augmentation at training and test time",
    },
    "ens4b_unet": {
        "the four encoders", "weights of the average", "size, loss, optimiser, rates, epochs, batch, folds",
        "positive share", "weight averaging", "augmentation at training and test time",
    },
}  # fmt: skip


#: Of every recipe.
STATED = {
    "split.folds", "split.train_folds", "split.positive_share", "augment.border", "augment.online",
    *(
        f"model.{key}"
        for key in ModelParams.model_fields
        if key not in ("aspp", "image_head", "detector", "lungs", "two_view")
    ),
    "model.aspp.enabled", "model.image_head.enabled", "train.seed", "train.batch_size", "train.accumulate_batches",
    "train.lr", "train.optimiser.name", "train.optimiser.weight_decay", "train.scheduler.name",
    *(f"train.loss.{term}.weight" for term in ("dice", "bce", "focal", "lovasz", "tversky")),
    "train.gradient_clip_norm", "train.selection_metric", "train.early_stopping.patience_epochs",
    "train.averaging.name", "train.keep", "train.checkpoints", "train.mean_teacher.images_per_step",
    "train.pseudo_labels.folder", "train.phases", "predict.horizontal_flip", "predict.scales", "predict.members",
    "predict.own_weight", "predict.combine", "tune.min_component_px_at_1024", "tune.fill_holes",
}  # fmt: skip


#: Ours: no one published them.
OURS = {"real_cpu", "real_gpu"}


def at(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content[int(part)] if isinstance(content, list) else content[part]
    return content


def without_unused_plateau(phase: dict[str, Any]) -> dict[str, Any]:
    """Its metric has another default now, which changes nothing where another schedule is used."""
    scheduler = phase["scheduler"]
    if scheduler is None or scheduler["name"] == "plateau":
        return phase
    return phase | {"scheduler": {key: value for key, value in scheduler.items() if key != "plateau"}}


#: Works of which the text alone is known: what it says, the published figures, and what must be told as not found.
PAPERS: dict[str, tuple[dict[str, Any], list[str | None], set[str]]] = {
    "thian_classifier": (
        {"model.architecture": "classifier", "model.encoder": "efficientnet-b3"},
        ["0.93", "0.91", "0.97", "0.91", "0.98", "0.97", "0.92", "0.88", "0.96", "0.95", "0.94"],
        {"input size", "optimiser, epochs, batch", "uncertain and blank labels", "threshold", "definition of small"},
    ),
    **{
        f"luo_two_view_{name}": (
            {"model.architecture": "two_view", "model.encoder": encoder, "train.loss.views.fused": 1.0},
            figures,
            {"input size", "split", "loss weights", "channel attention", "optimiser, epochs, batch"},
        )
        for name, encoder, figures in (
            ("resnet50", "resnet50", ["0.956", "0.950", "0.975"]),
            ("efficientnet_b4", "efficientnet-b4", ["0.952", "0.943", "0.961"]),
            ("densenet121", "densenet121", ["0.956", "0.948", "0.974"]),
        )
    },
    "chexpert_semi_supervised": (
        {"model.image_head.enabled": True, "train.loss.image.bce": 0.1}, [None], {"the whole configuration"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_what_a_paper_says_is_set_and_what_it_does_not_is_told(name: str):
    values, figures, unknown = PAPERS[name]
    params, header = parse_params(merge(CONTENT, RECIPES[name].params)).written(), RECIPES[name].header
    assert {key: at(params, key) for key in values} == values
    assert [figure.value for figure in header.published] == figures
    assert unknown <= {item.point for item in header.differs if "not found" in item.theirs}
    assert header.source.rank is None


def test_every_recipe_is_there():
    assert RECIPES.keys() - OURS - PAPERS.keys() == PUBLISHED.keys() == SCORES.keys()
    for name in OURS:
        assert {"what was run here"} <= {item.point for item in RECIPES[name].header.differs}
        assert [figure.value for figure in RECIPES[name].header.published] == [None]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_values_are_those_published(name: str):
    params = parse_params(merge(CONTENT, RECIPES[name].params)).written()
    for key, value in PUBLISHED[name].items():
        assert same(at(params, key), value), key


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_headers_say_what_is_ours(name: str):
    header = RECIPES[name].header
    assert [figure.value for figure in header.published] == SCORES[name]
    assert (header.source.rank or 9) <= 5 if "place" in name else header.source.rank in (None, 124)
    unknown = {item.point for item in header.differs if "not found" in item.theirs}
    assert NOT_FOUND.get(name, set()) <= unknown
    points = [item.point for item in header.differs]
    assert len(set(points)) == len(points)


@pytest.mark.parametrize("name", sorted(RESOLVED))
def test_parameters_are_those_of_450e244(name: str):
    """Every one, also what the recipe leaves to the defaults: a changed default must not change a recipe."""
    dice = {"train.loss.dice.pooled": True, "train.loss.dice.images": "all"}
    then = {"train.selection_metric": "dice_tuned", "train.scheduler.plateau.metric": "iou"} | dice
    wanted = dict(leaves(Params().model_dump(mode="json"))) | then | RESOLVED[name]
    found = dict(leaves(parse_params(merge(CONTENT, RECIPES[name].params)).model_dump(mode="json")))
    for values in (wanted, found):
        values["train.phases"] = [without_unused_plateau(phase) for phase in values["train.phases"]]
        if values["train.scheduler.name"] != "plateau":
            values.pop("train.scheduler.plateau.metric")
        for key in () if values["train.loss.dice.weight"] else dice:
            values.pop(key)
    assert found == wanted


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_the_work_relies_on_is_stated(name: str):
    """Not left to a default: the file says it, and every augmentation that it names."""
    own = read_yaml(FOLDER / f"{name}.yaml")["params"]
    stated = dict(leaves(own))
    assert stated.keys() >= STATED
    used = {own["augment"]["online"]} - {None}
    used |= set(stated["split.augmentations"]) if own["split"]["positive_share"] else set()
    recipes = own["augment"].get("recipes", {})
    assert used <= recipes.keys()
    steps = [step for recipe in used for step in recipes[recipe]]
    transforms = {one for step in steps for one in StepParams.model_validate(step).one_of} - set(WITHOUT_LIMITS)
    assert transforms <= own["augment"].get("transforms", {}).keys()


def test_recipes_do_not_mix():
    """One after the other gives the second; only the first one's named augmentations stay, unused."""
    for first, then in itertools.permutations(sorted(RECIPES), 2):
        once = merge(CONTENT, RECIPES[then].params)
        twice = merge(merge(CONTENT, RECIPES[first].params), RECIPES[then].params)
        twice["augment"]["recipes"] = once["augment"]["recipes"]
        assert same(twice, once), (first, then)
