"""Who is whose: PatientID, the user's map, and unknown patients."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.shared.errors import DataError
from pneumoseg.split.patients import find_patients

METADATA = pd.DataFrame({"image_id": ["d", "b", "a", "c"], "patient_id": ["x", "", "x", ""]})


def test_metadata_groups_and_an_empty_id_is_its_own_patient():
    found = find_patients(METADATA, None)
    assert found.of_image == {"a": "x", "b": "image:b", "c": "image:c", "d": "x"}
    assert (found.images_without, found.map_sha256, found.map_rows_unused) == (2, None, 0)


def write(folder: Path, text: str) -> Path:
    path = folder / "map.csv"
    path.write_bytes(text.encode("utf-8"))
    return path


def test_map_of_nih_file_names(tmp_path):
    """The first eight digits are the patient; no number of the table gets into an output."""
    rows = ["d,00013670_106.png", "b,00013670_002.png", "a, 00000001_000.png ", "zz,00000009_000.png"]
    text = "\r\n".join(["\ufeffKaggle_ID,NIH_ID", *rows])
    path = write(tmp_path, text)
    found = find_patients(METADATA, path)
    assert found.of_image == {"a": "image:a", "b": "image:b", "c": "image:c", "d": "image:b"}
    assert found.images_without == 1
    assert found.map_rows_unused == 2  # the header and zz
    assert len(found.map_sha256) == 32
    assert "13670" not in str(found.of_image)
    assert find_patients(METADATA, write(tmp_path, text + "\r\n")).map_sha256 != found.map_sha256


def test_map_of_plain_patients_without_header(tmp_path):
    found = find_patients(METADATA, write(tmp_path, "a,00013670_106.tiff\nb,00013670\nc,00013670\nd,\n"))
    assert found.of_image == {"a": "image:a", "b": "image:b", "c": "image:b", "d": "image:d"}
    assert found.images_without == 1


def test_names_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = ["a,P1", "b,P2", "c,P1", "d,P2"]
    forward = find_patients(METADATA, write(tmp_path, "\n".join(rows)))
    backward = find_patients(METADATA.iloc[::-1], write(tmp_path, "\n".join(rows[::-1])))
    assert forward.of_image == backward.of_image


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1\nb,2\na,3\n", "line 3 gives image a a second patient; keep one row for an image"),
        ("a,1,M\n", "line 1 has 3 columns; split.patient_map needs two"),
        ("a;1\n", "line 1 has 1 columns"),
        ("1,a\n2,b\n", "its first column names no annotated image"),
        ("", "its first column names no annotated image"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        find_patients(METADATA, write(tmp_path, text))
    assert message in str(caught.value)
    assert "map.csv" in str(caught.value)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent.csv: split.patient_map cannot be read \(No such file"):
        find_patients(METADATA, tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes("a,M\xfcller\n".encode("latin-1"))
    with pytest.raises(DataError, match="not readable as CSV"):
        find_patients(METADATA, tmp_path / "latin.csv")


def test_the_hash_is_that_of_the_bytes(tmp_path):
    path = write(tmp_path, "a,1\n")
    content = path.read_bytes()
    expected = hashlib.sha256(len(content).to_bytes(8, "big") + content).hexdigest()[:32]
    assert find_patients(METADATA, path).map_sha256 == expected
