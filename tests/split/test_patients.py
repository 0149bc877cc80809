"""Who is whose: PatientID, the user's map, and unknown patients."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from pneumoseg.shared.errors import DataError
from pneumoseg.split.patients import doubtful_patients, find_patients


def described(rows):
    """Rows of image_id, patient_id, and as many of study_id, sex and age_years as are given."""
    filled = [(*row, *("", "", "", None)[len(row) - 1 :]) for row in rows]
    return pd.DataFrame(filled, columns=["image_id", "patient_id", "study_id", "sex", "age_years"]).astype(
        {"age_years": "float64"}
    )


METADATA = described([("d", "x"), ("b", ""), ("a", "x"), ("c", "")])


def test_metadata_groups_and_an_empty_id_is_its_own_patient():
    found = find_patients(METADATA, None)
    assert found.of_image == {"a": "x", "b": "image:b", "c": "image:c", "d": "x"}
    assert (found.unknown, found.map_sha256, found.map_rows_unused) == ({"b", "c"}, None, 0)


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
    assert len(found.unknown) == 1
    assert found.map_rows_unused == 2  # the header and zz
    assert len(found.map_sha256) == 32
    assert "13670" not in str(found.of_image)
    assert find_patients(METADATA, write(tmp_path, text + "\r\n")).map_sha256 != found.map_sha256


def test_map_of_plain_patients_without_header(tmp_path):
    found = find_patients(METADATA, write(tmp_path, "a,00013670_106.tiff\nb,00013670\nc,00013670\nd,\n"))
    assert found.of_image == {"a": "image:a", "b": "image:b", "c": "image:b", "d": "image:d"}
    assert len(found.unknown) == 1


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


def exams(patient, ages, sexes, study="s"):
    return [
        (f"{patient}{i:02}", patient, f"{study}{patient}{i}", sex, age)
        for i, (age, sex) in enumerate(zip(ages, sexes, strict=True))
    ]


def groups(rows):
    return len(set(find_patients(described(rows), None).of_image.values()))


def test_a_patient_id_of_several_people_is_no_patient():
    both = exams("p", [50] * 6, "MFMFMF")
    apart = exams("q", [3, 20, 21, 40, 67, 70, 90], "M" * 7)
    found = find_patients(described([*both, *apart, *exams("r", [20], "F")]), None)
    assert found.of_image["p00"] == "image:p00"
    assert len(set(found.of_image.values())) == 14
    assert len(found.unknown) == found.images_of_several == 13
    assert found.of_image["r00"] == "r"


@pytest.mark.parametrize(
    ("ages", "sexes"),
    [
        ([50] * 6, "MFMFMM"),  # two mistyped
        ([50, 51], "MF"),
        ([1, 2, 40, 50, 80, 90], "MMMMMM"),  # a middle of 10 years: two of each end may be mistyped
        (range(20, 65), "M" * 45),  # a patient who returns for 44 years
        ([None] * 200, [""] * 200),
        ([30] * 6, "MOMOMO"),
    ],
)
def test_in_doubt_it_is_one_patient(ages, sexes):
    rows = exams("p", ages, sexes)
    assert groups(rows) == 1
    images = described(rows).assign(patient="p")
    sure = list(sexes) == ["M"] * 45 or "O" in sexes
    assert doubtful_patients(images).to_dict() == ({} if sure and len(rows) < 20 else {"p": len(rows)})


def test_several_images_of_one_study_are_one_slip():
    """A study of three images whose sex is mistyped is one slip, not three."""
    rows = [
        (f"i{number}", "p", "s1" if number < 3 else f"t{number}", "F" if number < 3 else "M") for number in range(9)
    ]
    assert groups(rows) == 1


def test_images_of_one_study_stay_together_without_a_patient():
    found = find_patients(
        described([("c", "", "s"), ("a", "", "s"), ("b", "", "t"), ("d", "", ""), ("e", "x", "s")]), None
    )
    assert found.of_image == {"a": "image:a", "c": "image:a", "b": "image:b", "d": "image:d", "e": "x"}
    mixed = [(f"i{number}", "", "s", "MF"[number % 2]) for number in range(6)]
    assert groups(mixed) == 6  # a placeholder study
    assert groups([(f"i{number}", "", "s", "M", 20 + 2 * number) for number in range(6)]) == 6


@pytest.mark.real
def test_nobody_of_a_real_table_is_taken_for_several(real):
    names = ["image_id", "finding", "follow_up", "patient_id", "age_years", "sex", *"abcdef"]
    table = pd.read_csv(real / "formats/nih/Data_Entry_2017_v2020.csv", skiprows=1, names=names, index_col=False)
    table = table.assign(patient_id=table["patient_id"].astype(str), study_id="")
    found = find_patients(table, None)
    assert set(found.of_image.values()) == set(table["patient_id"])
