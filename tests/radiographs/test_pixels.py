"""Stored values to grey, against hand-worked numbers and pydicom's own transforms."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

from pneumoseg.radiographs.pixels import GreyScale, LookupTable, Window, percentiles, shrink, to_grey
from tests.radiographs.dicom_files import dataset, extract_params, ramp


def grey(values, scale, **changes):
    return to_grey(np.asarray(values), scale, extract_params(**changes)).tolist()


EIGHT = GreyScale(bits_stored=8, signed=False, inverted=False)
TWELVE = GreyScale(bits_stored=12, signed=False, inverted=False)


def test_eight_bits_come_out_as_they_are():
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for window in ("dicom", "full"):
        assert np.array_equal(to_grey(every, EIGHT, extract_params(window=window)), every)


def test_linear_window_by_hand():
    # PS3.3 C.11.2.1.2.1 with c = 100, w = 50: 0 up to 75, 255 above 124, between ((x - 99.5) / 49 + 0.5) * 255.
    scale = GreyScale(bits_stored=8, signed=False, inverted=False, window=Window(100, 50, "LINEAR"))
    values = np.array([[0, 75, 76, 100, 124, 125, 255]], np.uint8)
    assert grey(values, scale) == [[0, 0, 5, 130, 255, 255, 255]]


def test_a_window_of_width_one_is_a_threshold():
    scale = GreyScale(bits_stored=8, signed=False, inverted=False, window=Window(100, 1, "LINEAR"))
    assert grey(np.array([[99, 100, 101]], np.uint8), scale) == [[0, 255, 255]]


def test_exact_and_sigmoid_windows_by_hand():
    exact = GreyScale(bits_stored=8, signed=False, inverted=False, window=Window(100, 50, "LINEAR_EXACT"))
    assert grey(np.array([[75, 100, 125, 126]], np.uint8), exact) == [[0, 128, 255, 255]]
    sigmoid = GreyScale(bits_stored=8, signed=False, inverted=False, window=Window(100, 50, "SIGMOID"))
    # 255 / (1 + exp(-4 (x - 100) / 50)): x = 50: 255 / (1 + e^4) = 4.59; x = 100: 127.5; x = 150: 250.41
    assert grey(np.array([[50, 100, 150]], np.uint8), sigmoid) == [[5, 128, 250]]


def test_monochrome1_is_inverted_after_the_window():
    scale = GreyScale(bits_stored=8, signed=False, inverted=True, window=Window(100, 50, "LINEAR"))
    values = np.array([[0, 75, 76, 100, 124, 125, 255]], np.uint8)
    assert grey(values, scale) == [[255, 255, 250, 125, 0, 0, 0]]


def test_above_eight_bits_without_a_window_the_values_present_are_stretched():
    values = np.array([[100, 200, 300]], np.uint16)
    assert grey(values, TWELVE) == [[0, 128, 255]]
    assert grey(values, TWELVE, window="full") == [[6, 12, 19]]  # of 4095: 6.2, 12.5 (to even), 18.7


def test_percentiles_ignore_outliers():
    values = np.full((100, 100), 1000, np.uint16)
    values[:50] = 2000
    values[0, 0], values[-1, -1] = 4095, 0
    table = to_grey(values, TWELVE, extract_params(window="percentile", window_percentiles=(1.0, 99.0)))
    assert (table[0, 0], table[0, 1], table[-1, 0], table[-1, -1]) == (255, 255, 0, 0)


def test_padding_is_black_and_counts_in_no_range():
    values = np.array([[4095, 100, 200, 4094]], np.uint16)
    for inverted, expected in ((False, [[0, 0, 255, 0]]), (True, [[0, 255, 0, 0]])):
        scale = GreyScale(bits_stored=12, signed=False, inverted=inverted, padding=(4094, 4095))
        assert grey(values, scale) == expected


def test_signed_values_and_rescale():
    scale = GreyScale(bits_stored=12, signed=True, inverted=False, slope=2.0, intercept=-10.0)
    # 12 signed bits: -2048 .. 2047, after the rescale -4106 .. 4084; 0 -> -10: 4096 / 8190 * 255 = 127.53
    assert grey(np.array([[-2048, 0, 2047]], np.int16), scale, window="full") == [[0, 128, 255]]


def test_a_negative_slope_turns_the_scale():
    scale = GreyScale(bits_stored=8, signed=False, inverted=False, slope=-1.0, intercept=255.0)
    assert grey(np.array([[0, 100, 255]], np.uint8), scale) == [[255, 155, 0]]


def test_sixteen_bits_out():
    assert grey(np.array([[0, 1, 255]], np.uint8), EIGHT, bit_depth=16) == [[0, 257, 65535]]
    full = GreyScale(bits_stored=16, signed=False, inverted=False)
    values = np.array([[0, 12345, 65535]], np.uint16)
    assert grey(values, full, bit_depth=16, window="full") == values.tolist()


def test_a_lookup_table_clips_at_both_ends():
    table = LookupTable(first=10, entries=np.array([5.0, 50.0, 250.0]), maximum=255)
    scale = GreyScale(bits_stored=8, signed=False, inverted=False, voi_lut=table)
    assert grey(np.array([[0, 10, 11, 12, 255]], np.uint8), scale) == [[5, 5, 50, 250, 250]]


def test_the_voi_lut_takes_precedence_over_the_window_and_window_full_over_both():
    table = LookupTable(first=0, entries=np.arange(255, -1, -1.0), maximum=255)
    scale = GreyScale(bits_stored=8, signed=False, inverted=False, voi_lut=table, window=Window(1, 1, "LINEAR"))
    values = np.array([[0, 100, 255]], np.uint8)
    assert grey(values, scale) == [[255, 155, 0]]
    assert grey(values, scale, window="full") == [[0, 100, 255]]


def test_one_value_everywhere_gives_one_grey():
    assert grey(np.full((2, 2), 700, np.uint16), TWELVE) == [[0, 0], [0, 0]]


def test_resize_keeps_proportions_and_never_enlarges():
    image = ramp(40, 80)
    assert shrink(image, None) is image
    assert shrink(image, 100) is image
    small = shrink(image, 20)
    assert small.shape == (10, 20)
    blocks = image.reshape(10, 4, 20, 4).astype(float).mean((1, 3))
    assert np.abs(small - blocks).max() <= 0.5
    assert shrink(np.zeros((4, 400), np.uint8), 32).shape == (1, 32)


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=200),
    st.floats(0, 50, allow_nan=False),
    st.floats(50, 100, allow_nan=False),
)
def test_percentiles_are_numpys(sample, low, high):
    values, counts = np.unique(sample, return_counts=True)
    shuffled = np.random.default_rng(0).permutation(len(values))
    found = percentiles(values[shuffled].astype(float), counts[shuffled], (low, high))
    assert found == pytest.approx(np.percentile(sample, [low, high]), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(2, 16),
    signed=st.booleans(),
    slope=st.sampled_from([1.0, 0.5, 3.0]),
    intercept=st.integers(-2000, 2000),
    center=st.integers(-3000, 70000),
    width=st.integers(2, 70000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    seed=st.integers(0, 9),
)
def test_rescale_and_window_agree_with_pydicom(bits, signed, slope, intercept, center, width, function, seed):
    low = -(2 ** (bits - 1)) if signed else 0
    values = (
        np.random.default_rng(seed).integers(low, low + 2**bits, (20, 20)).astype(np.int16 if signed else np.uint16)
    )
    made = dataset(
        values,
        bits=bits,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=center,
        WindowWidth=width,
        VOILUTFunction=function,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modality = apply_modality_lut(values, made)
        shown = apply_windowing(modality, made)
    ends = np.array([low, low + 2**bits - 1]) * slope + intercept
    expected = (shown - ends[0]) / (ends[1] - ends[0]) * 65535
    scale = GreyScale(
        bits, signed, inverted=False, slope=slope, intercept=intercept, window=Window(center, width, function)
    )
    found = to_grey(values, scale, extract_params(bit_depth=16)).astype(float)
    assert np.abs(found - expected).max() <= 0.5 + 1e-6


def test_voi_lut_agrees_with_pydicom():
    values = ramp(low=0, high=4095, dtype=np.uint16)
    entries = (np.sqrt(np.arange(3000) / 2999) * 1023).round()
    made = dataset(values, bits=12)
    item = type(made)()
    item.LUTDescriptor = [3000, 500, 10]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    made.VOILUTSequence = [item]
    made.set_original_encoding(False, True)
    expected = apply_voi_lut(values, made) / 1023 * 255
    scale = GreyScale(12, False, False, voi_lut=LookupTable(500, entries, 1023))
    assert np.abs(to_grey(values, scale, extract_params()) - expected).max() <= 0.5


def test_resize_is_by_area():
    image = ramp(30, 50)
    assert np.array_equal(shrink(image, 32), cv2.resize(image, (32, 19), interpolation=cv2.INTER_AREA))
