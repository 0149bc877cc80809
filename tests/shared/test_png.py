"""The PNG coder against OpenCV's: the same bytes, so that a file hangs neither on the coder nor on the processor."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from pneumoseg.shared import png

SETTINGS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
]


def smooth(shape: tuple[int, ...], dtype: type) -> NDArray[np.integer]:
    rng = np.random.default_rng(0)
    field = cv2.resize(rng.random((9, 7)), shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    field = field.reshape(*shape[:2], *[1] * (len(shape) - 2)) + rng.normal(0, 0.02, shape)
    return (field.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def disc(side: int) -> NDArray[np.uint8]:
    return cv2.circle(np.zeros((side, side), np.uint8), (side // 3, side // 2), side // 5, 255, -1)


@pytest.mark.parametrize(
    "image",
    [
        smooth((1024, 1000), np.uint8),
        smooth((500, 301), np.uint16),
        smooth((300, 400, 3), np.uint8),
        smooth((300, 400, 3), np.uint16),
        smooth((600, 500), np.uint8)[::2, 1::3],
        smooth((500, 600), np.uint16).T,
        np.random.default_rng(1).integers(0, 256, (512, 512)).astype(np.uint8),
        disc(1024),
        np.zeros((512, 512), np.uint8),
        np.full((512, 512), 65535, np.uint16),
    ],
    ids=lambda image: f"{image.shape}-{image.dtype}",
)
def test_the_bytes_of_opencv(image: NDArray[np.integer]) -> None:
    rows = image if image.ndim == 2 else image[:, :, ::-1]
    assert png.encode(image) == cv2.imencode(".png", np.ascontiguousarray(rows), SETTINGS)[1].tobytes()


@given(arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_any_image_comes_back_by_two_decoders(image: NDArray[np.integer]) -> None:
    content = png.encode(image)
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), image)
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()  # Pillow verifies the checks of all chunks
        assert np.array_equal(np.asarray(opened), image)
