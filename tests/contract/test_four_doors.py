"""Four doors, one answer: shell, Python, MLflow and page say the same of the same file, and what the pipeline said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import pneumoseg
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.tables import METADATA, read_table
from pneumoseg.use.answers import Reading
from tests.pipeline.project import Project
from tests.radiographs.dicom_files import dataset
from tests.use import doors
from tests.use.conftest import NETWORK, encoded, write_bundle, write_detector

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)
pytestmark = pytest.mark.slow


def write_files(folder: Path) -> list[Path]:
    folder.mkdir()
    wide = np.uint16(IMAGE.astype(np.uint16) * 16)
    png, jpg = cv2.imencode(".png", IMAGE)[1].tobytes(), cv2.imencode(".jpg", IMAGE)[1].tobytes()
    inverted = dataset(4095 - wide, "1.2.2", 12, PhotometricInterpretation="MONOCHROME1", PixelSpacing=None)
    contents = {
        "plain.dcm": encoded(dataset(IMAGE, "1.2.1", ViewPosition="PA", PatientOrientation=["L", "F"])),
        "inverted": encoded(inverted),
        "picture.png": png,
        "picture.v2.PNG": cv2.imencode(".png", wide)[1].tobytes(),
        "photo.jpeg": jpg,
        "a name with blanks.jpg": jpg[:2] + jpg[2:] + b"\0",
        "png_called.dcm": png,
        "text.dcm": b"not a radiograph",
        "text.png": b"not a radiograph",
        "cut.dcm": encoded(dataset(IMAGE, "1.2.3"))[:-300],
        "cut.png": png[: len(png) // 2],
        "lateral.dcm": encoded(dataset(IMAGE, "1.2.4", ViewPosition="LL")),
        "ct.dcm": encoded(dataset(IMAGE, "1.2.5", Modality="CT")),
        "empty.dcm": b"",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_every_door_gives_the_same_answer(tmp_path: Path):
    bundle = write_bundle(tmp_path / "bundle")
    files = write_files(tmp_path / "files")
    told, _ = doors.shell(bundle, files, tmp_path / "out", "--workers", "0")
    assert [name for name, one in told.items() if one.answer["accepted"]] == [path.name for path in files[:7]]
    assert all(one.answer["reason"] for one in told.values() if not one.answer["accepted"])
    assert all(one.mask for one in told.values() if one.answer["accepted"])
    assert told["png_called.dcm"].answer["image_id"] == "png_called.dcm"
    doors.same(doors.python(bundle, files), told)
    doors.same(doors.python(bundle, files), doors.rows(bundle, files, tmp_path / "model"))
    doors.same(doors.python(bundle, files), doors.page(bundle, files))


def test_every_door_gives_a_detectors_findings(tmp_path: Path):
    network, rule = write_detector(tmp_path / "detector"), DecisionRule("single", 0.4)
    bundle = write_bundle(tmp_path / "bundle", network, architecture="mask_rcnn", rule=rule.to_json())
    files = [path for path in write_files(tmp_path / "files") if path.name in ("plain.dcm", "picture.png", "text.png")]
    told, _ = doors.shell(bundle, files, tmp_path / "out", "--workers", "0")
    found = {name: one.answer["findings"] for name, one in told.items() if one.answer["accepted"]}
    assert {name: len(findings) for name, findings in found.items()} == {"plain.dcm": 3, "picture.png": 3}
    for findings in found.values():
        assert [one["score"] for one in findings] == sorted((one["score"] for one in findings), reverse=True)
        assert all(0 < one["area_px"] <= (one["box"][2] - one["box"][0] + 1) * (one["box"][3] - one["box"][1] + 1)
                   for one in findings)  # fmt: skip
    assert {one["area_mm2"] is None for one in found["picture.png"]} == {True}
    assert {one["area_mm2"] is None for one in found["plain.dcm"]} == {False}
    doors.same(doors.python(bundle, files), told)
    doors.same(doors.python(bundle, files), doors.rows(bundle, files, tmp_path / "model"))
    doors.same(doors.python(bundle, files), doors.page(bundle, files))


def test_maps_and_probabilities_are_those_of_stage_predict(reproduced: Project):
    reader = pneumoseg.load(reproduced.root / "data/bundle", "cpu")
    predictions = reproduced.root / "data/predictions"
    columns = {name: METADATA[name] for name in ("image_id", "source")}
    sources = read_table(reproduced.root / "data/metadata.csv", columns).set_index("image_id")["source"]
    maps = sorted((predictions / "test").glob("*.png"))
    assert maps
    for path in maps:
        answer = reader.read(reproduced.root / "data/phantom" / sources[path.stem])
        assert isinstance(answer, Reading)
        assert np.array_equal(answer.map, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)), path.name
