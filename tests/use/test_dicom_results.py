"""DICOM results, read back by an independent reader and checked by an independent validator."""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pneumoseg.rule.decision import DecisionRule
from pneumoseg.use.answers import Reading, Unavailable
from pneumoseg.use.bundle import PHANTOM_WARNING
from pneumoseg.use.reader import Reader
from pneumoseg.use.results import RESULTS, write_results
from tests.radiographs.dicom_files import dataset
from tests.use.conftest import NETWORK, encoded

pytest.importorskip("highdicom")
IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)


def radiograph(**attributes: Any) -> bytes:
    return encoded(dataset(IMAGE, "1.2.9", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4", **attributes))


def marked(reader: Reader, source: bytes, *pixels: tuple[int, int]) -> Reading:
    answer = reader.read(source)
    assert isinstance(answer, Reading)
    mask = np.zeros(answer.shape, np.bool_)
    for pixel in pixels:
        mask[pixel] = True
    return dataclasses.replace(answer, mask=mask, positive=bool(pixels))


def made(kind: str, answer: Reading, source: bytes) -> Dataset:
    return dcmread(io.BytesIO(RESULTS[kind].content(answer, source)))


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 0]},
        {"PatientAge": "38", "PatientName": "ROE", "PatientOrientation": "", "PatientID": None},
    ],
)
def test_a_segmentation_comes_back_pixel_by_pixel(reader: Reader, attributes: dict[str, Any]):
    import highdicom

    source = radiograph(**attributes)
    answer = marked(reader, source, (0, 0), (0, IMAGE.shape[1] - 1), (IMAGE.shape[0] - 1, 3))
    content = RESULTS["seg"].content(answer, source)
    back = highdicom.seg.segread(io.BytesIO(content))
    pixels = back.get_pixels_by_source_instance(source_sop_instance_uids=["1.2.9"], combine_segments=True)
    assert np.array_equal(pixels[0] > 0, answer.mask)
    assert back.StudyInstanceUID == "1.2.3"
    assert back.segmented_property_types[0].value == "36118008"
    assert "FrameOfReferenceUID" not in back
    again = made("seg", answer, source)
    assert again.SOPInstanceUID == back.SOPInstanceUID  # an archive keeps one


def test_a_negative_answer_writes_no_segmentation_and_says_why(reader: Reader, tmp_path: Path):
    source = radiograph()
    missing = write_results(tmp_path / "out", marked(reader, source), source, ("seg", "sc", "json"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["reading.json", "sc.dcm"]
    assert missing == {"seg": "the answer is negative: no segmentation is written"}


@pytest.mark.parametrize("shape", [(301, 301), (300, 301), (301, 300), (300, 300)])
def test_an_overlay_of_any_size_becomes_a_capture(reader: Reader, shape: tuple[int, int]):
    image = cv2.resize(IMAGE, shape[::-1])
    source = encoded(dataset(image, "1.2.9", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4"))
    answer = marked(reader, source, (1, 1))
    overlay = answer.overlay(max(shape))
    pixels = made("sc", answer, source).pixel_array
    assert np.array_equal(pixels[: len(overlay)], overlay)
    assert len(pixels) - len(overlay) == len(overlay) % 2


def test_what_a_result_cannot_refer_to_is_told(reader: Reader):
    bare = encoded(dataset(IMAGE, "1.2.9"))
    png = cv2.imencode(".png", IMAGE)[1].tobytes()
    for source, words in ((bare, "no valid StudyInstanceUID"), (png, "no DICOM file")):
        with pytest.raises(Unavailable, match=words):
            RESULTS["seg"].content(marked(reader, source, (1, 1)), source)


def test_a_model_of_phantoms_writes_none(reader: Reader):
    source = radiograph()
    answer = dataclasses.replace(marked(reader, source, (1, 1)), warnings=(PHANTOM_WARNING,))
    for kind in ("seg", "sc"):
        with pytest.raises(Unavailable, match="drawings"):
            RESULTS[kind].content(answer, source)


@pytest.mark.long
@pytest.mark.real
def test_an_independent_validator_finds_no_error(reader: Reader, real: Path, tmp_path: Path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy here (Debian: apt install dicom3tools)")
    files = sorted((real / "siim-sample").rglob("*.dcm"))
    everything = object.__new__(Reader)
    vars(everything).update(vars(reader), bundle=dataclasses.replace(reader.bundle, rule=DecisionRule("single", 0.01)))
    errors, written = [], 0
    for file in files:
        answer = everything.read(file)
        assert isinstance(answer, Reading)
        if answer.image_id.startswith("ID_"):  # no UID, so nothing that a result could refer to
            with pytest.raises(Unavailable, match="no valid SOPInstanceUID"):
                RESULTS["seg"].content(answer, file.read_bytes())
            continue
        for kind in ("seg", "sc"):
            path = tmp_path / f"{kind}.dcm"
            path.write_bytes(RESULTS[kind].content(answer, file.read_bytes()))
            done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
            errors += [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
            written += 1
    assert errors == []
    assert written == 46
