"""Maps at the size of their radiographs: against bilinear interpolation by hand, and the same on every device."""

import numpy as np
import pytest
import torch

from pneumoseg.rule import map_counts
from pneumoseg.rule.level_counts import histogram
from pneumoseg.rule.map_counts import count_here, count_maps, count_there
from pneumoseg.rule.maps import enlarge_map, grey_levels, restore_map

#: (h, w) of the network and (rows, columns) of the radiograph: larger, odd factors, smaller, one axis each way, equal.
SIZES = [
    ((32, 32), (256, 256)), ((32, 32), (97, 131)), ((48, 32), (33, 200)), ((64, 64), (40, 50)), ((32, 32), (32, 32)),
    ((96, 96), (257, 255)), ((1, 2), (3, 5)), ((33, 47), (1, 1)), ((224, 224), (1, 999)),
]  # fmt: skip


def bilinear(small: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """In float64, pixel centres at index + 0.5."""
    whole = small.astype(np.float64)
    for axis, size in enumerate((rows, columns)):
        place = np.clip((np.arange(size) + 0.5) * small.shape[axis] / size - 0.5, 0, small.shape[axis] - 1)
        first = np.floor(place).astype(int)
        share = np.expand_dims(place - first, 1 - axis)
        second = np.minimum(first + 1, small.shape[axis] - 1)
        whole = whole.take(first, axis) * (1 - share) + whole.take(second, axis) * share
    return whole


@pytest.mark.parametrize(("small", "whole"), SIZES)
def test_a_map_is_enlarged_bilinearly(small: tuple[int, int], whole: tuple[int, int]):
    probability = np.random.default_rng(1).random(small, dtype=np.float32)
    assert restore_map(probability, *whole) == pytest.approx(bilinear(probability, *whole), abs=2 / 65535)


def test_levels_at_the_size_of_the_network_are_rounded_once():
    """Every 255th, and every place between two of them where rounding turns."""
    turns = (np.arange(255) + 0.5) / 255
    places = [np.arange(256) / 255, np.nextafter(turns, 0) - 1e-7, turns + 1e-7]
    probability = np.concatenate(places).astype(np.float32)[None]
    levels = grey_levels(enlarge_map(probability, *probability.shape))
    assert np.array_equal(levels, grey_levels(restore_map(probability, *probability.shape)))
    assert np.array_equal(levels[0], np.rint(255.0 * probability[0].astype(np.float64)).astype(np.uint8))


@pytest.mark.parametrize(("small", "whole"), SIZES)
def test_a_gpu_would_count_the_same(small: tuple[int, int], whole: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(map_counts, "_PIXELS", 2 * whole[0] * whole[1])  # so that five maps come in three parts
    chooser = np.random.default_rng(2)
    maps = torch.from_numpy(chooser.random((7, *small), dtype=np.float32) ** 4)
    maps[1:3] = torch.tensor([0.0, 1.0])[:, None, None]
    shapes = [whole] * 5 + [(19, 23), small]
    truths = [np.packbits(chooser.random(shape) > 0.6) if index % 2 else None for index, shape in enumerate(shapes)]
    here, there = count_here(maps, shapes, truths), count_there(maps, shapes, truths)
    for ours, theirs in zip(here, there, strict=True):
        assert np.array_equal(ours, theirs)


def test_counts_are_those_of_the_map_that_is_written():
    chooser = np.random.default_rng(3)
    maps = torch.from_numpy(chooser.random((2, 32, 32), dtype=np.float32))
    shapes = [(50, 70), (64, 64)]
    mask = chooser.random((64, 64)) > 0.7
    counts = count_maps(maps, shapes, [None, np.packbits(mask)])
    for index, shape in enumerate(shapes):
        levels = np.rint(restore_map(maps[index].numpy(), *shape).astype(np.float64) * 255)
        for level in (0, 63, 127, 254, 255):
            assert counts.above[index, level] == (levels > level).sum()
            assert counts.inside[index, level] == (((levels > level) & mask).sum() if index else 0)
        assert counts.highest[index] == restore_map(maps[index].numpy(), *shape).max()


def test_an_image_of_more_pixels_than_a_float_can_count():
    values = np.ones((4099, 4099), np.uint8)
    assert histogram(values)[1] == histogram(values, np.ones(values.shape, bool))[1] == 4099**2 > 2**24
