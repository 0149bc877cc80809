"""Resizing, soft targets, normalisation and the way back, against hand-worked arrays."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumoseg.networks.preparation import normalise, resize_image, resize_mask
from pneumoseg.rule.maps import restore_map


@dataclass
class Stats:
    mean: tuple[float, ...]
    std: tuple[float, ...]


def block_means(image, factor):
    rows, columns = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor).mean((1, 3))


def test_an_image_shrinks_by_area_means():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    small = resize_image(image, 16)
    assert small.dtype == np.uint8
    assert np.abs(small - block_means(image.astype(float), 4)).max() <= 0.5 + 1e-6


def test_sixteen_bits_become_eight():
    image = np.array([[0, 257], [65535, 32896]], dtype=np.uint16)
    assert resize_image(image, 2).tolist() == [[0, 1], [255, 128]]
    assert resize_image(image, 2).dtype == np.uint8


def test_a_soft_target_is_the_share_of_lesion():
    mask = np.zeros((8, 8), np.uint8)
    mask[:2, :3] = 255  # of the first 4 x 4 block 6 of 16 pixels
    assert resize_mask(mask, 2).tolist() == [[round(255 * 6 / 16), 0], [0, 0]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([16, 32, 64]))
def test_the_area_of_a_mask_is_kept(seed, size):
    mask = np.where(np.random.default_rng(seed).random((128, 128)) > 0.8, 255, 0).astype(np.uint8)
    assert resize_mask(mask, size).mean() == pytest.approx(mask.mean(), abs=0.5)


def test_a_rectangle_is_squashed_to_a_square_axis_by_axis():
    image = np.repeat(np.array([[10, 20, 30, 40]], np.uint8), 2, axis=0)  # 2 x 4
    # Columns shrink 4 -> 2 by means; rows stay.
    assert resize_image(image, 2).tolist() == [[15, 35], [15, 35]]
    # 3 x 1: the 3 rows stay, the column grows.
    assert resize_image(np.array([[10], [20], [30]], np.uint8), 3).tolist() == [[10] * 3, [20] * 3, [30] * 3]


def test_one_axis_shrinks_while_the_other_grows():
    image = np.tile(np.array([[0], [100], [50], [150]], np.uint8), (1, 2))  # 4 x 2 -> 3 x 3
    # Area means of 4 rows on 3: (0 + 100 / 3) / (4 / 3) = 25, (100 · 2/3 + 50 · 2/3) / (4 / 3) = 75, 125
    assert resize_image(image, 3).tolist() == [[25] * 3, [75] * 3, [125] * 3]


def test_the_caller_keeps_its_array():
    image = np.zeros((4, 4), np.uint8)
    resize_image(image, 4)[:] = 9
    assert not image.any()


def test_normalise_three_channels_by_hand():
    batch = torch.tensor([[[0, 255], [51, 102]]], dtype=torch.uint8)
    out = normalise(batch, Stats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert out.shape == (1, 3, 2, 2)
    assert out.dtype == torch.float32
    assert out[0, 0, 0, 1].item() == pytest.approx((1 - 0.485) / 0.229, abs=1e-5)
    assert out[0, 1, 1, 0].item() == pytest.approx((0.2 - 0.456) / 0.224, abs=1e-5)
    assert out[0, 2, 1, 1].item() == pytest.approx((0.4 - 0.406) / 0.225, abs=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_normalise_one_channel():
    out = normalise(torch.full((2, 3, 5), 255, dtype=torch.uint8), Stats((0.5,), (0.25,)))
    assert out.shape == (2, 1, 3, 5)
    assert torch.equal(out, torch.full((2, 1, 3, 5), 2.0))


def test_a_map_comes_back_to_rows_and_columns():
    small = np.array([[0.0, 1.0]], np.float32)
    # Four columns of centres .5, 1.5, 2.5, 3.5 lie at -.25, .25, .75, 1.25 of the small one.
    assert restore_map(small, 2, 4) == pytest.approx(np.tile([0, 0.25, 0.75, 1], (2, 1)), abs=1e-5)
    assert restore_map(small, 3, 7).shape == (3, 7)
    assert restore_map(small, 3, 7).dtype == np.float32


def test_there_and_back_shifts_nothing():
    mask = np.zeros((96, 160), np.uint8)
    mask[24:72, 40:120] = 255
    back = restore_map(resize_mask(mask, 32).astype(np.float32) / 255, 96, 160) > 0.5
    # Away from the corners, which bilinear interpolation rounds, every edge is where it was.
    assert np.array_equal(back[48], mask[48] > 0)
    assert np.array_equal(back[:, 80], mask[:, 80] > 0)
    assert np.array_equal(back, back[::-1])
    assert np.array_equal(back, back[:, ::-1])


@pytest.mark.real
def test_real_masks_survive_512_px_as_measured(real):
    """facts: soft area targets, bilinear back, cut at .5 keep 0.997 of Dice at 512² on real positives."""
    table = pd.read_csv(real / "siim-tables" / "stage_2_train.csv")
    table.columns = [column.strip() for column in table.columns]
    rows = table[~table["EncodedPixels"].str.strip().eq("-1")]["EncodedPixels"].iloc[:12]
    scores = []
    for code in rows:
        flat = np.zeros(1024 * 1024, np.uint8)
        place = 0
        for offset, length in np.array(code.split(), int).reshape(-1, 2):
            place += offset
            flat[place : place + length] = 255
            place += length
        mask = flat.reshape(1024, 1024).T
        back = restore_map(resize_mask(mask, 512).astype(np.float32) / 255, 1024, 1024) > 0.5
        scores.append(2 * (back & (mask > 0)).sum() / (back.sum() + (mask > 0).sum()))
    assert np.mean(scores) > 0.99
