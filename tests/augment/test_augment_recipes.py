"""Augmentations: image and mask agree, limits hold, and a seed settles everything."""

import ast
import copy
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from scipy import ndimage

from pneumoseg.augment import Augmenter
from pneumoseg.config.augment import TRANSFORMS
from pneumoseg.shared.errors import DataError, ParameterError
from tests.split.split_cases import CONTENT, augment_params, blob

RECIPES = tuple(CONTENT["augment"]["recipes"])
GEOMETRIC = {"horizontal_flip", "rotate_90", "transpose", "optical_distortion", "shift_scale_rotate", "elastic"}
GEOMETRIC |= {"grid_distortion"}


def single(name: str, **limits) -> Augmenter:
    """An augmenter whose recipe ``r`` is one transform, with changed limits where given."""
    transforms = copy.deepcopy(CONTENT["augment"]["transforms"])
    if limits:
        transforms[name] = limits
    return Augmenter(augment_params(recipes={"r": [name]}, transforms=transforms))


def overlap(image: np.ndarray, mask: np.ndarray) -> float:
    """IoU of the mask and the bright part of the image, which Otsu's threshold finds after a median filter."""
    _, bright = cv2.threshold(cv2.medianBlur(image, 5), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    inside = mask > 127
    return float((bright.astype(bool) & inside).sum() / (bright.astype(bool) | inside).sum())


@pytest.mark.parametrize("border", ["black", "reflect"])
@pytest.mark.parametrize("recipe", ["none", *RECIPES])
def test_image_and_mask_agree(recipe, border):
    augmenter = Augmenter(augment_params(border=border))
    image, mask = blob(256, 256)
    image[image == 70] = 2  # as dark as the border, so that Otsu's threshold finds the ellipse only
    assert overlap(image, mask) > 0.98
    for seed in range(12):
        out, moved = augmenter(recipe, image, mask, seed)
        assert out.dtype == moved.dtype == np.uint8
        assert out.shape == moved.shape == image.shape
        assert out.flags.c_contiguous
        assert moved.flags.c_contiguous
        # Dropped rectangles are dark while the mask stays: up to 4 of 0.08² of the image, in an ellipse of 0.11.
        assert overlap(out, moved) > (0.7 if recipe == "coarse_dropout" else 0.95), (recipe, seed)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", [(64, 64), (97, 97)])
def test_each_transform_changes_images_and_only_geometric_ones_masks(name, shape):
    augmenter = single(name)
    image, mask = blob(*shape)
    image = np.clip(image + np.random.default_rng(0).normal(0, 12, shape), 0, 255).astype(np.uint8)
    before = image.copy(), mask.copy()
    results = [augmenter("r", image, mask, seed) for seed in range(8)]
    assert any((out != image).any() for out, _ in results)
    assert any((moved != mask).any() for _, moved in results) == (name in GEOMETRIC)
    assert (before[0] == image).all()
    assert (before[1] == mask).all()


def test_shapes_that_are_not_square():
    image, mask = blob(120, 90)
    augmenter = Augmenter(augment_params())
    for recipe in RECIPES:
        out, moved = augmenter(recipe, image, mask, 1)
        assert out.shape == moved.shape == (120, 90)
    with pytest.raises(DataError, match="rotate_90 needs square images, this one is 120 x 90"):
        single("rotate_90")("r", image, mask, 0)


def test_flip_against_numpy():
    image, mask = blob(40, 60)
    out, moved = Augmenter(augment_params())("horizontal_flip", image, mask, 9)
    np.testing.assert_array_equal(out, image[:, ::-1])
    np.testing.assert_array_equal(moved, mask[:, ::-1])


def test_shift_scale_rotate_is_a_similarity_within_its_limits():
    """Three dots tell shift, angle and both scales; the extremes of many draws come near the limits."""
    augmenter = single("shift_scale_rotate", shift=0.1, scale=0.2, rotate_degrees=15.0)
    side = 201
    points = np.array([[100, 100], [100, 140], [60, 100]])  # (row, column): the centre, right of it, above it
    found = []
    for seed in range(150):
        moved = []
        for row, column in points:
            dot = np.zeros((side, side), np.uint8)
            cv2.circle(dot, (int(column), int(row)), 6, 255, -1)
            moved.append(ndimage.center_of_mass(augmenter("r", dot, dot, seed)[1]))
        origin, right, up = np.array(moved)
        right, up = right - origin, up - origin
        found.append(
            (
                *(origin - 100) / side,
                np.hypot(*right) / 40,
                np.hypot(*up) / 40,
                np.degrees(np.arctan2(right[0], right[1])),
                right @ up / 1600,
            )
        )
    table = np.array(found)
    np.testing.assert_allclose(table[:, 2], table[:, 3], atol=0.02)  # one scale for both axes
    np.testing.assert_allclose(table[:, 5], 0, atol=0.02)  # no shear
    low, high = table.min(axis=0), table.max(axis=0)
    for column, limit, centre in ((0, 0.1, 0), (1, 0.1, 0), (2, 0.2, 1), (4, 15, 0)):
        assert -limit * 1.05 < low[column] - centre < -limit * 0.85
        assert limit * 0.85 < high[column] - centre < limit * 1.05


def test_grey_values_against_their_formulas():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    mask = np.zeros_like(ramp)
    grey = ramp[0].astype(float)
    added, factors, powers = [], [], []
    for seed in range(120):
        out = single_brightness("r", ramp, mask, seed)[0][0].astype(float)
        added.append(out[128] - 128)
        np.testing.assert_allclose(out, np.clip(grey + added[-1], 0, 255), atol=1)
        out = single_contrast("r", ramp, mask, seed)[0][0].astype(float)
        factors.append(out[200] / 200)
        np.testing.assert_allclose(out, np.clip(grey * factors[-1], 0, 255), atol=2)
        out = single_gamma("r", ramp, mask, seed)[0][0].astype(float)
        powers.append(np.log((out[100] + 0.5) / 255) / np.log(100 / 255))
        np.testing.assert_allclose(out, 255 * (grey / 255) ** powers[-1], atol=1.5)
    assert -26 <= min(added) < -22
    assert 22 < max(added) <= 26
    assert 0.89 < min(factors) < 0.92
    assert 1.08 < max(factors) < 1.11
    assert 0.78 < min(powers) < 0.84
    assert 1.16 < max(powers) < 1.22


single_brightness = single("brightness", limit=0.1)
single_contrast = single("contrast", limit=0.1)
single_gamma = single("gamma", min_percent=80, max_percent=120)


def test_noise_has_the_named_spread_and_no_bias():
    flat = np.full((128, 128), 128, np.uint8)
    noisy = single("gaussian_noise", min_std_grey_levels=4.0, max_std_grey_levels=8.0)
    changes = [noisy("r", flat, flat, seed)[0].astype(float) - 128 for seed in range(40)]
    spread = np.array([change.std() for change in changes])
    assert 3.7 < spread.min() < 4.6  # the noise is cut to whole levels, which narrows it by up to 0.3
    assert 7.2 < spread.max() < 8.1
    assert abs(np.mean([change.mean() for change in changes])) < 0.6


def test_motion_blur_moves_nothing():
    """An off-centre kernel would shift the radiograph against its mask."""
    blur = single("motion_blur", max_kernel_px=15)
    image, mask = blob(128, 128)
    image[image == 70] = 0
    home = np.array(ndimage.center_of_mass(image))
    moves = [np.array(ndimage.center_of_mass(blur("r", image, mask, seed)[0])) - home for seed in range(60)]
    assert np.abs(moves).max() < 0.3


def test_soft_masks_stay_soft():
    soft = np.full((80, 80), 100, np.uint8)
    image = blob(80, 80)[0]
    augmenter = Augmenter(augment_params())
    for recipe in RECIPES:
        for seed in range(3):
            _, moved = augmenter(recipe, image, soft, seed)
            assert np.median(moved) == 100
            assert moved.max() <= 100


def test_elastic_deforms_alike_at_every_size():
    """The same share of pixels changes side, measured on ellipses of 128, 256 and 512 pixels."""
    elastic = single("elastic", alpha_px_at_1024=600.0, sigma_px_at_1024=20.0)
    shares = []
    for side in (128, 256, 512):
        image, mask = blob(side, side)
        changed = [(elastic("r", image, mask, seed)[1] > 127) != (mask > 127) for seed in range(10)]
        shares.append(np.mean(changed))
    assert min(shares) > 0.5 * max(shares) > 0


def test_coarse_dropout_is_black_and_within_its_limits():
    white = np.full((100, 100), 255, np.uint8)
    drop = single("coarse_dropout", max_holes=3, min_side=0.05, max_side=0.1)
    for seed in range(30):
        out, mask = drop("r", white, white, seed)
        assert set(np.unique(out)) == {0, 255}
        assert 16 <= (out == 0).sum() <= 3 * 100
        assert (mask == 255).all()


@pytest.mark.parametrize(("border", "corner"), [("black", 0), ("reflect", 255)])
def test_border(border, corner):
    white = np.full((100, 100), 255, np.uint8)
    augmenter = Augmenter(augment_params(border=border, recipes={"r": ["shift_scale_rotate"]}))
    for array in augmenter("r", white, white, 3):
        assert array[[0, 0, -1, -1], [0, -1, 0, -1]].min() == corner


def test_steps_draw_independently():
    """albumentations' own Compose gives each step the same seed, so that two halves of the time coincide."""
    steps = [{"transform": "horizontal_flip", "probability": 0.5}, {"transform": "coarse_dropout", "probability": 0.5}]
    augmenter = Augmenter(augment_params(recipes={"r": steps}))
    image, mask = blob(64, 64)
    found = np.zeros((2, 2), int)
    for seed in range(400):
        out, moved = augmenter("r", image, mask, seed)
        found[int((moved != mask).any()), int((out == 0).any())] += 1
    assert found.min() > 70  # 100 expected, standard deviation 8.7


def test_one_of_and_probability_keep_their_shares():
    steps = [{"one_of": ["horizontal_flip", "transpose", "coarse_dropout"], "probability": 0.3}]
    augmenter = Augmenter(augment_params(recipes={"r": steps}))
    image, mask = blob(64, 64)
    counts = {"none": 0, "flip": 0, "transpose": 0, "drop": 0}
    for seed in range(900):
        out, moved = augmenter("r", image, mask, seed)
        if (out == image).all():
            counts["none"] += 1
        elif (moved == mask).all():
            counts["drop"] += 1
        else:
            counts["flip" if (moved == mask[:, ::-1]).all() else "transpose"] += 1
    assert abs(counts["none"] - 630) < 50
    assert all(abs(counts[name] - 90) < 35 for name in ("flip", "transpose", "drop"))


def test_online_recipe_follows_every_other():
    online = Augmenter(augment_params(online="horizontal_flip"))
    image, mask = blob(50, 50)
    np.testing.assert_array_equal(online("none", image, mask, 4)[0], image[:, ::-1])
    np.testing.assert_array_equal(online("horizontal_flip", image, mask, 4)[1], mask)
    offline = Augmenter(augment_params())
    np.testing.assert_array_equal(online("gamma", image, mask, 4)[0], offline("gamma", image, mask, 4)[0][:, ::-1])


def test_none_changes_nothing():
    image, mask = blob(30, 30)
    out, moved = Augmenter(augment_params())("none", image, mask, 0)
    assert out is image
    assert moved is mask


def test_a_seed_settles_the_result_whatever_came_before():
    image, mask = blob(64, 64)
    jobs = [(recipe, seed) for recipe in RECIPES for seed in (0, 1, 2**63)]
    first = Augmenter(augment_params())
    forward = {job: first(job[0], image, mask, job[1]) for job in jobs}
    copied = pickle.loads(pickle.dumps(first))  # noqa: S301
    backward = {job: copied(job[0], image, mask, job[1]) for job in reversed(jobs)}
    for job in jobs:
        for ours, theirs in zip(forward[job], backward[job], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    varied = ("gaussian_noise", "shift_scale_rotate", "coarse_dropout", "elastic", "motion_blur")
    assert all((forward[name, 0][0] != forward[name, 1][0]).any() for name in varied)
    assert len(pickle.dumps(first)) < 10_000


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same():
    image, mask = blob(64, 64)
    augmenter = Augmenter(augment_params(online="affine_one_of"))
    recipes = [recipe for recipe in RECIPES for _ in range(3)]
    seeds = list(range(len(recipes)))
    images, masks = [image] * len(recipes), [mask] * len(recipes)
    here = list(map(augmenter, recipes, images, masks, seeds))
    context = get_context("forkserver")
    context.set_forkserver_preload(["pneumoseg.augment.transforms"])  # loads albumentations once for all
    for workers in (1, 3):
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            there = list(pool.map(augmenter, recipes, images, masks, seeds))
        for ours, theirs in zip(here, there, strict=True):
            np.testing.assert_array_equal(ours, theirs)


#: Augmentation pipelines of the published solutions, each one recipe (with their limits in augment.transforms).
PUBLISHED = {
    "first": [
        {"transform": "horizontal_flip", "probability": 0.5},
        {"one_of": ["contrast", "gamma", "brightness"], "probability": 0.3},
        {"one_of": ["elastic", "grid_distortion", "optical_distortion"], "probability": 0.3},
        {"transform": "shift_scale_rotate", "probability": 0.5},
    ],
    "second": [
        {"one_of": ["gamma", "brightness_contrast", "clahe"], "probability": 0.5},
        {"one_of": ["blur", "motion_blur", "median_blur"], "probability": 0.5},
        {"transform": "horizontal_flip", "probability": 0.5},
        "shift_scale_rotate",
    ],
    "fourth": [
        {"transform": "horizontal_flip", "probability": 0.5},
        {"transform": "brightness_contrast", "probability": 0.15},
        {"one_of": ["elastic", "grid_distortion", "optical_distortion"], "probability": 0.3},
        {"transform": "shift_scale_rotate", "probability": 0.5},
    ],
    "fifth": [
        "shift_scale_rotate",
        {"transform": "horizontal_flip", "probability": 0.5},
        {"transform": "coarse_dropout", "probability": 0.5},
        "contrast",
    ],
    "dies_irae": [{"one_of": ["rotate_90", "transpose"], "probability": 0.4}],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_pipelines_are_one_recipe(name):
    augmenter = Augmenter(augment_params(recipes=PUBLISHED, online=name))
    image, mask = blob(96, 96)
    results = [augmenter("none", image, mask, seed)[0] for seed in range(20)]
    assert len({result.tobytes() for result in results}) > 3


@pytest.mark.parametrize("side", [16, 33, 1024])
def test_small_and_large_images(side):
    image, mask = blob(side, side)
    augmenter = Augmenter(augment_params(recipes={name: [name] for name in TRANSFORMS}))
    for name in TRANSFORMS:
        assert augmenter(name, image, mask, 2)[0].shape == (side, side)


def test_bad_arguments():
    augmenter = Augmenter(augment_params())
    image, mask = blob(32, 32)
    with pytest.raises(ParameterError, match=r"augment.recipes has no sharpen, known: none, horizontal_flip"):
        augmenter("sharpen", image, mask, 0)
    with pytest.raises(DataError, match=r"the image must be \(H, W\) uint8, this one is \(32, 32\) float64"):
        augmenter("gamma", image / 255, mask, 0)
    with pytest.raises(DataError, match=r"the mask must be \(H, W\) uint8"):
        augmenter("gamma", image, mask[..., None], 0)
    with pytest.raises(DataError, match="differ in shape"):
        augmenter("gamma", image, mask[1:], 0)


def test_arguments_that_albumentations_only_warns_of_are_errors(monkeypatch):
    from pneumoseg.augment import transforms

    monkeypatch.setitem(transforms._MAKERS, "gamma", lambda *_: transforms.A.RandomGamma(bogus=3))
    with pytest.raises(ParameterError, match=r"augment.transforms.gamma = .*refused by albumentations"):
        transforms.build_transform("gamma", augment_params(), 64)


def test_albumentations_stays_in_its_room_and_is_loaded_late(root):
    code = "import sys, pneumoseg.augment as a; sys.exit('albumentations' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(root / "src")})
    found = set()
    for path in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "albumentations" for name in names):
                found.add(path.relative_to(root / "src/pneumoseg").as_posix())
    assert found == {"augment/transforms.py"}
