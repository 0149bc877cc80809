"""The page's server: the same answers as the reader, nothing from elsewhere, nothing on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from pneumoseg.shared import rle
from pneumoseg.use.answers import Reading
from pneumoseg.use.page import app, held
from pneumoseg.use.reader import Reader
from tests.radiographs.dicom_files import dataset, ramp
from tests.use.conftest import NETWORK, encoded

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)
DICOM = encoded(dataset(IMAGE, "1.2.9"))
STATIC = Path(app.__file__).parent / "static"


@pytest.fixture
def client(reader: Reader) -> Iterator[TestClient]:
    with TestClient(app.make_app(reader), base_url="http://127.0.0.1:5050") as client:
        yield client


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def test_its_answer_is_the_readers(client: TestClient, reader: Reader):
    wanted = reader.read(DICOM)
    assert isinstance(wanted, Reading)
    answer = client.post("/api/readings", content=DICOM).json()
    assert {key: answer[key] for key in wanted.to_json()} == json.loads(json.dumps(wanted.to_json()))
    base = f"/api/readings/{answer['number']}"
    assert wanted.mask is not None
    assert np.array_equal(decoded(client.get(f"{base}/mask").content) > 0, wanted.mask)
    assert np.array_equal(decoded(client.get(f"{base}/map").content), wanted.map)
    assert np.array_equal(decoded(client.get(f"{base}/radiograph.png").content), IMAGE)
    assert client.get(f"{base}/rle").text.strip() == rle.encode(wanted.mask)
    assert 'filename="1.2.9.mask.png"' in client.get(f"{base}/mask").headers["content-disposition"]


def test_a_true_mask_beside_it(client: TestClient, reader: Reader):
    answer = client.post("/api/readings", content=DICOM).json()
    wanted = reader.read(DICOM)
    assert isinstance(wanted, Reading)
    assert wanted.mask is not None
    base = f"/api/readings/{answer['number']}/truth"
    assert client.get(base).status_code == 400
    own = rle.encode(wanted.mask).encode()
    assert client.post(base, content=own).json() == {"area_px": int(wanted.mask.sum()), "dice": 1.0}
    other = ~wanted.mask
    png = cv2.imencode(".png", other.astype(np.uint8))[1].tobytes()
    assert client.post(base, content=png).json() == {"area_px": int(other.sum()), "dice": 0.0}
    assert np.array_equal(decoded(client.get(base).content) > 0, other)
    small = cv2.imencode(".png", np.ones((3, 4), np.uint8))[1].tobytes()
    for wrong, words in ((small, "3 x 4"), (b"hello", "run-length"), (png[:40], "damaged"), (b"\xff", "neither")):
        refused = client.post(base, content=wrong)
        assert refused.status_code == 400
        assert words in refused.json()["error"]


def test_refusals_and_limits_are_told(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    refused = client.post("/api/readings", content=b"<script>alert(1)</script>", headers={"X-File-Name": "x.dcm"})
    assert refused.json() == {"accepted": False, "image_id": "", "kind": "not_dicom", "reason": "no DICOM file"}
    monkeypatch.setattr(app, "MAX_BYTES", 1000)
    assert client.post("/api/readings", content=b"x" * 1001).status_code == 413
    assert client.get("/api/readings/99/mask").status_code == 400


def test_the_last_readings_are_held_and_older_ones_forgotten(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held, "LAST", 2)
    png = cv2.imencode(".png", ramp(40, 40))[1].tobytes()
    numbers = [
        client.post("/api/readings", content=png, headers={"X-File-Name": name}).json()["number"] for name in "abc"
    ]
    codes = [client.get(f"/api/readings/{number}/mask").status_code for number in numbers]
    assert codes == [400, 200, 200]


def test_only_this_machine_and_this_page_may_ask(client: TestClient):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.post("/api/readings", content=DICOM, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/", headers={"Origin": "http://127.0.0.1:5050"}).status_code == 200
    for path in ("/", "/page.js", "/page.css", "/api/model", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_the_page_names_no_other_host_and_makes_no_html_of_text():
    for path in STATIC.iterdir():
        assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", path.read_text()), path
    assert "innerHTML" not in (STATIC / "page.js").read_text()
