"""A phantom set on disk: SIIM's folders, tags and table with its oddities, the same bytes whatever the workers."""

import csv
from collections import defaultdict
from itertools import combinations

import cv2
import numpy as np
import pydicom
import pytest

from pneumoseg.phantom import generate, render_phantom
from pneumoseg.phantom.cohort import plan_cohort
from pneumoseg.phantom.writer import render_side
from pneumoseg.shared.layout import Layout
from tests.phantom.test_cohort import make_params

SIZE = 128

# The ages and the ID_ names are as invalid as in the real set: pydicom says so whenever one is read.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning", "ignore:The value length:UserWarning"),
    pytest.mark.slow,
]


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def decode(code, size):
    """Decoder of its own: the rule of the competition, pixel by pixel, as a set of (row, column)."""
    numbers = [int(token) for token in code.split()]
    position, pixels = 0, set()
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        position += gap
        for flat in range(position, position + length):
            pixels.add((flat % size, flat // size))
        position += length
    return pixels


@pytest.fixture(scope="module")
def params(root):
    return make_params(root, images=24, unannotated_images=2, unlabelled_images=3, size_px=SIZE)


@pytest.fixture(scope="module")
def folder(params, tmp_path_factory):
    layout = Layout(tmp_path_factory.mktemp("phantom"))
    generate(layout, params, 0)
    return layout.phantom


@pytest.fixture(scope="module")
def headers(folder):
    return {path: pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}


@pytest.fixture(scope="module")
def rows(folder):
    with (folder / "train-rle.csv").open(newline="") as table:
        lines = list(csv.reader(table))
    assert lines[0] == ["ImageId", " EncodedPixels"]
    assert all(value.startswith(" ") for _, value in lines[1:])
    found = defaultdict(list)
    for name, value in lines[1:]:
        found[name].append(value.strip())
    return found


def test_views_from_the_side_belong_to_their_studies_and_leave_the_others_as_they_are(root, params, folder, tmp_path):
    """Byte for byte, but for the pneumothoraces that lie in front, which are faint from the front."""
    with_views = make_params(
        root, images=24, unannotated_images=2, unlabelled_images=3, size_px=SIZE, lateral_share=0.7
    )
    generate(Layout(tmp_path), with_views, 0)
    found, before = contents(Layout(tmp_path).phantom), contents(folder)
    cases = plan_cohort(with_views)
    anterior = {case.uids[0] for case in cases if case.scene.anterior}
    sides = {case.lateral_uid: case for case in cases if case.lateral_uid}
    assert len(sides) > 10
    assert anterior < {case.uids[0] for case in sides.values() if case.scene.area > 0}
    assert {path.rpartition("/")[2].removesuffix(".dcm") for path in found.keys() - before.keys()} == set(sides)
    changed = {path.rpartition("/")[2].removesuffix(".dcm") for path in before if found[path] != before[path]}
    assert changed == anterior
    assert found["train-rle.csv"] == before["train-rle.csv"]
    for path in (path for path in found if path not in before):
        header = pydicom.dcmread(Layout(tmp_path).phantom / path)
        case = sides[header.SOPInstanceUID]
        assert (header.ViewPosition, header.StudyInstanceUID) == ("LL", case.uids[2])
        assert header.PatientID == f"phantom-{case.patient:05d}"


def test_what_lies_in_front_is_faint_from_the_front_and_plain_from_the_side(root):
    values = {"images": 40, "size_px": SIZE, "prevalence": 0.5, "pneumothorax_median_area": 0.04, "lateral_share": 1.0}
    front, hidden = (make_params(root, **values, anterior_share=share) for share in (0.0, 1.0))
    ratios = []
    for case in plan_cohort(hidden):
        if case.scene.anterior:
            plain, faint = (render_phantom(params, case.index) for params in (front, hidden))
            assert (plain.mask == faint.mask).all()
            other = render_side(hidden, case.index).image.astype(int) - render_side(front, case.index).image
            ratios.append((faint.image.astype(int) - plain.image)[plain.mask].mean())
            assert abs(other).max() > 40  # the dark band in front
    assert np.median(ratios) > 3  # less dark than where it lies at the side


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers(params, folder, tmp_path):
    layout = Layout(tmp_path)
    stale = layout.phantom / "dicom-images-train" / "stale.dcm"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    generate(layout, params, 2)
    assert contents(layout.phantom) == contents(folder)


def test_threads_of_opencv_change_nothing(params, folder, tmp_path):
    """Its blur of floats does differ with them, in a few images of a hundred."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        generate(Layout(tmp_path), params, 0)
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(threads)
    assert contents(Layout(tmp_path).phantom) == contents(folder)


def test_siim_layout(params, folder, headers):
    assert sorted(path.name for path in folder.iterdir()) == ["dicom-images-train", "stage_2_images", "train-rle.csv"]
    trained = [path for path in headers if "dicom-images-train" in path.parts]
    assert len(trained) == 26
    for path in trained:
        header = headers[path]
        study, series, name = path.parts[-3:]
        assert (study, series, name) == (
            header.StudyInstanceUID,
            header.SeriesInstanceUID,
            f"{header.SOPInstanceUID}.dcm",
        )
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
    tested = [path for path in headers if path.parent.name == "stage_2_images"]
    assert len(tested) == 3
    for path in tested:
        header = headers[path]
        assert path.stem == header.SOPInstanceUID
        assert (header.PatientID, header.StudyInstanceUID, header.SeriesInstanceUID) == ("", "", "")
        assert header.file_meta.MediaStorageSOPInstanceUID.is_valid


def test_tags_are_those_of_siim_and_say_phantom(headers):
    for header in headers.values():
        assert header.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
        assert header.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        assert header[0x0008, 0x001C].value == "YES"
        assert header.Manufacturer == "pneumoseg phantom"
        assert header.SeriesDescription == "phantom, not a patient"
        assert (header.Modality, header.BodyPartExamined) == ("CR", "CHEST")
        assert (header.PhotometricInterpretation, header.BitsStored) == ("MONOCHROME2", 8)
        assert (header.Rows, header.Columns) == (SIZE, SIZE)
        assert header.PatientSex in "MF"
        assert header.ViewPosition in ("PA", "AP")
        assert header.PatientAge.isdigit()  # 64, where the standard wants 064Y
        assert 0.139 <= header.PixelSpacing[0] <= 0.194
    assert sum(header.PatientAge == "152" for header in headers.values()) == 1


def test_some_patients_have_several_images(headers):
    counts = defaultdict(int)
    for path, header in headers.items():
        if "dicom-images-train" in path.parts:
            assert header.PatientID.startswith("phantom-")
            counts[header.PatientID] += 1
    assert max(counts.values()) > 1
    assert min(counts.values()) == 1


def test_pixels_survive_jpeg(params, headers):
    by_name = {header.SOPInstanceUID: header for header in headers.values()}
    for index in (0, 5):
        phantom = render_phantom(params, index)
        stored = by_name[phantom.metadata.uids[0]].pixel_array
        assert np.abs(stored.astype(int) - phantom.image).mean() < 4


def test_union_of_rows_is_the_truth(params, rows):
    for case in plan_cohort(params):
        if case.role != "annotated":
            continue
        codes = rows[case.uids[0]]
        if case.scene.area == 0:
            assert codes == ["-1"]
            continue
        union = set().union(*(decode(code, SIZE) for code in codes))
        assert union == set(zip(*np.nonzero(render_phantom(params, case.index).mask), strict=True))


def test_oddities_of_the_table(params, headers, rows):
    assert len(rows) == params.images
    assert sum(codes == ["-1"] for codes in rows.values()) == params.images - params.positives
    several = [[decode(code, SIZE) for code in codes] for codes in rows.values() if len(codes) > 1]
    assert several
    assert any(first & second for parts in several for first, second in combinations(parts, 2))
    trained = {header.SOPInstanceUID for path, header in headers.items() if "dicom-images-train" in path.parts}
    assert len(trained - set(rows)) == params.unannotated_images
    assert set(rows) <= trained
