"""Files that are damaged, too large, or made to do harm: every door refuses them alike, and nothing of them is done."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate
from starlette.testclient import TestClient

from pneumoseg.radiographs.parsing import quiet
from pneumoseg.use.page.app import make_app
from pneumoseg.use.reader import Reader
from tests.radiographs.dicom_files import dataset, save
from tests.use import doors
from tests.use.conftest import NETWORK, encoded, write_bundle

IMAGE = cv2.imread(str(NETWORK.parent / "image.png"), cv2.IMREAD_UNCHANGED)
PNG, JPG = (cv2.imencode(suffix, IMAGE)[1].tobytes() for suffix in (".png", ".jpg"))
SIDE = 60_000
SCRIPT = "<script>alert(1)</script>"
#: In the file, and nowhere in what is said of it.
SECRETS = {
    "PatientName": "Roe^Jane",
    "PatientID": "SECRET-77",
    "PatientBirthDate": "19610203",
    "StudyDate": "19990131",
    "SeriesDate": "19990132",
    "AccessionNumber": "ACC-4711",
    "StudyID": "STUDY-9",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Quincy^M",
    "StudyDescription": "for Mrs Roe",
    "StudyInstanceUID": "1.2.840.99.1",
    "SeriesInstanceUID": "1.2.840.99.2",
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection to anywhere but between processes of this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX, address
        connect(self, address)

    def refused(*arguments: object, **_: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def wide_png() -> bytes:
    """Its header alone is large."""
    header = b"IHDR" + struct.pack(">II", SIDE, SIDE) + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def wide_jpg() -> bytes:
    place = JPG.index(b"\xff\xc0") + 5
    return JPG[:place] + struct.pack(">HH", SIDE, SIDE) + JPG[place + 4 :]


def wide_frame(folder: Path) -> bytes:
    """A header that lies, over a stream that is large."""
    made = dataset(IMAGE, "1.2.77")
    made.PixelData = encapsulate([wide_jpg()])
    made["PixelData"].VR = "OB"
    path = save(folder / "wide frame", made, uid.JPEGBaseline8Bit)
    content = path.read_bytes()
    path.unlink()
    return content


def archive(folder: Path, names: dict[str, bytes]) -> bytes:
    path = folder / "made.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in names.items():
            file.writestr(name, content)
    content = path.read_bytes()
    path.unlink()
    return content


def write_hostile(folder: Path) -> dict[str, str]:
    """Files by name, and the kind of their refusal; empty: answered."""
    folder.mkdir()
    bomb = archive(folder, {"bomb.dcm": b"\0" * 3_000_000})
    above = archive(folder, {"../../evil.dcm": encoded(dataset(IMAGE, "6.6.6"))})
    files = {
        "wide.png": (wide_png(), "too_large"),
        "wide.jpg": (wide_jpg(), "too_large"),
        "wide.dcm": (encoded(dataset(IMAGE, "1.2.70", Rows=SIDE, Columns=SIDE)), "too_large"),
        "wide frame.dcm": (wide_frame(folder), "pixel_data"),
        "script in the id.dcm": (encoded(dataset(IMAGE, "1.2.72")).replace(b"1.2.72", b"<b>1.2"), "image_id"),
        "script.dcm": (encoded(dataset(IMAGE, "1.2.71", PatientName=SCRIPT, StudyDescription=SCRIPT)), ""),
        f"{SCRIPT.replace('/', '|')}.png": (PNG, ""),
        "..png": (cv2.imencode(".png", IMAGE[::-1])[1].tobytes(), ""),
        "text.dcm": (SCRIPT.encode(), "not_dicom"),
        "bomb.dcm": (bomb, "not_dicom"),
        "above.dcm": (above, "not_dicom"),
        "named.dcm": (encoded(dataset(IMAGE, "1.2.73", **SECRETS)), ""),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {name: kind for name, (_, kind) in files.items()}


def everything_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        yield path.relative_to(folder).as_posix(), path.read_bytes() if path.is_file() else b""


def nowhere(secrets: list[str], out: Path, said: str, *told: dict[str, doors.Told]) -> None:
    """No secret in a name, a file, what was said, or an answer."""
    texts = [said, json.dumps([[one.answer for one in door.values()] for door in told])]
    for name, content in everything_below(out):
        found = [secret for secret in secrets if secret in name or secret.encode() in content]
        assert found == [], name
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_every_door_refuses_them_alike_and_does_nothing_of_what_they_say(tmp_path: Path):
    bundle = write_bundle(tmp_path / "bundle")
    expected = write_hostile(tmp_path / "files")
    files = [tmp_path / "files" / name for name in expected]
    before = sorted(tmp_path.rglob("*"))
    told, said = doors.shell(bundle, files, tmp_path / "out", "--workers", "1", "--write", "mask,overlay,json,rle,map")
    assert {name: one.answer.get("kind", "") for name, one in told.items()} == expected
    python = doors.python(bundle, files)
    page = doors.page(bundle, files)
    doors.same(python, told)
    doors.same(python, page)
    doors.same(python, doors.rows(bundle, files, tmp_path / "out of the way"))
    shutil.rmtree(tmp_path / "out of the way")
    assert sorted(path for path in tmp_path.rglob("*") if tmp_path / "out" not in (path, *path.parents)) == before
    folders = {path.name for path in (tmp_path / "out").iterdir()}
    answered = {one.answer["image_id"] for one in told.values() if one.answer["accepted"]}
    assert folders == answered | {"run.json"}
    nowhere([*SECRETS.values(), "Roe", "Quincy"], tmp_path / "out", said, python, page)


def test_a_true_mask_that_is_a_bomb_is_refused_before_it_is_decoded(reader: Reader):
    with TestClient(make_app(reader), base_url="http://127.0.0.1") as client:
        number = client.post("/api/readings", content=PNG).json()["number"]
        answer = client.post(f"/api/readings/{number}/truth", content=wide_png())
    assert answer.status_code == 400
    assert "it has more of them" in answer.json()["error"]


def personal_values(path: Path) -> list[str]:
    """Names, ids and dates of a DICOM file that are long enough not to stand somewhere by chance."""
    with quiet():
        header = dcmread(path, stop_before_pixels=True, force=True)
    found = []
    for element in header.iterall():
        value = str(element.value)
        names = element.VR == "PN" or element.keyword in ("PatientID", "AccessionNumber", "StudyID", "InstitutionName")
        dates = element.VR in ("DA", "DT") or element.keyword.endswith("Time")
        other = element.VR == "UI" and element.keyword.endswith("InstanceUID") and element.keyword != "SOPInstanceUID"
        if (names or dates or other) and len(value) >= 6:
            found += [value, *(part for part in value.split("^") if len(part) >= 4)]
    return found


def shell_by_turns(
    bundle: Path, files: Sequence[Path], ids: Sequence[str], out: Path
) -> tuple[dict[str, doors.Told], str]:
    """Files of one id, of which a run answers the first, in as many runs."""
    turns = [ids[:place].count(one) if one else 0 for place, one in enumerate(ids)]
    told, said = {}, ""
    for turn in range(max(turns) + 1):
        given = [path for path, its in zip(files, turns, strict=True) if its == turn]
        answers, words = doors.shell(bundle, given, out / str(turn), "--workers", "0")
        told |= answers
        said += words
    return {path.name: told[path.name] for path in files}, said


@pytest.mark.long
@pytest.mark.real
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_all_real_and_faulty_files_through_every_door(real: Path, faults: Path, tmp_path: Path):
    bundle, folder = write_bundle(tmp_path / "bundle"), tmp_path / "files"
    folder.mkdir()
    found = [
        *sorted((real / "odd-dicom").iterdir()),
        *(path for path in sorted(faults.rglob("*")) if path.is_file()),
        *sorted((real / "siim-sample").rglob("*.dcm")),
    ]
    assert len(found) > 60
    files = [Path(shutil.copy(path, folder / f"{number:04d}{path.suffix}")) for number, path in enumerate(found)]
    python = doors.python(bundle, files)
    ids = [python[path.name].answer["image_id"] for path in files]
    told, said = shell_by_turns(bundle, files, ids, tmp_path / "out")
    rows = doors.rows(bundle, files, tmp_path / "model")
    page = doors.page(bundle, files)
    doors.same(python, told)
    doors.same(python, rows)
    doors.same(python, page)
    assert all(one.answer["reason"] for one in told.values() if not one.answer["accepted"])
    siim = [python[path.name] for path, source in zip(files, found, strict=True) if "siim-sample" in source.parts]
    assert (len(siim), sum(one.answer["accepted"] for one in siim)) == (35, 35)
    kinds = {path.name: python[copy.name].answer.get("kind") for path, copy in zip(found, files, strict=True)}
    assert kinds["modality_ct.dcm"] == "modality"
    assert kinds["half_dcm_suffix.csv"] == kinds["README.md"] == "not_dicom"
    everything = {value for path in found if path.suffix != ".npy" for value in personal_values(path)}
    secrets = {value for value in everything if value not in " ".join(ids)}  # some makers put a date into the UID
    assert len(secrets) > 50
    nowhere(sorted(secrets), tmp_path / "out", said, python, page)
