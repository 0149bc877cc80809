"""One reader: the same radiograph by any way in, the reasons of a call, side and size, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import pneumoseg
from pneumoseg.predict.predictor import Predictor
from pneumoseg.radiographs.geometry import NO_GEOMETRY
from pneumoseg.rule.decision import DecisionRule, Level
from pneumoseg.rule.findings import Finding
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import write_png
from pneumoseg.use.answers import Reading, Refused
from pneumoseg.use.bundle import PHANTOM_WARNING, RESEARCH_ONLY, Bundle
from pneumoseg.use.reader import Reader
from tests.radiographs.dicom_files import dataset, ramp
from tests.use.conftest import NETWORK, encoded, write_bundle

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)


def ruled(reader: Reader, rule: DecisionRule) -> Reader:
    copy = object.__new__(Reader)
    vars(copy).update(vars(reader), bundle=dataclasses.replace(reader.bundle, rule=rule))
    return copy


def accepted(answer: Reading | Refused) -> Reading:
    assert isinstance(answer, Reading), answer
    return answer


def test_array_file_content_and_dicom_of_the_same_pixels_get_the_answer_of_the_predictor(
    reader: Reader, tmp_path: Path
):
    (wanted,) = Predictor.load([NETWORK])([IMAGE])
    path = tmp_path / "some.png"
    write_png(path, IMAGE)
    dicom = encoded(dataset(IMAGE, "1.2.7", ViewPosition="PA"))
    answers = [accepted(reader.read(file)) for file in (IMAGE, path, str(path), path.read_bytes(), dicom)]
    for answer in answers:
        assert wanted.map is not None
        assert answer.map is not None
        assert np.array_equal(answer.map, np.rint(wanted.map * 255).astype(np.uint8))
        assert answer.probability == pytest.approx(wanted.probability, abs=1e-6)
    assert [answer.image_id for answer in answers][1:3] == ["some", "some"]
    assert answers[0].image_id == answers[3].image_id
    assert answers[4].image_id == "1.2.7"
    assert "view_unknown" in answers[0].flags
    assert "view_unknown" not in answers[4].flags


def test_the_mask_has_the_size_of_the_file_where_extraction_makes_images_smaller(tmp_path: Path):
    extract = {**Bundle.read(write_bundle(tmp_path / "a")).extract.model_dump(mode="json"), "size_px": 64}
    small = Reader(Bundle.read(write_bundle(tmp_path / "b", extract=extract)), "cpu")
    answer = accepted(small.read(IMAGE))
    assert answer.pixels.shape != IMAGE.shape
    assert answer.mask is not None
    assert answer.mask.shape == answer.shape == IMAGE.shape


@pytest.mark.parametrize(
    ("rule", "decider", "words"),
    [
        (DecisionRule("single", 0.5, gate_probability=1.0), "gate", "is below the gate 1"),
        (DecisionRule("min_area", 0.5, (Level(0.5, 1024 * 1024),)), "area", "px asked for"),
        (DecisionRule("single", 0.999), "threshold", "no pixel lies above the mask threshold 0.999"),
        (DecisionRule("single", 0.3, min_component_px_at_1024=2 * 1024 * 1024), "component", "every component"),
        (DecisionRule("single", 0.01), "all", "every part agrees"),
    ],
)
def test_the_part_of_the_rule_that_decided_is_told(reader: Reader, rule: DecisionRule, decider: str, words: str):
    answer = accepted(ruled(reader, rule).read(IMAGE))
    assert answer.decider == decider
    assert words in answer.because
    assert answer.positive == (decider == "all")
    assert ("exclude" in answer.call) == (not answer.positive)
    assert answer.map is not None
    assert answer.mask is not None
    assert np.array_equal(answer.mask, rule.apply(answer.map, answer.probability))


def test_what_cannot_be_answered_is_refused_with_its_reason(reader: Reader):
    lateral = encoded(dataset(ramp(), ViewPosition="LL"))
    kinds = {
        "view": lateral,
        "modality": encoded(dataset(ramp(), Modality="CT")),
        "body_part": encoded(dataset(ramp(), BodyPartExamined="HAND")),
        "not_dicom": b"<script>alert(1)</script>",
        "colour": np.zeros((8, 8, 3), np.uint8),
    }
    for kind, file in kinds.items():
        answer = reader.read(file)
        assert isinstance(answer, Refused)
        assert answer.kind == kind
    refused = reader.read(lateral)
    assert isinstance(refused, Refused)
    assert "LL" in refused.reason
    assert refused.image_id == "1.2.3"


@pytest.mark.parametrize(
    ("attributes", "spacing", "source"),
    [
        ({}, (0.168, 0.17), "pixel_spacing"),
        ({"ImagerPixelSpacing": [0.168, 0.17]}, (0.168, 0.17), "imager"),
        (
            {"ImagerPixelSpacing": [0.168, 0.17], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.168, 0.17),
            "pixel_spacing",
        ),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.168, 0.17), "pixel_spacing"),
        ({"PixelSpacing": [0, 0]}, None, "none"),
        (
            {
                "PixelSpacing": None,
                "ImagerPixelSpacing": [0.2, 0.2],
                "EstimatedRadiographicMagnificationFactor": "1.25",
            },
            (0.16, 0.16),
            "imager_corrected",
        ),
    ],
)
def test_area_in_square_millimetres_says_where_it_is_measured(
    reader: Reader, attributes: dict[str, Any], spacing: tuple[float, float] | None, source: str
):
    answer = accepted(ruled(reader, DecisionRule("single", 0.01)).read(encoded(dataset(IMAGE, **attributes))))
    assert answer.geometry.spacing_source == source
    assert answer.area_px
    if spacing is None:
        assert answer.area_mm2 is None
    else:
        assert answer.area_mm2 == pytest.approx(answer.area_px * spacing[0] * spacing[1])


def test_findings_are_told_with_score_box_and_area(reader: Reader):
    answer = accepted(reader.read(encoded(dataset(IMAGE))))
    assert answer.to_json()["findings"] is None
    mask = np.zeros(IMAGE.shape, bool)
    mask[10:14, 20:25] = True
    found = Finding(0.87654321, np.array([19.996, 10, 25, 14]), mask)
    told = dataclasses.replace(answer, findings=(found,)).to_json()["findings"]
    assert told == [{"score": 0.876543, "box": [20.0, 10, 25, 14], "area_px": 20, "area_mm2": 0.6}]  # 20 x 0.168 x 0.17
    flat = dataclasses.replace(answer, findings=(found,), geometry=NO_GEOMETRY).to_json()
    assert flat["findings"][0]["area_mm2"] is None
    assert dataclasses.replace(answer, findings=()).to_json()["findings"] == []


@pytest.mark.parametrize(
    ("columns", "orientation", "in_image", "of_patient"),
    [
        (slice(0, 4), "L\\F", "left", "right"),
        (slice(0, 4), "R\\F", "left", "left"),
        (slice(6, 10), "L\\F", "right", "left"),
        (slice(6, 10), "", "right", None),
        (slice(2, 8), "L\\F", "both", "both"),
        (slice(2, 8), "", "both", None),
        (slice(0, 0), "L\\F", None, None),
    ],
)
def test_the_side_of_the_patient_comes_from_the_file_alone(
    reader: Reader, columns: slice, orientation: str, in_image: str | None, of_patient: str | None
):
    answer = accepted(reader.read(encoded(dataset(IMAGE, PatientOrientation=orientation.split("\\")))))
    mask = np.zeros((10, 10), np.bool_)
    mask[:, columns] = True
    answer = dataclasses.replace(answer, mask=mask)
    assert (answer.side_in_image, answer.side_of_patient) == (in_image, of_patient)


def test_an_answer_says_what_it_is_and_holds_nothing_of_the_patient(reader: Reader, tmp_path: Path):
    secret = {"PatientName": "Roe^Jane", "PatientID": "SECRET-77", "StudyDate": "19990131", "AccessionNumber": "A-9"}
    answer = accepted(reader.read(encoded(dataset(IMAGE, **secret))))
    answer.save(tmp_path / "reading.json")
    written = (tmp_path / "reading.json").read_text()
    assert not [value for value in (*secret.values(), "Roe") if value in written + repr(answer)]
    content = json.loads(written)
    assert RESEARCH_ONLY in content["warnings"]
    assert content["operating_point"]["sensitivity"] == "0.50 (0.25 to 0.75)"
    assert content["operating_point"]["specificity"] == "not measured"
    drawn = cv2.imdecode(np.frombuffer(answer._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[1] == IMAGE.shape[1]


def test_a_model_of_phantoms_says_so_everywhere(tmp_path: Path):
    drawn = Reader(Bundle.read(write_bundle(tmp_path / "bundle", phantom=True)), "cpu")
    assert PHANTOM_WARNING in accepted(drawn.read(IMAGE)).to_json()["warnings"]


def test_load_is_all_that_a_notebook_needs(bundle_folder: Path):
    assert pneumoseg.load(bundle_folder, "cpu").read(IMAGE).accepted


def test_damage_and_later_forms_are_refused_and_unknown_keys_are_not(tmp_path: Path):
    folder = write_bundle(tmp_path / "bundle", something_new=1)
    assert Bundle.read(folder).rule.kind == "single"
    description = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        Bundle.read(folder)
    (folder / "bundle.json").write_text(json.dumps(description))
    weights = folder / "networks/0/fold0/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DataError, match=r"weights\.safetensors: missing or not as it was written"):
        Bundle.read(folder)
    with pytest.raises(DataError, match="dvc repro bundle"):
        Bundle.read(tmp_path / "nowhere")
