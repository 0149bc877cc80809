"""Files, folders and archives through the reader: what is taken, what is kept, what is never done."""

from __future__ import annotations

import csv
import json
import stat
import zipfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from pneumoseg.shared import rle
from pneumoseg.shared.errors import DataError
from pneumoseg.use import reading_files
from pneumoseg.use.bundle import Bundle
from pneumoseg.use.intake import find_inputs
from pneumoseg.use.reading_files import Job, read_files
from pneumoseg.use.results import RESULTS
from tests.radiographs.dicom_files import dataset, ramp
from tests.use.conftest import encoded

ALL = tuple(RESULTS)


def write_radiographs(folder: Path) -> Path:
    """Two that are answered and two that are refused."""
    (folder / "deep").mkdir(parents=True)
    (folder / "one.dcm").write_bytes(encoded(dataset(ramp(), "1.2.1")))
    cv2.imwrite(str(folder / "deep/two.png"), ramp(40, 40))
    (folder / "lateral.dcm").write_bytes(encoded(dataset(ramp(), "1.2.2", ViewPosition="LL")))
    (folder / "text.dcm").write_text("no radiograph")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "._one.dcm").write_text("not looked at either")
    return folder


def job(out: Path, **changes: object) -> Job:
    return Job(out, **{"results": ALL, "workers": 0, **changes})  # type: ignore[arg-type]


def test_a_folder_is_answered_image_by_image(bundle_folder: Path, tmp_path: Path):
    bundle = Bundle.read(bundle_folder)
    inputs = find_inputs([write_radiographs(tmp_path / "in")])
    assert [item.name for item in inputs] == ["deep/two.png", "lateral.dcm", "one.dcm", "text.dcm"]
    out, table = tmp_path / "out", tmp_path / "table.csv"
    assert read_files(inputs, bundle, "cpu", job(out, csv=table)) == 3
    run = json.loads((out / "run.json").read_text())
    assert (run["read"], run["refused"], run["model"]) == (2, {"not_dicom": 1, "view": 1}, bundle.about.id)
    assert sorted(path.name for path in out.iterdir()) == ["1.2.1", "run.json", "two"]
    assert sorted(path.name for path in (out / "two").iterdir()) == [
        "map.png",
        "mask.png",
        "mask.rle",
        "overlay.png",
        "reading.json",
    ]
    mask = cv2.imread(str(out / "two/mask.png"), cv2.IMREAD_UNCHANGED) > 0
    code = (out / "two/mask.rle").read_text().strip()
    assert np.array_equal(rle.decode(code, *mask.shape), mask)
    with table.open() as file:
        rows = {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}
    assert rows["two"] == code
    assert len(rows) == 2


def test_exit_codes(bundle_folder: Path, tmp_path: Path):
    bundle, folder = Bundle.read(bundle_folder), write_radiographs(tmp_path / "in")
    assert read_files(find_inputs([folder / "one.dcm"]), bundle, "cpu", job(tmp_path / "a")) == 0
    assert read_files(find_inputs([folder / "text.dcm"]), bundle, "cpu", job(tmp_path / "b")) == 1


def test_a_killed_run_goes_on_and_a_changed_file_is_read_again(bundle_folder: Path, tmp_path: Path):
    bundle, folder, out = Bundle.read(bundle_folder), tmp_path / "in", tmp_path / "out"
    inputs = find_inputs([write_radiographs(folder)])
    settle = reading_files._settle
    calls = []

    def settle_or_die(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return settle(*arguments)  # type: ignore[arg-type]

    with mock.patch.object(reading_files, "_settle", settle_or_die), pytest.raises(KeyboardInterrupt):
        read_files(inputs, bundle, "cpu", job(out))
    with mock.patch.object(reading_files, "_settle", side_effect=settle) as again:
        read_files(inputs, bundle, "cpu", job(out))
    assert again.call_count == 3
    for changed, expected in ((None, 2), ("one.dcm", 3)):  # refused ones are tried again
        if changed:
            (folder / changed).write_bytes(encoded(dataset(ramp(64, 64), "1.2.1")))
        with mock.patch.object(reading_files, "_settle", side_effect=settle) as again:
            read_files(find_inputs([folder]), bundle, "cpu", job(out))
        assert again.call_count == expected
    mask = cv2.imread(str(out / "1.2.1/mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (64, 64)


def test_two_files_of_one_id_are_told(bundle_folder: Path, tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / name / "same.png"), ramp(40, 40))
    inputs = find_inputs([tmp_path / "in"])
    assert read_files(inputs, Bundle.read(bundle_folder), "cpu", job(tmp_path / "out")) == 3
    assert json.loads((tmp_path / "out/run.json").read_text())["refused"] == {"duplicate": 1}


def test_files_of_one_name_from_two_folders_are_told_apart_and_both_read_after_a_stop(
    bundle_folder: Path, tmp_path: Path
):
    given = [tmp_path / "a/x.dcm", tmp_path / "b/x.dcm"]
    for number, path in enumerate(given):
        path.parent.mkdir()
        path.write_bytes(encoded(dataset(ramp(), f"1.2.{number}")))
    for inputs in (find_inputs(given), find_inputs([path.parent for path in given])):
        assert [item.name for item in inputs] == [path.as_posix() for path in given]
    bundle, out = Bundle.read(bundle_folder), tmp_path / "out"
    assert read_files(inputs[:1], bundle, "cpu", job(out)) == 0
    assert read_files(inputs, bundle, "cpu", job(out)) == 0
    assert {path.name for path in out.iterdir()} == {"1.2.0", "1.2.1", "run.json"}


def test_an_archive_is_read_without_unpacking_it(bundle_folder: Path, tmp_path: Path):
    folder = write_radiographs(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    inputs = find_inputs([tmp_path / "all.zip"])
    assert [item.name for item in inputs] == [
        "all.zip/deep/two.png",
        "all.zip/lateral.dcm",
        "all.zip/one.dcm",
        "all.zip/text.dcm",
    ]
    assert read_files(inputs, Bundle.read(bundle_folder), "cpu", job(tmp_path / "out")) == 3


def archive_of(path: Path, name: str, content: bytes, link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o644) << 16
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "link", "words"),
    [
        ("../../evil.dcm", b"x", False, "leads out of the archive"),
        ("/etc/evil.dcm", b"x", False, "leads out of the archive"),
        ("..\\evil.dcm", b"x", False, "leads out of the archive"),
        ("link.dcm", b"/etc/passwd", True, "leads out of the archive"),
        ("bomb.dcm", b"\0" * 3_000_000, False, "times its size"),
    ],
    ids=["above", "absolute", "backslash", "link", "bomb"],
)
def test_an_unsafe_archive_is_refused_whole(tmp_path: Path, name: str, content: bytes, link: bool, words: str):
    path = archive_of(tmp_path / "bad.zip", name, content, link)
    with pytest.raises(DataError, match=words):
        find_inputs([path])
    assert [file.name for file in tmp_path.rglob("*")] == ["bad.zip"]


def test_what_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nothing\.dcm: no such file"):
        find_inputs([tmp_path / "nothing.dcm"])
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut off")
    assert find_inputs([tmp_path / "broken.zip"])[0].name == "broken.zip"  # read, and refused with the reason
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no radiograph in"):
        find_inputs([empty])
