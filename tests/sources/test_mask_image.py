"""Masks as pictures: what is cut, what is told, what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.rle import draw_runs
from pneumoseg.sources.mask_image import read_mask
from pneumoseg.sources.truth import Size
from tests.sources.sets import write_image

SIZE = Size(2, 3)


@pytest.mark.parametrize(
    ("values", "kind", "marked", "told"),
    [
        ([[0, 255, 0], [255, 0, 0]], np.uint8, [[0, 1, 0], [1, 0, 0]], False),
        ([[0, 0, 0], [0, 0, 0]], np.uint8, [[0, 0, 0], [0, 0, 0]], False),
        ([[255, 255, 255], [255, 255, 255]], np.uint8, [[1, 1, 1], [1, 1, 1]], False),
        ([[0, 1, 0], [1, 0, 0]], np.uint8, [[0, 1, 0], [1, 0, 0]], True),  # a label map
        ([[0, 127, 128], [255, 3, 252]], np.uint8, [[0, 0, 1], [1, 0, 1]], True),  # antialiased, or once a JPEG
        ([[0, 40000, 65535], [0, 0, 20000]], np.uint16, [[0, 1, 1], [0, 0, 0]], True),
    ],
)
def test_values_between_are_cut_at_half_and_told(
    tmp_path: Path, values: list[list[int]], kind: type, marked: list[list[int]], told: bool
) -> None:
    runs, grey = read_mask(write_image(tmp_path / "mask.png", np.array(values, kind)), SIZE)
    assert draw_runs(runs, *SIZE).astype(int).tolist() == marked
    assert grey is told


def test_equal_channels_are_one_mask_and_unequal_ones_are_none(tmp_path: Path) -> None:
    mask = np.array([[0, 255, 0], [255, 0, 0]], np.uint8)
    same = write_image(tmp_path / "same.png", cv2.merge([mask] * 3))
    assert draw_runs(read_mask(same, SIZE)[0], *SIZE).astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(DataError, match="the mask file cannot be used: channels differ"):
        read_mask(write_image(tmp_path / "red.png", cv2.merge([mask * 0, mask * 0, mask])), SIZE)


def test_a_mask_that_fits_no_image_is_refused_without_its_name(tmp_path: Path) -> None:
    file = write_image(tmp_path / "Jane Doe.png", np.zeros((3, 2), np.uint8))
    damaged = tmp_path / "Jane Doe 2.png"
    damaged.write_bytes(file.read_bytes()[:45])
    (tmp_path / "Jane Doe.txt").write_text("no picture")
    for path, told in (
        (file, "a mask of 3 x 2 pixels for an image of 2 x 3"),
        (damaged, "truncated or damaged"),
        (tmp_path / "Jane Doe.txt", "neither PNG nor JPEG"),
        (tmp_path / "none.png", "cannot be read"),
    ):
        with pytest.raises(DataError, match=told) as found:
            read_mask(path, SIZE)
        assert "Jane" not in str(found.value)
