"""What cannot be written is told with the file's name."""

from pathlib import Path

import numpy as np
import pytest

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_png, write_png


def test_a_png_comes_back(tmp_path: Path):
    for image in (np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000):
        write_png(tmp_path / "a.png", image)
        assert np.array_equal(read_png(tmp_path / "a.png"), image)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 3)), np.zeros((0, 3), np.uint8), np.zeros((2, 3, 2), np.uint8), np.zeros((2, 3), np.bool_)]
)
def test_what_is_no_image_is_told_with_its_path_and_leaves_no_file(image: np.ndarray, tmp_path: Path):
    with pytest.raises(DataError, match=r"some\.png: an image of shape \(.+\) and type \w+ cannot be written"):
        write_png(tmp_path / "some.png", image)
    assert list(tmp_path.iterdir()) == []
