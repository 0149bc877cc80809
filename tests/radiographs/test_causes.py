"""The reason told is the cause, and what is no fault of the picture does not cost it."""

import io
import struct
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame

from pneumoseg.radiographs.fragments import join_fragments, trim
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import Refusal
from tests.radiographs.dicom_files import dataset, extract_params, ramp, save, save_compressed, save_jpeg

TWELVE = ramp(high=4095, dtype=np.uint16)
SYNTAXES = ["JPEGBaselineProcess1", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]


def read(path):
    return read_radiograph(path, extract_params())


def refusal(path):
    with pytest.raises(Refusal) as caught:
        read(path)
    return caught.value


def item(content):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def encapsulated(path, syntax, offsets=b"", pieces=1, after=b""):
    """A file whose one frame lies in so many fragments, and its pixels as they were before."""
    save_compressed(path, dataset(ramp()), syntax)
    before = read(path).pixels
    made = pydicom.dcmread(path)
    frame = get_frame(made.PixelData, 0, number_of_frames=1)
    size = len(frame) // pieces // 2 * 2
    parts = [frame[n * size : (n + 1) * size if n < pieces - 1 else None] for n in range(pieces)]
    made.PixelData = item(offsets) + b"".join(item(part + after * (part is parts[-1])) for part in parts)
    made.save_as(path)
    return before


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "offsets", [struct.pack("<3I", 0, 200, 400), struct.pack("<I", 37779), struct.pack("<2I", 0xFFFFFFFF, 7)], ids=str
)
def test_the_offset_table_of_a_single_frame_is_not_trusted(tmp_path, syntax, offsets):
    before = encapsulated(tmp_path / "a.dcm", syntax, offsets, pieces=3)
    assert np.array_equal(read(tmp_path / "a.dcm").pixels, before)


@pytest.mark.parametrize("syntax", SYNTAXES[:-1])
@pytest.mark.parametrize("zeros", [2, 4096, 100_000])
def test_zeros_after_the_end_marker_are_accepted(tmp_path, syntax, zeros):
    before = encapsulated(tmp_path / "a.dcm", syntax, after=b"\0" * zeros)
    assert np.array_equal(read(tmp_path / "a.dcm").pixels, before)


def test_a_jpeg_2000_tile_without_a_length_and_a_pad_byte(tmp_path):
    save_compressed(tmp_path / "a.dcm", dataset(TWELVE, bits=12), "JPEG2000Lossless")
    before = read(tmp_path / "a.dcm").pixels
    made = pydicom.dcmread(tmp_path / "a.dcm")
    frame = bytearray(get_frame(made.PixelData, 0, number_of_frames=1))
    start = frame.index(b"\xff\x90")  # SOT: marker, length, tile, Psot (ISO 15444-1 A.4.2)
    frame[start + 6 : start + 10] = bytes(4)
    made.PixelData = item(b"") + item(bytes(frame).rstrip(b"\0") + b"\0\0")
    made.save_as(tmp_path / "a.dcm")
    assert np.array_equal(read(tmp_path / "a.dcm").pixels, before)


@pytest.mark.parametrize("damage", ["none", "missing", "wrong"])
def test_a_deflated_file_whatever_its_group_length(tmp_path, damage):
    path = save(tmp_path / "a.dcm", dataset(TWELVE, bits=12), uid.DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, struct.unpack("<I", content[140:144])[0])
    assert content[132:144] == length
    content = {
        "none": content,
        "missing": content[:132] + content[144:],
        "wrong": content[:140] + b"\x07\1\0\0" + content[144:],
    }[damage]
    path.write_bytes(content)
    radiograph = read(path)
    assert np.array_equal(radiograph.pixels, np.rint(TWELVE / 4095 * 255))
    assert radiograph.row["transfer_syntax"] == uid.DeflatedExplicitVRLittleEndian


