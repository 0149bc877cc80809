"""The run-length code against the competition's semantics, written here again as plain loops."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import RleError, decode, encode, merge_runs, read_runs

MASKS = st_np.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def official_decode(code, rows, columns):
    """rle2mask of the competition's mask_functions.py, pixel by pixel, then transposed as its users did."""
    flat = [0] * (rows * columns)
    numbers = [int(text) for text in code.split()]
    position = 0
    for offset, length in zip(numbers[0::2], numbers[1::2], strict=True):
        position += offset
        for pixel in range(position, position + length):
            flat[pixel] = 1
        position += length
    return np.array([[flat[column * rows + row] for column in range(columns)] for row in range(rows)], bool)


def official_encode(mask):
    """mask2rle of the competition, with the flush of the last run that it lacks."""
    rows, columns = mask.shape
    numbers, gap, run = [], 0, 0
    for column in range(columns):
        for row in range(rows):
            if mask[row, column]:
                run += 1
            elif run:
                numbers += [gap, run]
                gap, run = 1, 0
            else:
                gap += 1
    if run:
        numbers += [gap, run]
    return " ".join(map(str, numbers)) or "-1"


def test_golden_by_hand():
    # Flat pixels 1, 2 and 5, 6: (row 1, column 0), (2, 0), (2, 1), (0, 2).
    expected = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], bool)
    assert np.array_equal(decode("1 2 2 2", 3, 4), expected)
    assert encode(expected) == "1 2 2 2"


@pytest.mark.parametrize(
    ("code", "pixels"),
    [
        ("0 1", [(0, 0)]),
        ("11 1", [(2, 3)]),
        ("2 1", [(2, 0)]),
        ("9 1", [(0, 3)]),
        ("0 12", [(r, c) for r in range(3) for c in range(4)]),
        ("0 1 10 1", [(0, 0), (2, 3)]),
        ("2 2", [(2, 0), (0, 1)]),
        ("0 1 0 1", [(0, 0), (1, 0)]),
        ("-1", []),
        (" -1 ", []),
        ("  0   1 ", [(0, 0)]),
    ],
)
def test_corners_full_and_padded(code, pixels):
    mask = decode(code, 3, 4)
    assert mask.dtype == np.bool_
    assert mask.shape == (3, 4)
    assert [tuple(map(int, pixel)) for pixel in np.argwhere(mask)] == sorted(pixels)


def test_encode_keeps_a_run_to_the_last_pixel():
    assert encode(np.ones((3, 4), bool)) == "0 12"
    corner = np.zeros((1024, 1024), np.uint8)
    corner[-1, -1] = 255
    assert encode(corner) == f"{1024 * 1024 - 1} 1"
    assert encode(np.zeros((5, 2), bool)) == "-1"


@given(MASKS)
def test_encode_against_the_loop(mask):
    assert encode(mask) == official_encode(mask)
    assert np.array_equal(decode(encode(mask), *mask.shape), mask)


@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=8),
)
def test_decode_against_the_loop(rows, columns, pairs):
    code = " ".join(f"{offset} {length}" for offset, length in pairs)
    if sum(map(sum, pairs)) > rows * columns:
        with pytest.raises(RleError, match="past the image"):
            decode(code, rows, columns)
    else:
        assert np.array_equal(decode(code, rows, columns), official_decode(code, rows, columns))


@given(st.lists(st_np.arrays(np.bool_, (4, 5)), min_size=1, max_size=4))
def test_merged_runs_are_the_or_of_the_masks(masks):
    runs = merge_runs(np.concatenate([read_runs(encode(mask)) for mask in masks]))
    union = np.logical_or.reduce(masks)
    assert runs.tolist() == read_runs(encode(union)).tolist()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "no run-length code"),
        ("   ", "no run-length code"),
        ("3", "odd count of 1"),
        ("1 2 3", "odd count of 3"),
        ("1 x", "item 2 of 2 .* not a whole number"),
        ("1.0 2", "item 1 of 2 .* not a whole number"),
        ("1e1 2", "not a whole number"),
        ("+1 2", "not a whole number"),
        ("1_0 2", "not a whole number"),
        ("\u0661 2", "not a whole number"),
        ("nan", "not a whole number"),
        ("-3 2", "number 1 of 2 .* negative"),
        ("3 -2", "number 2 of 2 .* negative"),
        ("-1 -1", "negative"),
        ("1 2 -1", "negative"),
        ("1 0", "run 1 of 1 .* length 0"),
        ("1 1 1 0", "run 2 of 2 .* length 0"),
        ("0 13", "ends after pixel 13, past the image of 12 pixels"),
        ("12 1", "past the image"),
        ("99999999999999999999 1", "20 digits"),
        ("1 9223372036854775807", "19 digits"),
        ("999999999999 999999999999", "past the image"),
    ],
)
def test_codes_that_are_no_mask(code, message):
    with pytest.raises(RleError, match=message):
        decode(code, 3, 4)


def test_errors_never_quote_text_of_the_table():
    with pytest.raises(DataError) as caught:
        decode("Doe^John 3", 3, 4)
    assert "Doe" not in str(caught.value)


def test_encode_refuses_other_axes():
    with pytest.raises(RleError, match=r"\(2, 2, 3\)"):
        encode(np.zeros((2, 2, 3), bool))


@pytest.mark.real
@pytest.mark.slow
def test_real_rows_against_the_loop(real):
    with (real / "siim-tables" / "stage_2_train.csv").open() as file:
        codes = [code.strip() for _, code in list(csv.reader(file))[1:]]
    assert len(codes) == 12_954
    marked = [code for code in codes if code != "-1"]
    assert len(marked) == 3_576
    for code in marked:
        assert read_runs(code, 1024 * 1024)[:, 1].max() <= 1024 * 1024
    for code in marked[::36]:
        mask = decode(code, 1024, 1024)
        assert encode(mask) == " ".join(code.split())
    for code in marked[::600]:
        assert np.array_equal(decode(code, 1024, 1024), official_decode(code, 1024, 1024))
