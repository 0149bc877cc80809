"""Rows in, rows out: every way in which bytes arrive, and a bad row that costs its neighbours nothing."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pandas as pd

from pneumoseg.shared import rle
from pneumoseg.use.answer_rows import COLUMNS, answer_rows
from pneumoseg.use.answers import Reading, Refused
from pneumoseg.use.reader import Reader
from tests.radiographs.dicom_files import dataset
from tests.use.conftest import NETWORK, encoded

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)
DICOM = encoded(dataset(IMAGE, "1.2.9"))
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()
JPG = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


def test_columns_are_those_of_the_answers(reader: Reader):
    answer = reader.read(DICOM)
    assert isinstance(answer, Reading)
    keys = answer.to_json().keys() | Refused("", "", "").to_json().keys()
    assert set(COLUMNS) == keys | {"rle", "mask_png"}


def test_bytes_and_base64_give_the_readers_answer_and_bad_rows_are_refused_alone(reader: Reader):
    coded = base64.encodebytes(DICOM)
    images = [DICOM, bytearray(DICOM), coded, coded.decode(), b"junk", "/etc/passwd", "==", None, PNG, JPG, b""]
    names = [None] * 8 + ["one", float("nan"), "../up"]
    rows = answer_rows(reader, pd.DataFrame({"image": images, "image_id": names}, index=range(5, 16)))
    assert list(rows.columns) == list(COLUMNS)
    assert list(rows.index) == list(range(5, 16))
    assert list(rows["accepted"]) == [True] * 4 + [False] * 4 + [True, True, False]
    wanted = reader.read(DICOM)
    assert isinstance(wanted, Reading)
    assert wanted.mask is not None
    for _, row in rows.head(4).iterrows():
        assert {key: row[key] for key in wanted.to_json()} == wanted.to_json()
        assert row["reason"] is None
        assert row["rle"] == rle.encode(wanted.mask)
        mask = cv2.imdecode(np.frombuffer(row["mask_png"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask > 0, wanted.mask)
    refused = rows[~rows["accepted"].astype(bool)]
    assert refused["reason"].map(bool).all()
    assert refused[["probability", "call", "rle", "mask_png"]].isna().all(axis=None)
    assert rows["image_id"].iloc[8] == "one"
    assert rows["image_id"].iloc[9].startswith("image-")


def test_no_rows_are_no_answers(reader: Reader):
    assert answer_rows(reader, pd.DataFrame({"image": []})).shape == (0, len(COLUMNS))
