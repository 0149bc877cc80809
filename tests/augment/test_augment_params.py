"""Section augment: its short forms, and what it refuses."""

import copy

import pytest
from pydantic import ValidationError

from pneumoseg.config.augment import StepParams
from tests.split.split_cases import CONTENT, augment_params, split_params

PURE = {
    "horizontal_flip",
    "brightness_contrast",
    "gamma",
    "clahe",
    "optical_distortion",
    "shift_scale_rotate",
    "gaussian_noise",
}
#: Steps of the reference project's mixed families (facts of the task: issue B).
MIXED = {
    "flip_brightness_one_of": [
        {"horizontal_flip"},
        {"brightness_contrast"},
        {"gamma", "clahe", "optical_distortion", "gaussian_noise"},
    ],
    "affine_noise": [{"shift_scale_rotate"}, {"gaussian_noise"}],
    "clahe_one_of": [{"clahe"}, {"gaussian_noise", "gamma", "optical_distortion"}],
    "gamma_optical": [{"gamma"}, {"optical_distortion"}],
    "brightness_noise": [{"brightness_contrast"}, {"gaussian_noise"}],
    "affine_one_of": [{"shift_scale_rotate"}, {"gamma", "horizontal_flip", "gaussian_noise", "optical_distortion"}],
}


def test_shipped_recipes_are_those_of_the_reference_project():
    params = augment_params()
    found = {name: [set(step.one_of) for step in steps] for name, steps in params.recipes.items()}
    assert {name: found[name] for name in PURE} == {name: [{name}] for name in PURE}
    assert {name: found[name] for name in MIXED} == MIXED
    assert all(step.probability == 1 for name in PURE | set(MIXED) for step in params.recipes[name])
    destructive = {"motion_blur", "elastic", "grid_distortion", "coarse_dropout"}
    assert set(found) - PURE - set(MIXED) == destructive | {"flip_affine_half"}
    assert params.transforms.shift_scale_rotate.rotate_degrees == 15
    assert set(split_params().augmentations) == PURE | set(MIXED)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("gamma", (("gamma",), 1.0)),
        ({"one_of": ["gamma", "clahe"]}, (("gamma", "clahe"), 1.0)),
        ({"transform": "clahe", "probability": 0.25}, (("clahe",), 0.25)),
        ({"one_of": ["blur", "transpose"], "probability": 0.5}, (("blur", "transpose"), 0.5)),
    ],
)
def test_forms_of_a_step(written, meant):
    (step,) = augment_params(recipes={"r": [written]}).recipes["r"]
    assert (step.one_of, step.probability) == meant
    assert StepParams.model_validate(step.model_dump()) == step


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": {"r": ["gama"]}}, "gama is not a transform; known: blur, brightness"),
        ({"recipes": {"r": []}}, "recipes.r has no step"),
        ({"recipes": {"r": [{"one_of": []}]}}, "at least 1 item"),
        ({"recipes": {"r": [{"transform": "gamma", "one_of": ["clahe"]}]}}, "not both"),
        ({"recipes": {"r": [{"transform": "gamma", "p": 0.5}]}}, "Extra inputs"),
        ({"recipes": {"r": [{"transform": "gamma", "probability": 0.0}]}}, "greater than 0"),
        ({"recipes": {"r": [{"transform": "gamma", "probability": 1.5}]}}, "less than or equal to 1"),
        ({"recipes": {"r": [3]}}, "a step is a transform, {one_of"),
        ({"recipes": {"none": ["gamma"]}}, "this name means no augmentation"),
        ({"recipes": {"Big Name": ["gamma"]}}, "pattern"),
        ({"online": "fancy"}, "online = fancy: not among recipes; null or one of horizontal_flip"),
        ({"border": "mirror"}, "'black' or 'reflect'"),
    ],
)
def test_impossible_values_are_refused(changes, message):
    with pytest.raises(ValidationError) as caught:
        augment_params(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("transform", "limits", "message"),
    [
        ("gamma", {"min_percent": 120, "max_percent": 80}, "min_percent = 120 is above max_percent = 80; swap them"),
        ("gaussian_noise", {"min_std_grey_levels": 9.0, "max_std_grey_levels": 1.0}, "swap them"),
        ("coarse_dropout", {"max_holes": 1, "min_side": 0.5, "max_side": 0.1}, "swap them"),
        ("motion_blur", {"max_kernel_px": 4}, "max_kernel_px = 4 is even; give an odd size"),
        ("shift_scale_rotate", {"shift": 0.1, "scale": 1.0, "rotate_degrees": 5.0}, "less than 1"),
        ("clahe", {"max_clip_limit": 0.5, "tiles": 8}, "greater than or equal to 1"),
        ("brightness", {"limit": 0.1, "bogus": 3}, "Extra inputs"),
    ],
)
def test_impossible_limits_are_refused(transform, limits, message):
    transforms = copy.deepcopy(CONTENT["augment"]["transforms"])
    transforms[transform] = limits
    with pytest.raises(ValidationError) as caught:
        augment_params(transforms=transforms)
    assert message in str(caught.value)
