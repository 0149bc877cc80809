"""Four doors, one answer: shell, Python, MLflow and page say the same of the same file, and what the pipeline said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pneumoseg
from pneumoseg.config.model import LungParams
from pneumoseg.networks.lungs import lung_finder
from pneumoseg.networks.preparation import normalise, resize_image
from pneumoseg.networks.storage import load_model, save_model
from pneumoseg.predict.predictor import Predictor
from pneumoseg.rule.crop import Box
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


def write_cropped(folder: Path) -> Box:
    """The network of 450e244 behind one that has learnt two lungs in IMAGE; gives the box around them."""
    model, spec = load_model(NETWORK)
    lungs, params = folder / "lungs", LungParams(source="elsewhere")
    save_model(folder, model, spec.params.model_copy(update={"lungs": params}), spec.size_px)
    truth = np.zeros(IMAGE.shape, np.uint8)
    truth[32:140, 36:84] = truth[32:140, 100:156] = 255
    learnt, _ = load_model(NETWORK)
    pixels, wanted = (torch.from_numpy(resize_image(one, 64))[None] for one in (IMAGE, truth))
    optimiser = torch.optim.Adam(learnt.parameters(), lr=0.005)
    for _ in range(40):
        logits = learnt(normalise(pixels, learnt)).mask.float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, (wanted[:, None] > 127).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_model(lungs, learnt, spec.params, spec.size_px)
    finder = lung_finder(params, folder)
    assert finder is not None
    (box,) = finder.boxes([IMAGE])
    assert not box.whole
    assert box.bottom - box.top < 0.9
    return box


def test_every_door_sees_the_same_lungs(tmp_path: Path):
    box = write_cropped(tmp_path / "cropped")
    bundle = write_bundle(tmp_path / "bundle", tmp_path / "cropped", rule=DecisionRule("single", 0.1).to_json())
    files = [path for path in write_files(tmp_path / "files") if path.name in ("plain.dcm", "picture.png")]
    told, _ = doors.shell(bundle, files, tmp_path / "out", "--workers", "0")
    doors.same(doors.python(bundle, files), told)
    doors.same(doors.python(bundle, files), doors.rows(bundle, files, tmp_path / "model"))
    doors.same(doors.python(bundle, files), doors.page(bundle, files))
    answer = pneumoseg.load(bundle, "cpu").read(files[0])
    assert isinstance(answer, Reading)
    assert answer.map is not None
    (wanted,) = Predictor.load([tmp_path / "cropped"])([IMAGE])  # as stage predict has it
    assert wanted.map is not None
    assert np.array_equal(answer.map, np.rint(wanted.map * 255).astype(np.uint8))
    outside = np.ones(IMAGE.shape, bool)
    outside[box.window(*IMAGE.shape)] = False
    assert outside.any()
    assert not answer.map[outside].any()
    assert answer.map.any()


def test_maps_are_those_of_stage_predict(reproduced: Project):
    reader = pneumoseg.load(reproduced.root / "data/bundle", "cpu")
    predictions = reproduced.root / "data/predictions"
    columns = {name: METADATA[name] for name in ("image_id", "source")}
    sources = read_table(reproduced.root / "data/metadata.csv", columns).set_index("image_id")["source"]
    maps = sorted((predictions / "test").glob("*.png"))
    assert maps
    for path in maps:
        answer = reader.read(reproduced.root / "data/phantom" / sources[path.stem])
        assert isinstance(answer, Reading)
        assert answer.map is not None
        # Stage predict answers eight images at a time: convolutions then add up in another order, which now and then
        # tips a value that lies half-way between two grey levels.
        apart = np.abs(answer.map.astype(int) - cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        assert apart.max() <= 1, path.name
        assert np.count_nonzero(apart) < apart.size / 1000, path.name
