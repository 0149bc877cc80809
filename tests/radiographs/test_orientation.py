"""Symmetry against correlations taken one by one, and images that were turned."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pneumoseg.radiographs.orientation import _symmetry, lies_on_side


def chest(side: int) -> NDArray[np.uint8]:
    """Two dark lungs, from shoulders to an abdomen that is ever brighter."""
    image = np.repeat(np.linspace(30, 250, side)[:, None], side, axis=1).astype(np.uint8)
    for middle in (0.3, 0.68):
        centre, axes = (round(middle * side), round(0.4 * side)), (round(0.13 * side), round(0.3 * side))
        cv2.ellipse(image, centre, axes, 0, 0, 360, 20, -1)
    return image


@pytest.mark.parametrize("side", [64, 512])
def test_a_turned_chest_lies_on_its_side(side: int) -> None:
    upright = chest(side)
    assert not lies_on_side(upright)
    assert not lies_on_side(np.rot90(upright, 2).copy())
    assert lies_on_side(np.rot90(upright).copy())
    assert lies_on_side(np.rot90(upright, 3).copy())


def test_nothing_to_see_lies_no_way() -> None:
    for image in (np.zeros((30, 50), np.uint8), np.full((50, 30), 65535, np.uint16)):
        assert not lies_on_side(image)


@pytest.mark.parametrize("seed", range(3))
def test_symmetry_is_the_best_correlation_over_shifts(seed: int) -> None:
    image = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(64, 64)), (0, 0), 3)
    image += 2 * image[:, ::-1] if seed else 0
    image = np.roll(image, 6, axis=1)
    parts = [part for shift in range(0, 21, 2) for part in (image[:, shift:], image[:, : 64 - shift])]
    wanted = max(float(np.corrcoef(part.ravel(), part[:, ::-1].ravel())[0, 1]) for part in parts)
    assert _symmetry(image - image.mean()) == pytest.approx(max(wanted, 0.0), abs=1e-9)