def test_a_deflated_bomb_without_group_length_is_not_inflated(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(ramp()), uid.DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = squeeze.compress(zlib.decompress(content[start:], -zlib.MAX_WBITS) + b"\0" * 2**26) + squeeze.flush()
    path.write_bytes(content[:132] + content[144:start] + bomb)
    with pytest.raises(Refusal) as caught:
        read_radiograph(path, extract_params(max_pixels=4000))
    assert caught.value.kind == "too_large"


def test_an_ordinary_file_that_names_the_deflated_syntax_is_not_deflated(tmp_path):
    made = dataset(ramp(), StudyInstanceUID=uid.DeflatedExplicitVRLittleEndian)
    assert np.array_equal(read(save(tmp_path / "a.dcm", made)).pixels, ramp())


def test_a_damaged_and_a_cut_deflated_file(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(TWELVE, bits=12), uid.DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    found = refusal(path)
    assert (found.kind, found.reason, found.image_id) == (
        "pixel_data",
        "the file is cut off within the deflated data set",
        "1.2.3",
    )
    start = 144 + struct.unpack("<I", content[140:144])[0]
    path.write_bytes(content[:start] + b"\x07" + content[start + 1 :])
    assert "deflated data set that is damaged" in refusal(path).reason


@pytest.mark.parametrize("syntax", ["native", "implicit", *SYNTAXES])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_told_as_such_with_its_id(tmp_path, syntax, part):
    path = tmp_path / "a.dcm"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    if syntax in ("native", "implicit"):
        save(path, dataset(pixels), uid.ImplicitVRLittleEndian if syntax == "implicit" else uid.ExplicitVRLittleEndian)
    else:
        save_compressed(path, dataset(pixels), syntax)
    content = path.read_bytes()
    header = content.index(b"\xe0\x7f\x10\0")
    path.write_bytes(content[: header + 12 + int(part * (len(content) - header - 12))])
    found = refusal(path)
    assert (found.kind, found.reason) == ("pixel_data", "the file is cut off within the pixel data")
    assert found.image_id == "1.2.3"


def test_a_file_cut_within_its_header(tmp_path):
    made = dataset(ramp(), PatientID="x" * 60)
    path = save(tmp_path / "a.dcm", made)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"x" * 60) + 30])
    found = refusal(path)
    assert (found.kind, found.reason, found.image_id) == (
        "pixel_data",
        "the file is cut off within the header",
        "1.2.3",
    )
    for end in (content.index(b"1.2.3\0"), content.rindex(b"1.2.3\0")):  # in the file meta information, in the data
        path.write_bytes(content[: end + 2])
        assert refusal(path).reason.startswith("the file is cut off within the header")


def test_a_file_cut_within_a_sequence_of_undefined_length(tmp_path):
    made = dataset(ramp())
    entry = pydicom.Dataset()
    entry.add_new("LUTDescriptor", "US", [4096, 0, 12])
    entry.add_new("LUTData", "OW", b"\1" * 8192)
    made.VOILUTSequence = [entry]
    made["VOILUTSequence"].is_undefined_length = True
    entry.is_undefined_length_sequence_item = True
    path = save(tmp_path / "a.dcm", made)
    path.write_bytes(path.read_bytes()[:4000])
    found = refusal(path)
    assert (found.image_id, found.reason) == ("1.2.3", "the file is cut off within the header")


def test_a_frame_without_an_end_marker(tmp_path):
    frame = save_jpeg(tmp_path / "a.dcm", ramp())
    save_jpeg(tmp_path / "a.dcm", ramp(), frame=frame[: len(frame) // 4 * 2])
    assert "no end marker" in refusal(tmp_path / "a.dcm").reason


def test_a_frame_damaged_within(tmp_path):
    save_compressed(tmp_path / "a.dcm", dataset(TWELVE, bits=12), "JPEG2000Lossless")
    made = pydicom.dcmread(tmp_path / "a.dcm")
    frame = get_frame(made.PixelData, 0, number_of_frames=1)
    made.PixelData = item(b"") + item(frame[: frame.index(b"\xff\x93")] + b"\xff\xd9")
    made.save_as(tmp_path / "a.dcm")
    assert "cannot be decoded (JPEG 2000" in refusal(tmp_path / "a.dcm").reason


def test_precision_against_the_header(tmp_path):
    frame = save_jpeg(tmp_path / "a.dcm", ramp())
    expected = np.asarray(Image.open(io.BytesIO(frame)))
    save_jpeg(tmp_path / "a.dcm", ramp(), frame=frame, BitsAllocated=16)
    assert np.array_equal(read(tmp_path / "a.dcm").pixels, expected)
    save_jpeg(tmp_path / "a.dcm", ramp(), frame=frame, BitsAllocated=16, BitsStored=12, HighBit=11)
    assert "has 8 bits a pixel, Bits Stored is 12" in refusal(tmp_path / "a.dcm").reason
    path = save_compressed(tmp_path / "b.dcm", dataset(TWELVE, bits=12), "JPEGLSLossless")
    made = pydicom.dcmread(path)
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    made.save_as(path)
    assert "bits a pixel, Bits Allocated is 8" in refusal(path).reason


def test_native_data_that_are_too_short(tmp_path):
    found = refusal(save(tmp_path / "a.dcm", dataset(ramp(), Rows=49)))
    assert "3072 bytes, the header needs 3136" in found.reason


@pytest.mark.parametrize("broken", [b"", item(b""), b"\1" * 20, item(b"") + struct.pack("<HHI", 0xFFFE, 0xE000, 9)])
def test_what_is_no_encapsulation(broken):
    with pytest.raises(Refusal, match="encapsulation is damaged"):
        join_fragments(broken)


def test_what_follows_the_end_marker():
    assert trim(b"a\xff\xd9\0\0\0") == b"a\xff\xd9"
    assert trim(b"a\xff\xd9bc") == b"a\xff\xd9bc"
    with pytest.raises(Refusal, match="no end marker"):
        trim(b"abc")
