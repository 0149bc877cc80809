"""Values beyond Bits Stored, by every codec: against the numbers that went in."""

import gdcm
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import dcmread

from pneumoseg.radiographs.decoding import decode
from pneumoseg.radiographs.header import read_header
from pneumoseg.radiographs.parsing import read_dataset
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.stored_bits import extend_sign, fit
from tests.radiographs.dicom_files import dataset, extract_params, ramp, save, save_compressed

UNSIGNED = ramp(high=4095, dtype=np.uint16)
SIGNED = ramp(low=-2048, high=2047, dtype=np.int16)
LOSSLESS = ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]


def stored(path):
    content = dcmread(path)
    assert content.BitsStored == 12
    made = read_dataset(path.read_bytes(), 2**24).dataset
    return decode(made, read_header(made))


def rewritten(path, **attributes):
    """The same code stream under another header."""
    made = dcmread(path)
    for name, value in attributes.items():
        setattr(made, name, value)
    made.save_as(path)
    return path


def sixteen_bit_stream(path, pattern, syntax, signed):
    """All 16 bits of a pattern in a code stream whose header says that 12 are stored."""
    save_compressed(path, dataset(pattern.view(np.uint16)), syntax)
    return rewritten(path, BitsStored=12, HighBit=11, PixelRepresentation=int(signed))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_garbage_above_unsigned_values(tmp_path, syntax):
    found = stored(sixteen_bit_stream(tmp_path / "a.dcm", UNSIGNED | 0xA000, syntax, signed=False))
    assert np.array_equal(found.values, UNSIGNED)
    assert (found.values.dtype, found.signed, found.corrected) == (np.uint16, False, True)


@pytest.mark.parametrize("above", [0, 0x5000])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_signed_values_without_their_sign_above(tmp_path, syntax, above):
    pattern = (SIGNED.view(np.uint16) & 0x0FFF) | above
    found = stored(sixteen_bit_stream(tmp_path / "a.dcm", pattern, syntax, signed=True))
    assert np.array_equal(found.values, SIGNED)
    assert (found.values.dtype, found.signed, found.corrected) == (np.int16, True, True)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_native_values(tmp_path, syntax):
    path = save(tmp_path / "a.dcm", dataset(UNSIGNED | 0xA000, bits=12), syntax)
    assert np.array_equal(stored(path).values, UNSIGNED)
    assert "bits_corrected" in read_radiograph(path, extract_params()).flags
    pattern = SIGNED & 0x0FFF
    assert np.array_equal(stored(save(tmp_path / "b.dcm", dataset(pattern, bits=12), syntax)).values, SIGNED)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("pixels", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_an_ordinary_file_is_not_flagged(tmp_path, syntax, pixels):
    path = save_compressed(tmp_path / "a.dcm", dataset(pixels, bits=12), syntax)
    found = stored(path)
    assert np.array_equal(found.values, pixels)
    assert not found.corrected
    assert read_radiograph(path, extract_params()).flags == ()


def signed_stream(path, values):
    """A JPEG 2000 stream that says that it is signed, under a header that says that it is not."""
    save_compressed(path, dataset(values, bits=12), "JPEG2000Lossless")
    frame = get_frame(dcmread(path).PixelData, 0, number_of_frames=1)
    assert frame[frame.index(b"\xff\x4f\xff\x51") + 42] & 0x80
    return rewritten(path, PixelRepresentation=0)


@pytest.mark.parametrize("low", [0, -700])
def test_a_signed_stream_under_an_unsigned_header(tmp_path, low):
    values = ramp(low=low, high=2047, dtype=np.int16)
    found = stored(signed_stream(tmp_path / "a.dcm", values))
    assert np.array_equal(found.values, values)
    assert (found.signed, found.corrected) == (low < 0, True)


def test_an_unsigned_stream_under_a_signed_header_holds_twos_complement(tmp_path):
    path = save_compressed(tmp_path / "a.dcm", dataset(SIGNED.view(np.uint16) & 0x0FFF, bits=12), "JPEG2000Lossless")
    found = stored(rewritten(path, PixelRepresentation=1))
    assert np.array_equal(found.values, SIGNED)
    assert (found.signed, found.corrected) == (True, True)


def test_the_overshoot_of_a_lossy_stream_stays_white():
    values = np.array([[0, 4095, 4100, 2000]], np.uint16)
    assert fit(values, 12, signed=False, lossy=True).values.tolist() == [[0, 4095, 4095, 2000]]
    assert fit(values | 0x8000, 12, signed=False, lossy=True).values.tolist() == [[0, 4095, 4, 2000]]
    assert fit(values, 12, signed=False).values.tolist() == [[0, 4095, 4, 2000]]


@pytest.mark.parametrize("bits", [1, 7, 8, 12, 16])
def test_every_value_against_shifts(bits):
    """Python's own integers, shifted as pydicom does it, are the oracle."""
    pattern = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    shift = 16 - bits
    signed = (pattern << shift).view(np.int16) >> shift
    assert np.array_equal(fit(pattern.view(np.int16), bits, signed=True).values, signed)
    assert np.array_equal(fit(pattern, bits, signed=False).values, (pattern << shift) >> shift)
    assert np.array_equal(extend_sign(pattern, bits), signed)


def test_twelve_bit_jpeg_needs_no_file_of_its_own(tmp_path, monkeypatch):
    """An overlay that GDCM's reader of files would abort on is never shown to it."""
    pixels = ramp(low=300, high=3800, dtype=np.uint16)
    path = save_compressed(tmp_path / "a.dcm", dataset(pixels, bits=12), "JPEGExtendedProcess2_4")
    made = dcmread(path)
    frame = get_frame(made.PixelData, 0, number_of_frames=1)
    for group, position in ((0x6000, 0), (0x6002, 12)):
        made.add_new((group, 0x0010), "US", pixels.shape[0])
        made.add_new((group, 0x0011), "US", pixels.shape[1])
        made.add_new((group, 0x0040), "CS", "G")
        made.add_new((group, 0x0050), "SS", [1, 1])
        made.add_new((group, 0x0100), "US", 16 if position else 1)
        made.add_new((group, 0x0102), "US", position)
    made.add_new((0x6000, 0x3000), "OW", b"\0" * (pixels.size // 8))
    made.PixelData = encapsulate([frame])
    made.save_as(path)
    monkeypatch.setattr(gdcm, "ImageReader", None)
    found = stored(path)
    assert np.abs(found.values.astype(int) - pixels).max() <= 1  # lossy
    assert not found.corrected
