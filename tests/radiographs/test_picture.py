"""The picture that leaves: what blots it out is left out, and what stays poor is flagged."""

import numpy as np
import pydicom
import pytest

from pneumoseg.radiographs.picture import make_picture
from pneumoseg.radiographs.pixels import GreyScale
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import DOUBTFUL, FLAGS
from tests.radiographs.dicom_files import dataset, extract_params, ramp, save

TWELVE = ramp(low=200, high=3800, dtype=np.uint16)
STORED_RANGE = np.rint((TWELVE - 200) / 3600 * 255)


def read(path, made, **changes):
    return read_radiograph(save(path / "a.dcm", made), extract_params(**changes))


def lut(descriptor, entries):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "OW", np.asarray(entries).astype("<u2").tobytes())
    return [item]


@pytest.mark.parametrize(("center", "width"), [(0, 1), (5000, 10), (-300, 20), (100000, 400)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_beside_the_values_gives_way_to_the_stored_range(tmp_path, center, width, photometric):
    attributes = {"WindowCenter": center, "WindowWidth": width, "PhotometricInterpretation": photometric}
    radiograph = read(tmp_path, dataset(TWELVE, bits=12, **attributes))
    assert radiograph.flags == ("blotted_out",)
    expected = STORED_RANGE if photometric == "MONOCHROME2" else 255 - STORED_RANGE
    assert np.abs(radiograph.pixels - expected).max() <= 1


def test_padding_over_everything_is_shown(tmp_path):
    made = dataset(TWELVE, bits=12, WindowCenter=2048, WindowWidth=4096)
    made.add_new("PixelPaddingValue", "US", 0)
    made.add_new("PixelPaddingRangeLimit", "US", 4095)
    for window in ("dicom", "full"):
        radiograph = read(tmp_path, made, window=window)
        assert radiograph.flags == ("blotted_out",)
        assert np.abs(radiograph.pixels - TWELVE / 4095 * 255).max() <= 1  # the window still counts
    made.WindowCenter = 9000
    assert np.abs(read(tmp_path, made).pixels - STORED_RANGE).max() <= 1


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lut_of_one_entry_gives_way(tmp_path, name):
    made = dataset(TWELVE, bits=12, **{name: lut([4096, 0, 12], np.full(4096, 4095))})
    radiograph = read(tmp_path, made)
    assert radiograph.flags == ("blotted_out",)
    assert np.abs(radiograph.pixels - STORED_RANGE).max() <= 1


def test_a_window_that_leaves_something_is_kept(tmp_path):
    radiograph = read(tmp_path, dataset(TWELVE, bits=12, WindowCenter=3600, WindowWidth=200))
    assert radiograph.flags == ()
    assert np.abs(radiograph.pixels - np.clip((TWELVE - 3599.5) / 199 + 0.5, 0, 1) * 255).max() <= 0.5


def test_a_picture_that_is_black_in_itself_keeps_its_window(tmp_path):
    pixels = np.zeros((100, 100), np.uint16)
    pixels[0, :50] = np.arange(50) * 80
    radiograph = read(tmp_path, dataset(pixels, bits=12, WindowCenter=2048, WindowWidth=4096))
    assert radiograph.flags == ("nearly_blank",)
    assert radiograph.pixels[0, 49] == round(49 * 80 / 4095 * 255)


def test_few_levels_of_many(tmp_path):
    made = dataset(TWELVE, bits=12, WindowCenter=2000, WindowWidth=10)
    assert read(tmp_path, made).flags == ()  # of 158 values
    large = ramp(600, 800, high=4095, dtype=np.uint16)
    assert read(tmp_path, dataset(large, bits=12, WindowCenter=2000, WindowWidth=10)).flags == ("few_levels",)


@pytest.mark.parametrize(
    ("bits", "largest", "maximum"),
    [(16, 4028, 4095), (16, 1023, 1023), (16, 1024, 2047), (12, 2047, 2047), (12, 2048, 4095), (16, 32768, 65535)],
)
def test_a_lut_is_scaled_by_the_bits_that_it_uses(tmp_path, bits, largest, maximum):
    entries = np.rint(np.arange(4096) / 4095 * largest)
    radiograph = read(tmp_path, dataset(TWELVE, bits=12, VOILUTSequence=lut([4096, 0, bits], entries)))
    assert radiograph.flags == (("lut_rescaled",) if maximum < 2**bits - 1 else ())
    assert np.abs(radiograph.pixels - entries[TWELVE] / maximum * 255).max() <= 0.5


def test_every_doubtful_flag_is_a_flag():
    assert set(DOUBTFUL) <= set(FLAGS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shown", [0, 3, 40, 400])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.0101, 0.02, 0.5])
@pytest.mark.parametrize("rows", [slice(0, None), slice(1, None, 8), slice(0, None, 8)])
def test_a_look_at_some_rows_changes_no_remark(dtype, shown, share, rows):
    rng = np.random.default_rng(0)
    pixels = np.zeros((200, 100), dtype)
    grey = np.zeros(pixels.shape, bool)
    grey[rows] = rng.random(grey[rows].shape) < share * grey.size / grey[rows].size
    pixels[grey] = 1 + rng.integers(0, shown + 1, int(grey.sum())) * (1 if dtype == np.uint8 else 100) % 250
    scale = GreyScale(8 * pixels.itemsize, False, False, 1.0, 0.0)
    picture, remarks = make_picture(pixels, scale, extract_params(window="full", bit_depth=8 * pixels.itemsize))
    assert np.array_equal(picture, pixels)
    ends = max(np.mean(pixels == end) for end in (0, np.iinfo(dtype).max))
    wanted = "uniform" if len(np.unique(pixels)) == 1 else "nearly_blank" if ends > 0.99 else ""
    assert remarks == ({wanted} if wanted else set())
