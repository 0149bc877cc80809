"""What a phantom shows: dark air without markings where the mask says so, on a chest that is the patient's own."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pneumoseg.phantom import render_phantom
from pneumoseg.phantom.anatomy import LEFT, RIGHT, draw_chest, lung
from pneumoseg.phantom.canvas import SOLID, Canvas, band, smooth_curve
from pneumoseg.phantom.cohort import generator, plan_cohort
from pneumoseg.phantom.lesions import draw_pneumothorax
from pneumoseg.phantom.rendering import Film, render
from tests.phantom.test_cohort import make_params

SIZE = 512


@pytest.fixture(scope="module")
def params(root):
    return make_params(root, size_px=SIZE)


@pytest.fixture(scope="module")
def positives(params):
    cases = [case for case in plan_cohort(params) if case.scene.area > 0]
    return [render_phantom(params, case.index) for case in cases[:12]]


def lung_beside(phantom):
    """Pixels of the lung next to the pneumothorax: near it and about as dark, not behind heart or outside the chest."""
    mask = phantom.mask.astype(np.uint8)
    near = cv2.dilate(mask, np.ones((41, 41), np.uint8)) - cv2.dilate(mask, np.ones((7, 7), np.uint8))
    # The ring has lung on one side and chest wall on the other, which is brighter than any lung.
    level = np.percentile(phantom.image[near > 0], 50)
    return (near > 0) & (phantom.image <= level)


def test_shape_type_and_range(positives):
    for phantom in positives:
        assert phantom.image.shape == phantom.mask.shape == (SIZE, SIZE)
        assert phantom.image.dtype == np.uint8
        assert phantom.mask.dtype == np.bool_
        assert np.ptp(phantom.image) > 90


def test_the_mask_has_the_planned_area(positives):
    ratios = [phantom.mask.mean() / phantom.metadata.scene.area for phantom in positives]
    assert all(0.5 < ratio < 1.6 for ratio in ratios)
    assert 0.9 < np.median(ratios) < 1.2


def test_air_is_darker_than_the_lung_beside_it(positives):
    large = [phantom for phantom in positives if phantom.mask.sum() > 900]
    darker = [
        float(phantom.image[phantom.mask].mean()) < float(phantom.image[lung_beside(phantom)].mean())
        for phantom in large
    ]
    assert np.mean(darker) > 0.85


def fine_detail(image, inside):
    """What a band-pass for vessels (2 to 5 px wide at this size) leaves, against the contrast of the image."""
    image = image.astype(np.float32)
    detail = np.abs(cv2.GaussianBlur(image, (0, 0), 1) - cv2.GaussianBlur(image, (0, 0), 3))
    return float(detail[inside].mean() / image.std())


@pytest.mark.slow
def test_no_markings_beyond_the_pleural_line(params):
    ratios = []
    for case in plan_cohort(params)[: params.images]:
        if case.scene.area < 0.015 or len(ratios) == 10:
            continue
        ill = replace(case.scene, chest_tube=False, confounder=False)
        images = []
        for scene in (ill, replace(ill, area=0.0)):  # the same patient, placed the same way, with and without
            patient = generator(params, "patient", case.patient)
            images.append(render(scene, SIZE, patient, generator(params, "image", case.index))[:2])
        # The edges of the air are detail, too: look where the filter does not reach them.
        inside = cv2.erode(images[0][1].astype(np.uint8), np.ones((19, 19), np.uint8)) > 0
        if inside.sum() < 100:
            continue
        ratios.append(fine_detail(images[0][0], inside) / fine_detail(images[1][0], inside))
    assert len(ratios) >= 6
    # Bones before the air keep theirs, so that detail falls but does not vanish.
    assert np.median(ratios) < 0.7
    assert np.mean(np.array(ratios) < 1) > 0.8


def test_markings_stop_exactly_at_the_line():
    chest = draw_chest(np.random.default_rng(0), female=False, supine=False)
    canvas = Canvas(SIZE, 0.0, 1.0, (0.0, 0.0))
    lungs = {side: canvas.filled(lung(chest, side)) for side in (RIGHT, LEFT)}
    gap = lungs[LEFT] * canvas.filled(*draw_pneumothorax(np.random.default_rng(2), chest, LEFT, 0.03, 1, 1.0).regions)
    film = Film(chest, canvas, lungs, gap)
    film.markings(np.random.default_rng(3), np.random.default_rng(4))
    assert not film.attenuation[gap == 1].any()
    assert not film.attenuation[film.fields == 0].any()
    left = (lungs[LEFT] == 1) & (gap == 0)
    assert (film.attenuation[left] != 0).mean() > 0.99


def test_a_negative_has_no_mask(params):
    case = next(case for case in plan_cohort(params) if case.scene.area == 0)
    assert not render_phantom(params, case.index).mask.any()


def test_the_same_index_is_the_same_image(params, positives):
    again = render_phantom(params, positives[0].metadata.index)
    assert np.array_equal(again.image, positives[0].image)
    assert np.array_equal(again.mask, positives[0].mask)


def test_drawing_leaves_opencv_as_it_was(params):
    """What else a process resizes is as in one that never drew a phantom."""
    before = cv2.ipp.useIPP()
    render_phantom(params, 0)
    assert cv2.ipp.useIPP() == before


def test_every_image_says_phantom(params, positives):
    for phantom in positives:
        corner = phantom.image[-SIZE // 25 :, -SIZE // 5 :]
        # Seven letters with a dark rim: some dozen columns of the corner hold both, whatever lies behind.
        assert (np.ptp(corner.astype(int), axis=0) > 100).sum() > 20


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 100, 128])
def test_small_images_keep_every_lesion(root, size):
    params = make_params(root, size_px=size, images=24)
    for case in plan_cohort(params):
        if case.scene.area > 0:
            phantom = render_phantom(params, case.index)
            assert phantom.image.shape == (size, size)
            assert phantom.mask.any()


def test_area_and_sides_of_pneumothorax_outlines():
    chest = draw_chest(np.random.default_rng(0), female=False, supine=False)
    for side in (RIGHT, LEFT):
        for area in (0.0008, 0.008, 0.05):
            lesion = draw_pneumothorax(np.random.default_rng(3), chest, side, area, 1, 1.0)
            canvas = Canvas(1024, 0.0, 1.0, (0.0, 0.0))
            air = (canvas.filled(*lesion.regions) > SOLID) & (canvas.filled(lung(chest, side)) > SOLID)
            # Counted pixels against the integral over angles it was fitted by.
            assert air.mean() == pytest.approx(area, rel=0.12)
            columns = np.nonzero(air)[1]
            assert ((columns - 511.5) * side > 0).all()


def test_two_regions_are_two(root):
    chest = draw_chest(np.random.default_rng(1), female=True, supine=True)
    lesion = draw_pneumothorax(np.random.default_rng(5), chest, LEFT, 0.02, 2, 1.0)
    assert len(lesion.regions) == len(lesion.lines) == 2


def test_curves_pass_through_their_points_and_bands_have_their_width():
    knots = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, 4.0)]
    curve = smooth_curve(knots, steps=10)
    assert curve[::10] == pytest.approx(np.array(knots))
    straight = np.column_stack([np.linspace(0, 1, 5), np.zeros(5)])
    outline = band(straight, 0.2)
    assert np.ptp(outline[:, 1]) == pytest.approx(0.2)
    assert len(smooth_curve(knots, closed=True, steps=10)) == 40


def test_placement_turns_scales_and_shifts():
    canvas = Canvas(100, np.pi / 2, 2.0, (0.1, 0.0))
    # The middle of the chest (0, 0.5) goes to the shifted middle; a point to its right is turned clockwise, below it.
    placed = canvas.pixels(np.array([[0.0, 0.5], [0.1, 0.5]]))
    assert placed == pytest.approx(np.array([[59.5, 49.5], [59.5, 69.5]]))
