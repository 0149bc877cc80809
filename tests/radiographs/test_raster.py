"""PNG and JPEG files: bits, channels, limits, damage, and what a source tells of them."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image

from pneumoseg.radiographs.identity import keyed_hash
from pneumoseg.radiographs.image_file import NOTHING, Known
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import Refusal
from tests.radiographs.dicom_files import dataset, extract_params, ramp, save

TOLD = Known(image_id="a.1", patient="P 1", study="S", sex="f", view="pa", age_years=31.5, spacing_mm=(0.2, 0.3))


def png(image, suffix=".png", *flags):
    return cv2.imencode(suffix, image, list(flags))[1].tobytes()


def pillow(image, tmp_path, **options):
    image.save(tmp_path / "a.png", **options)
    return (tmp_path / "a.png").read_bytes()


def read(content, told=TOLD, **changes):
    return read_radiograph(content, extract_params(**changes), b"key", told)


def refused(content, **changes):
    with pytest.raises(Refusal) as found:
        read(content, **changes)
    return found.value.kind


def test_eight_bits_come_out_as_they_are_with_what_the_source_tells():
    radiograph = read(png(ramp()))
    assert np.array_equal(radiograph.pixels, ramp())
    row = radiograph.row
    assert (row["image_id"], row["patient_id"], row["study_id"]) == (
        "a.1",
        keyed_hash("P 1", b"key"),
        keyed_hash("S", b"key"),
    )
    assert (row["sex"], row["view_position"], row["age_years"]) == ("F", "PA", 31.5)
    assert (row["pixel_spacing_row_mm"], row["pixel_spacing_column_mm"]) == (0.2, 0.3)
    assert (row["rows"], row["columns"], row["bits_stored"], row["transfer_syntax"]) == (48, 64, 8, "PNG")
    assert (row["modality"], row["phantom"]) == ("", 0)
    assert radiograph.flags == ()


def test_what_nobody_knows_is_empty_and_what_is_implausible_too():
    row = read(png(ramp()), Known(image_id="a")).row
    assert (row["patient_id"], row["study_id"], row["sex"], row["age_years"]) == ("", "", "", None)
    told = Known(image_id="a", patient="x", sex="DOE", age_years=math.nan, spacing_mm=(0.0, 1.0))
    radiograph = read(png(ramp()), told)
    assert radiograph.flags == ("age_unusable", "code_unusable", "spacing_unusable")
    assert (radiograph.row["sex"], radiograph.row["age_years"], radiograph.row["pixel_spacing_row_mm"]) == (
        "",
        None,
        None,
    )


def test_jpeg_is_known_by_its_content(tmp_path):
    content = png(ramp(), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
    (tmp_path / "a.png").write_bytes(content)
    radiograph = read(tmp_path / "a.png")
    assert radiograph.row["transfer_syntax"] == "JPEG"
    assert np.abs(radiograph.pixels.astype(int) - ramp()).max() <= 6


def test_sixteen_bits_are_stretched_as_those_of_dicom(tmp_path):
    values = np.linspace(100, 40000, 48 * 64).reshape(48, 64).astype(np.uint16)
    for image in (values, np.repeat(values[:, :, None], 3, axis=2)):
        radiograph = read(png(image))
        assert radiograph.row["bits_stored"] == 16
        assert np.abs(radiograph.pixels - (values.astype(float) - 100) / 39900 * 255).max() <= 0.51
    assert np.array_equal(read(png(values), window="full", bit_depth=16).pixels, values)
    made = read(save(tmp_path / "a.dcm", dataset(values, bits=16)), NOTHING)
    assert np.array_equal(made.pixels, read(png(values)).pixels)


def test_equal_channels_palettes_and_opaque_pixels_are_grey(tmp_path):
    grey = Image.fromarray(ramp())
    alpha = np.dstack([ramp(), np.full_like(ramp(), 255)])
    for image in (grey.convert("RGB"), grey.convert("RGBA"), grey.convert("P"), Image.fromarray(alpha)):
        assert np.array_equal(read(pillow(image, tmp_path)).pixels, ramp())


def test_refusals(tmp_path):
    colour = np.repeat(ramp()[:, :, None], 3, axis=2)
    colour[0, 0, 0] ^= 64
    assert refused(png(colour)) == "colour"
    clear = np.dstack([ramp(), np.full_like(ramp(), 254)])
    assert refused(pillow(Image.fromarray(clear), tmp_path)) == "colour"
    assert refused(pillow(Image.fromarray(ramp()), tmp_path, transparency=5)) == "colour"
    frames = [Image.fromarray(ramp(low=low)) for low in (1, 2)]
    assert refused(pillow(frames[0], tmp_path, save_all=True, append_images=frames[1:])) == "frames"
    assert refused(png(ramp()), max_pixels=3000) == "too_large"
    assert refused(png(ramp()), told=NOTHING) == "not_dicom"
    assert refused(png(ramp()), told=Known(image_id="../x")) == "image_id"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_file_cut_anywhere_is_refused(suffix):
    content = png(ramp(), suffix)
    for end in range(3, len(content) - 20, 97):  # the last bytes of a PNG say only that it ends
        assert refused(content[:end]) in ("pixel_data", "not_dicom")
