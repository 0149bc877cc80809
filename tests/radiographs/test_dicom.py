"""One file to one radiograph: every syntax against another decoder, every rule against a file that breaks it."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_voi_lut

from pneumoseg.radiographs.codecs import FrameHead, frame_head
from pneumoseg.radiographs.identity import hash_key, keyed_hash
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import FLAGS, REFUSALS, Refusal
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import digest_bytes
from pneumoseg.shared.tables import METADATA
from tests.radiographs.dicom_files import (
    dataset,
    extract_params,
    gdcm_pixels,
    ramp,
    save,
    save_big_endian,
    save_compressed,
    save_jpeg,
)

# Some files are made with values that pydicom warns of when they are set; reading them must not warn (see below).
pytestmark = pytest.mark.filterwarnings("ignore:.*value for VR")

TWELVE = ramp(high=4095, dtype=np.uint16)
SIGNED = ramp(low=-2048, high=2047, dtype=np.int16)


def read(path, **changes):
    return read_radiograph(path, extract_params(**changes))


def refusal(path, **changes):
    with pytest.raises(Refusal) as caught:
        read(path, **changes)
    assert caught.value.kind in REFUSALS
    assert str(caught.value) == f"{path.name}: {caught.value.reason}"
    return caught.value


# Pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_siim_files_against_opencv(real):
    files = sorted((real / "siim-sample").rglob("*.dcm"))
    assert len(files) == 35
    for path in files[::3]:
        frame = get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1)
        expected = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED).astype(int)
        found = read(path).pixels
        assert found.dtype == np.uint8
        assert np.abs(found - expected).max() <= 1


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "bits", "center", "width"), [("CR-MONO1-10-chest", 10, 550, 1024), ("RG1_J2KI.dcm", 15, 15000, 30000)]
)
def test_real_odd_files_against_gdcm(real, name, bits, center, width):
    path = real / "odd-dicom" / name
    if name == "CR-MONO1-10-chest":  # without a preamble GDCM's reader needs help: the bare values end the file
        stored = np.frombuffer(path.read_bytes()[-440 * 440 * 2 :], "<u2").reshape(440, 440).astype(float)
    else:
        stored = gdcm_pixels(path).astype(float)
    fraction = np.clip((stored - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    radiograph = read(path)
    assert np.abs(radiograph.pixels - 255 * (1 - fraction)).max() <= 1
    assert radiograph.row["bits_stored"] == bits
    assert radiograph.row["photometric"] == "MONOCHROME1"
    assert radiograph.row["pixel_spacing_row_mm"] is None
    assert "spacing_unusable" in radiograph.flags
    # The lungs are darker than the heart and the abdomen: it is not upside down in grey.
    rows, columns = radiograph.pixels.shape
    middle = radiograph.pixels[rows // 3 : rows // 2]
    assert middle[:, columns // 4].mean() < middle[:, columns // 2].mean()


@pytest.mark.real
def test_a_real_chest_tagged_ct_is_refused(real):
    assert refusal(real / "odd-dicom" / "modality_ct.dcm").kind == "modality"


def test_jpeg_baseline_against_two_decoders(tmp_path):
    pixels = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (96, 80), dtype=np.uint8), (0, 0), 3)
    frame = save_jpeg(tmp_path / "a.dcm", pixels)
    found = read(tmp_path / "a.dcm").pixels.astype(int)
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(frame))))
    assert np.abs(found - gdcm_pixels(tmp_path / "a.dcm")).max() <= 1


@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
)
@pytest.mark.parametrize(
    "pixels", [ramp(), TWELVE, SIGNED, ramp(low=0, high=65535, dtype=np.uint16)], ids=["8", "12", "12s", "16"]
)
def test_lossless_syntaxes_give_the_values_that_went_in(tmp_path, syntax, pixels):
    bits = 12 if pixels is TWELVE or pixels is SIGNED else None
    path = save_compressed(tmp_path / "a.dcm", dataset(pixels, bits=bits), syntax)
    full = read(path, window="full", bit_depth=16).pixels.astype(float)
    depth = bits or 8 * pixels.itemsize
    low = -(2 ** (depth - 1)) if pixels.dtype.kind == "i" else 0
    assert np.abs(full - (pixels.astype(float) - low) / (2**depth - 1) * 65535).max() <= 0.5


def test_jpeg_extended_with_twelve_bits(tmp_path):
    pixels = ramp(low=300, high=3800, dtype=np.uint16)  # GDCM's encoder turns 0 to 4095
    path = save_compressed(tmp_path / "a.dcm", dataset(pixels, bits=12), "JPEGExtendedProcess2_4")
    radiograph = read(path, window="full", bit_depth=16)
    assert radiograph.row["transfer_syntax"] == uid.JPEGExtended12Bit
    assert np.abs(radiograph.pixels / 65535 * 4095 - pixels).max() <= 1.1  # lossy


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("pixels", [ramp(), TWELVE, SIGNED], ids=["8", "12", "12s"])
def test_uncompressed_syntaxes(tmp_path, syntax, pixels):
    path = save(tmp_path / "a", dataset(pixels, bits=None if pixels.itemsize == 1 else 12), syntax)
    assert np.array_equal(read(path).pixels, np.rint((pixels - pixels.min()) / (np.ptp(pixels)) * 255))


def test_big_endian(tmp_path):
    assert np.array_equal(read(save_big_endian(tmp_path / "a", TWELVE, bits=12)).pixels, np.rint(TWELVE / 4095 * 255))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_a_file_without_preamble_and_transfer_syntax(tmp_path, syntax):
    radiograph = read(save(tmp_path / "a", dataset(TWELVE, bits=12), syntax, stated=False))
    assert np.array_equal(radiograph.pixels, np.rint(TWELVE / 4095 * 255))
    assert radiograph.row["transfer_syntax"] == syntax
    assert "transfer_syntax_missing" in radiograph.flags


def test_a_file_without_preamble_but_with_transfer_syntax(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(ramp()))
    path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read(path).pixels, ramp())


def test_bits_above_the_stored_ones_are_ignored(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(TWELVE | 0xA000, bits=12))
    assert np.array_equal(read(path).pixels, np.rint(TWELVE / 4095 * 255))


def test_the_window_of_a_monochrome1_file(tmp_path):
    window = {"WindowCenter": [1000, 5], "WindowWidth": [500, 5], "PhotometricInterpretation": "MONOCHROME1"}
    path = save(tmp_path / "a.dcm", dataset(TWELVE, bits=12, **window))
    expected = 255 * (1 - np.clip((TWELVE - 999.5) / 499 + 0.5, 0, 1))
    assert np.abs(read(path).pixels - expected).max() <= 0.5


@pytest.mark.parametrize("implicit", [True, False])
def test_lut_sequences_from_a_file(tmp_path, implicit):
    made = dataset(SIGNED, bits=12)
    made.ModalityLUTSequence = [lut([4096, -2048, 16], np.arange(4096) * 2, signed=True)]
    made.VOILUTSequence = [lut([8000, 100, 12], np.arange(8000) // 2, signed=False)]
    path = save(tmp_path / "a.dcm", made, uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)
    expected = np.clip((SIGNED.astype(int) + 2048) * 2 - 100, 0, 7999) // 2 / 4095 * 255
    assert np.abs(read(path).pixels - expected).max() <= 0.5


def lut(descriptor, entries, signed):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", descriptor)
    item.add_new("LUTData", "OW", np.asarray(entries).astype("<u2").tobytes())
    return item


def test_a_voi_lut_of_eight_bit_entries_sharing_words(tmp_path):
    made = dataset(ramp())
    item = lut([256, 0, 8], [], signed=False)
    item["LUTData"].value = bytes(range(255, -1, -1))
    made.VOILUTSequence = [item]
    assert np.array_equal(read(save(tmp_path / "a.dcm", made)).pixels, 255 - ramp())


def test_the_voi_lut_of_a_file_agrees_with_pydicom(tmp_path):
    made = dataset(TWELVE, bits=12)
    made.VOILUTSequence = [lut([4096, 0, 14], (np.sqrt(np.arange(4096) / 4095) * 16383).round(), signed=False)]
    path = save(tmp_path / "a.dcm", made)
    reread = pydicom.dcmread(path)
    assert np.abs(read(path).pixels - apply_voi_lut(reread.pixel_array, reread) / 16383 * 255).max() <= 0.5


# Metadata ---------------------------------------------------------------------------------------------------------


def test_the_row(tmp_path):
    made = dataset(ramp(), PatientSex="f", PatientAge="064Y", ViewPosition="pa", SyntheticData="YES")
    made.StudyInstanceUID = "1.2.9"
    radiograph = read(save(tmp_path / "a.dcm", made))
    assert set(radiograph.row) == set(METADATA) - {"source"}
    expected = digest_bytes(b"uint8 48 64", ramp().tobytes())
    assert radiograph.row == {
        "image_id": "1.2.3",
        "patient_id": radiograph.row["patient_id"],
        "study_id": keyed_hash("1.2.9", hash_key()),
        "sex": "F",
        "age_years": 64.0,
        "view_position": "PA",
        "modality": "CR",
        "body_part": "CHEST",
        "photometric": "MONOCHROME2",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "bits_stored": 8,
        "rows": 48,
        "columns": 64,
        "pixel_spacing_row_mm": 0.168,
        "pixel_spacing_column_mm": 0.17,
        "phantom": 1,
        "pixels_sha256": expected,
    }
    assert radiograph.flags == ()


def test_rows_and_columns_are_the_files_whatever_the_size_of_the_png(tmp_path):
    radiograph = read(save(tmp_path / "a.dcm", dataset(ramp())), size_px=32)
    assert radiograph.pixels.shape == (24, 32)
    assert (radiograph.row["rows"], radiograph.row["columns"]) == (48, 64)


@pytest.mark.parametrize(
    ("changes", "flag", "column", "value"),
    [
        ({"PatientAge": "152"}, "age_unusable", "age_years", None),
        ({"PatientAge": "old"}, "age_unusable", "age_years", None),
        ({"PixelSpacing": [0, 0]}, "spacing_unusable", "pixel_spacing_row_mm", None),
        ({"PixelSpacing": None}, "spacing_unusable", "pixel_spacing_column_mm", None),
        (
            {"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.2]},
            "spacing_at_detector",
            "pixel_spacing_column_mm",
            0.2,
        ),
        ({"PatientID": ""}, "patient_id_missing", "patient_id", ""),
        ({"PatientID": None}, "patient_id_missing", "patient_id", ""),
        ({"PatientID": "ANONYMOUS"}, "patient_id_placeholder", "patient_id", ""),
        ({"ViewPosition": "POSTERO-ANTERIOR"}, "code_unusable", "view_position", ""),
        ({"PatientSex": "MALE"}, "code_unusable", "sex", ""),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation", "phantom", 0),
        ({"WindowCenter": 100, "WindowWidth": 0}, "window_unusable", "bits_stored", 8),
        ({"WindowCenter": 100}, "window_unusable", "bits_stored", 8),
        ({"BodyPartExamined": None}, None, "body_part", ""),
        ({"BodyPartExamined": "PORT CHEST"}, None, "body_part", "PORT CHEST"),
    ],
)
def test_flags(tmp_path, changes, flag, column, value):
    radiograph = read(save(tmp_path / "a.dcm", dataset(ramp(), **changes)))
    assert radiograph.flags == ((flag,) if flag else ())
    assert set(radiograph.flags) <= set(FLAGS)
    assert radiograph.row[column] == value
    assert np.array_equal(radiograph.pixels, ramp())


def test_reading_warns_and_logs_nothing(tmp_path, caplog):
    good = save(tmp_path / "a.dcm", dataset(ramp(), image_id="ID_0011fe81e", ViewPosition="DOE^JANE"))
    bad = save(tmp_path / "b.dcm", dataset(ramp(), Rows=49))
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(good).row["image_id"] == "ID_0011fe81e"
        assert refusal(bad).kind == "pixel_data"
    assert not caplog.records


def test_a_uniform_image_is_flagged(tmp_path):
    assert read(save(tmp_path / "a.dcm", dataset(np.full((8, 8), 9, np.uint8)))).flags == ("uniform",)


# Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"Modality": "CT"}, "modality", "Modality CT is not one of"),
        ({"Modality": None}, "modality", "missing"),
        ({"BodyPartExamined": "EXTREMITY"}, "body_part", "BodyPartExamined EXTREMITY"),
        ({"BodyPartExamined": "CHESTNUT"}, "body_part", "CHESTNUT"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour", "3 sample"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour", "MONOCHROME"),
        ({"NumberOfFrames": 2}, "frames", "2 frames"),
        ({"Rows": 60000, "Columns": 60000}, "too_large", "60000 x 60000"),
        ({"Rows": 0}, "header", "0 x 64"),
        ({"Rows": None}, "header", "Rows is missing"),
        ({"BitsStored": 9}, "header", "Bits Stored 9"),
        ({"BitsAllocated": 32}, "header", "Bits Allocated 32"),
        ({"HighBit": 5}, "header", "High Bit 5"),
        ({"PixelRepresentation": None}, "header", "PixelRepresentation is missing"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "contrast", "RescaleSlope is 0"),
        ({"PixelData": None}, "pixel_data", "no pixel data"),
        ({"Rows": 49}, "pixel_data", "truncated or damaged"),
        ({"SOPInstanceUID": None}, "image_id", "no SOPInstanceUID"),
        ({"SOPInstanceUID": "../../x"}, "image_id", "cannot be a file name"),
    ],
)
def test_refusals(tmp_path, changes, kind, told):
    made = dataset(ramp())
    for name, value in changes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    made.SOPClassUID = uid.ComputedRadiographyImageStorage
    path = save(tmp_path / "a.dcm", made)
    found = refusal(path)
    assert found.kind == kind
    assert told in found.reason
    assert found.image_id == ("" if kind == "image_id" else "1.2.3")
    assert isinstance(found, DataError)


def test_refusals_by_name(tmp_path):
    path = save(tmp_path / "._a.dcm", dataset(ramp()))
    assert refusal(path).kind == "resource_fork"
    assert refusal(save(tmp_path / "DICOMDIR", dataset(ramp()))).kind == "dicomdir"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\0" * 200, b"PK\x03\x04" * 100, b"\x08\0" + b"\xff" * 50], ids=str
)
def test_what_is_no_dicom(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    assert refusal(path).kind in ("not_dicom", "image_id")


def test_a_file_that_is_not_there(tmp_path):
    assert refusal(tmp_path / "gone.dcm").kind == "unreadable"


def test_a_bad_lut_is_refused(tmp_path):
    made = dataset(ramp())
    made.VOILUTSequence = [lut([256, 0, 8], np.arange(10), signed=False)]
    assert refusal(save(tmp_path / "a.dcm", made)).kind == "contrast"


def test_an_unknown_transfer_syntax(tmp_path):
    made = dataset(ramp())
    made.PixelData = encapsulate([b"\0" * 100])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    found = refusal(save(tmp_path / "a.dcm", made, uid.MPEG2MPML))
    assert (found.kind, "MPEG2" in found.reason) == ("pixel_data", True)


def test_a_jpeg_of_another_size_than_the_header(tmp_path):
    save_jpeg(tmp_path / "a.dcm", ramp(48, 64), Rows=64, Columns=48)
    assert "48 x 64 pixels, the header says 64 x 48" in refusal(tmp_path / "a.dcm").reason


def test_a_jpeg_that_claims_a_huge_size_is_not_decoded(tmp_path):
    frame = bytearray(save_jpeg(tmp_path / "a.dcm", ramp()))
    start = frame.index(b"\xff\xc0")
    frame[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
    save_jpeg(tmp_path / "b.dcm", ramp(), frame=bytes(frame))
    assert "60000 x 60000" in refusal(tmp_path / "b.dcm").reason


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(ramp()), uid.DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = squeeze.compress(zlib.decompress(content[start:], -zlib.MAX_WBITS) + b"\0" * 2**26) + squeeze.flush()
    path.write_bytes(content[:start] + bomb)
    assert path.stat().st_size < 200_000
    assert refusal(path, max_pixels=4000).kind == "too_large"


def test_a_huge_file_is_not_read(tmp_path):
    path = save(tmp_path / "a.dcm", dataset(ramp()))
    with path.open("r+b") as file:
        file.truncate(2**40)  # sparse: takes no room
    assert refusal(path).kind == "too_large"


def test_a_hostile_value_is_never_quoted(tmp_path):
    made = dataset(ramp(), Modality="DOE^JANE", PatientID="x")
    assert "DOE" not in refusal(save(tmp_path / "a.dcm", made)).reason
    made = dataset(ramp(), BodyPartExamined="DOE^JANE")
    assert "DOE" not in refusal(save(tmp_path / "a.dcm", made)).reason


@pytest.mark.slow
@pytest.mark.parametrize(
    "syntax",
    ["native", "JPEGBaselineProcess1", "JPEG2000Lossless", "JPEGLosslessProcess14_1", "RLELossless", "JPEGLSLossless"],
)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, syntax):
    """GDCM fills with grey what is missing of a JPEG: never may such an image pass for a radiograph."""
    path = tmp_path / "a.dcm"
    if syntax == "native":
        save(path, dataset(ramp()))
    else:
        save_compressed(path, dataset(cv2.GaussianBlur(ramp(), (0, 0), 2)), syntax)
    whole = read(path).pixels
    content = path.read_bytes()
    for end in [*range(0, len(content), 7), *range(len(content) - 40, len(content))]:
        path.write_bytes(content[:end])
        try:
            found = read(path).pixels
        except Refusal:
            continue
        assert np.array_equal(found, whole), f"cut at {end} of {len(content)}"


@pytest.mark.parametrize(
    "syntax", ["JPEGBaselineProcess1", "JPEG2000Lossless", "JPEGLosslessProcess14_1", "RLELossless", "JPEGLSLossless"]
)
def test_a_frame_cut_within_a_well_formed_file_is_refused(tmp_path, syntax):
    path = save_compressed(tmp_path / "a.dcm", dataset(ramp()), syntax)
    made = pydicom.dcmread(path)
    frame = get_frame(made.PixelData, 0, number_of_frames=1)
    for part in (0.3, 0.6, 0.9):
        made.PixelData = encapsulate([frame[: int(len(frame) * part) // 2 * 2]])
        made.save_as(path)
        assert refusal(path).kind == "pixel_data", part


@pytest.mark.slow
def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    save_jpeg(tmp_path / "jpeg.dcm", ramp())
    save(tmp_path / "native.dcm", dataset(TWELVE, bits=12, WindowCenter=10, WindowWidth=20), uid.ImplicitVRLittleEndian)
    for name in ("jpeg.dcm", "native.dcm"):
        content = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(300):
            damaged = content.copy()
            damaged[rng.integers(0, min(len(content), 1200), 4)] = rng.integers(0, 256, 4)
            (tmp_path / "b.dcm").write_bytes(damaged.tobytes())
            try:
                read(tmp_path / "b.dcm")
            except Refusal:
                continue


def test_frame_heads():
    buffer = io.BytesIO()
    Image.fromarray(ramp(30, 50)).save(buffer, "JPEG", comment=b"a comment before the frame")
    assert frame_head(buffer.getvalue()) == FrameHead(30, 50, 1, 8, True)
    buffer = io.BytesIO()
    Image.fromarray(ramp(30, 50)).save(buffer, "JPEG2000")  # in a JP2 box
    assert frame_head(buffer.getvalue()) == FrameHead(30, 50, 1, 8, True)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([ramp(30, 50)] * 3)).save(buffer, "JPEG")
    assert frame_head(buffer.getvalue()) == FrameHead(30, 50, 3, 8, True)
    assert frame_head(b"") is None
    assert frame_head(b"\xff\xd8\xff\xff\xff\xff") is None


def test_a_colour_frame_under_a_grey_header_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([ramp()] * 3)).save(buffer, "JPEG")
    save_jpeg(tmp_path / "a.dcm", ramp(), frame=buffer.getvalue())
    assert "3 sample(s)" in refusal(tmp_path / "a.dcm").reason
