"""Files that once went wrong, where they lie beside the repository: each stands for a kind that other tests make."""

import numpy as np
import pytest

from pneumoseg.config.extract import ExtractParams
from pneumoseg.radiographs.dicom import DicomFile
from pneumoseg.radiographs.parsing import quiet
from pneumoseg.radiographs.reading import read_radiograph
from pneumoseg.radiographs.rules import Refusal
from tests.radiographs.dicom_files import extract_params

pytestmark = pytest.mark.real

PARAMS: ExtractParams = extract_params()


def grey(path):
    return read_radiograph(path, PARAMS).pixels


def stored(path):
    with quiet():
        return DicomFile(path.read_bytes(), 2**26).read(PARAMS).stored


def test_stored_values_are_those_of_an_independent_decoder(faults):
    found = sorted(faults.rglob("*.values.npy"))
    assert found
    for values in found:
        path = values.with_name(values.name.replace(".values.npy", ".dcm"))
        expected = np.load(values)
        limit = 1 if path.parent.name == "06-encapsulation" else 0  # JPEG Baseline is lossy: decoders differ by 1
        assert np.abs(stored(path).astype(int) - expected).max() <= limit, path.name


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("01-lut-descriptor/a.dcm", "01-lut-descriptor/same_picture.dcm"),
        ("03-jpegls-signed/jpegls.dcm", "03-jpegls-signed/same_values_native.dcm"),
        ("04-bits-above-stored/dcmtk_jls.dcm", "04-bits-above-stored/native.dcm"),
        ("04-bits-above-stored/openjpeg_j2k.dcm", "04-bits-above-stored/native.dcm"),
        ("07-parsing/b_deflated_no_group_length.dcm", "07-parsing/c_deflated_wrong_group_length.dcm"),
    ],
)
def test_the_same_picture(faults, name, same):
    assert np.array_equal(grey(faults / name), grey(faults / same))


@pytest.mark.parametrize("folder", ["05-8bit-jpeg-16-allocated", "07-parsing", "08-blotted-out", "10-overlays"])
def test_a_picture_with_many_levels(faults, folder):
    for path in (faults / folder).glob("*.dcm"):
        assert len(np.unique(grey(path))) > 200, path.name


def test_the_cut_file_keeps_its_id(faults):
    with pytest.raises(Refusal, match="cut off within the pixel data") as caught:
        grey(faults / "06-encapsulation" / "u.dcm")
    assert caught.value.image_id == "1.2.3"
