"""Overlays: colours where truth and prediction agree or not, and masks that never vanish in small pictures."""

import numpy as np
import pytest

from pneumoseg.drawing.overlays import (
    COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    PREDICTION_COLOUR,
    TRUE_POSITIVE,
    TRUTH_COLOUR,
    agreement,
    agreement_layer,
    display_image,
    display_mask,
    display_size,
    outline_layer,
)
from pneumoseg.shared.errors import DataError


def test_agreement_by_hand():
    truth = np.array([[True, True, False, False]])
    predicted = np.array([[True, False, True, False]])
    assert agreement(truth, predicted).tolist() == [[TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE, 0]]


def test_agreement_refuses_masks_of_different_sizes():
    with pytest.raises(DataError, match=r"truth \(2, 2\) and prediction \(2, 3\) differ"):
        agreement(np.zeros((2, 2), bool), np.zeros((2, 3), bool))


@pytest.mark.parametrize(
    ("shape", "size_px", "expected"),
    [
        ((1024, 1024), 512, (512, 512)),
        ((2000, 1000), 500, (500, 250)),
        ((64, 48), 512, (64, 48)),
        ((4000, 3), 512, (512, 1)),
    ],
)
def test_display_size(shape, size_px, expected):
    assert display_size(shape, size_px) == expected


def test_sixteen_bits_are_shown_over_their_full_range():
    image = np.array([[0, 257 * 100, 65535]], np.uint16)
    assert display_image(image, (1, 3)).tolist() == [[0, 100, 255]]


def test_reducing_a_radiograph_takes_means():
    image = np.array([[0, 10, 200, 200], [20, 30, 200, 204]], np.uint8)
    assert display_image(image, (1, 2)).tolist() == [[15, 201]]


def test_a_colour_picture_is_no_radiograph():
    with pytest.raises(DataError, match="must be grey"):
        display_image(np.zeros((4, 4, 3), np.uint8), (4, 4))


def test_display_mask_takes_the_half_covered_pixels():
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True  # half of the first pixel of 2 x 2
    mask[0, 2] = True  # a quarter of the second
    assert display_mask(mask, (2, 2)).tolist() == [[True, False], [False, False]]


def test_the_smallest_mask_stays_visible():
    mask = np.zeros((1024, 1024), bool)
    mask[500, 700] = True
    shown = display_mask(mask, (128, 128))
    assert shown.sum() == 1
    assert shown[500 // 8, 700 // 8]
    assert not display_mask(np.zeros((64, 64), bool), (8, 8)).any()


def test_layers_have_the_colours_of_the_legend():
    classes = np.repeat(np.array([[0, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE]], np.uint8), 40, axis=1)
    classes = np.repeat(classes, 8, axis=0)
    layer = agreement_layer(classes)
    assert not layer[classes == 0].any()
    for value in (TRUE_POSITIVE, FALSE_POSITIVE):
        assert np.unique(layer[classes == value], axis=0).tolist() == [[*COLOURS[value], 255]]
    missed = np.unique(layer[classes == FALSE_NEGATIVE], axis=0)
    assert len(missed) == 2, "stripes: two opacities of one colour"
    assert {tuple(row[:3]) for row in missed.tolist()} == {COLOURS[FALSE_NEGATIVE]}


def test_the_colours_differ_for_a_reader_without_red_green_vision():
    # Deuteranopia, matrix of Machado, Oliveira and Fernandes 2009 (severity 1.0) on linear RGB.
    matrix = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )

    def seen(colour):
        linear = (np.array(colour) / 255) ** 2.2
        return np.clip(matrix @ linear, 0, 1) ** (1 / 2.2)

    colours = [seen(colour) for colour in COLOURS.values()]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 0.35


def test_an_outline_encloses_a_light_tint():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    layer = outline_layer(mask, PREDICTION_COLOUR)
    assert not layer[~mask].any()
    assert layer[5, 5:15, 3].tolist() == [255] * 10
    assert 0 < layer[10, 10, 3] < 128


def test_an_outline_follows_the_border_of_the_image():
    layer = outline_layer(np.ones((30, 30), bool), TRUTH_COLOUR)
    assert (layer[0, :, 3] == 255).all()
