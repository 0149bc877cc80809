"""Every line of docs/use.md that a reader may type is run as it stands; what reads radiographs reaches no network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from pneumoseg.use.bundling import write_answer
from tests.radiographs.dicom_files import dataset
from tests.track.logged_model import make_logged
from tests.track.tracking_files import REPO
from tests.use.conftest import encoded
from tests.use.test_answer_rows import IMAGE, PNG

pytestmark = pytest.mark.long

DOCUMENT = REPO / "docs/use.md"
#: Run by every Python process at its start: it ends as soon as it asks for an address outside this machine.
GUARD = """
import os, sys

def guard(event, arguments):
    asked = arguments[1] if event == "socket.connect" else arguments[0] if event == "socket.getaddrinfo" else None
    if isinstance(asked, tuple) or (event == "socket.getaddrinfo" and asked not in ("localhost", "127.0.0.1", None)):
        os.write(2, f"NETWORK {event} {asked}\\n".encode())
        os._exit(77)

if "GUARDED" in os.environ:
    sys.addaudithook(guard)
"""
SERVERS = {"pneumoseg page": "http://127.0.0.1:5050/", "mlflow models serve": "http://127.0.0.1:5001/ping"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    make_logged(root)
    write_answer(root / "data/bundle")
    ids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4"}
    (root / "radiograph.dcm").write_bytes(encoded(dataset(IMAGE, "1.2.9", **ids)))
    (root / "folder").mkdir()
    (root / "folder/one.png").write_bytes(PNG)
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        archive.write(root / "radiograph.dcm", "two/radiograph.dcm")
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    return root


def environment(root: Path) -> dict[str, str]:
    path = os.pathsep.join((str(root.parent / "guard"), str(REPO / "src")))
    return {**os.environ, "PYTHONPATH": path, "DO_NOT_TRACK": "1"}


@contextlib.contextmanager
def serving(line: str, address: str, root: Path, environment: dict[str, str]) -> Iterator[None]:
    server = subprocess.Popen(["bash", "-c", f"exec {line}"], cwd=root, env=environment, start_new_session=True)
    try:
        for _ in range(900):
            assert server.poll() is None, line
            with contextlib.suppress(OSError):
                urlopen(address, timeout=5)  # noqa: S310 - one of SERVERS
                break
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_every_line_of_shell_does_what_it_says(folder: Path):
    shutil.copytree(folder / "data/bundle", folder.parent / "elsewhere")
    text = "".join(blocks("bash")).replace("/somewhere/bundle", str(folder.parent / "elsewhere")).replace("\\\n", " ")
    lines = [line.split("  #")[0].strip() for line in text.splitlines()]
    assert len(lines) >= 9
    variables, answers = environment(folder), {}
    with contextlib.ExitStack() as servers:
        for line in lines:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                variables[name] = value
                continue
            address = next((where for command, where in SERVERS.items() if line.startswith(command)), None)
            if address:
                servers.enter_context(serving(line, address, folder, variables))
                continue
            guarded = {"GUARDED": "1"} if line.startswith("pneumoseg predict") else {}
            done = subprocess.run(
                ["bash", "-c", line], cwd=folder, env=variables | guarded, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            answers[line.split()[0] + " " + line.split()[1]] = done.stdout
    assert {path.name for path in (folder / "dicom/1.2.9").iterdir()} == {"seg.dcm", "sc.dcm"}
    written = {path.relative_to(folder / "answer").as_posix() for path in (folder / "answer").rglob("*.*")}
    assert {"run.json", "1.2.9/overlay.png", "1.2.9/mask.png", "1.2.9/reading.json"} <= written
    assert {path.name for path in (folder / "answers").iterdir()} == {"1.2.9", "one", "run.json"}
    assert (folder / "submission.csv").read_text().startswith("ImageId,EncodedPixels\n")
    reading = json.loads((folder / "answer/1.2.9/reading.json").read_text())
    (served,) = json.loads(answers["curl -s"])["predictions"]
    assert {key: served[key] for key in reading} == reading


def test_the_lines_of_python(folder: Path):
    (block,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env=environment(folder) | {"GUARDED": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the threshold" in done.stdout
    assert (folder / "overlay.png").read_bytes().startswith(b"\x89PNG")
