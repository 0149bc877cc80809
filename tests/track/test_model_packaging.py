"""The logged model: loaded in a fresh process and served as anyone else would, registered, promoted, and read by."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from pneumoseg.track.model_packaging import DISTRIBUTIONS, logged_bundles, requirements, signature
from pneumoseg.track.store import open_store
from pneumoseg.use.answers import Reading
from pneumoseg.use.bundle import Bundle
from pneumoseg.use.reader import Reader
from tests.conftest import MakeOnce
from tests.track.logged_model import make_logged
from tests.use.test_answer_rows import DICOM, PNG

LOAD = """
import ast, json, sys, mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
content = open("radiograph.dcm", "rb").read()
(answer,) = model.predict(pandas.DataFrame({"image": [content]})).to_dict("records")
answer["mask_png"] = answer["mask_png"].hex()
import pneumoseg.use.reader
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("pneumoseg")]
imports = {"mlflow"}
for path in ours:
    with open(path) as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    imports |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
print(json.dumps({"code": pneumoseg.use.reader.__file__, "modules": sorted(imports), "answer": answer}))
"""


def closure(names: tuple[str, ...]) -> set[str]:
    """Distributions with everything they require, by normalised name."""
    found: set[str] = set()
    waiting = [canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [canonical(re.split(r"[^\w.-]", line)[0]) for line in required if "extra ==" not in line]
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_requirements_are_exact_versions_without_a_build() -> None:
    assert len(requirements()) == len(DISTRIBUTIONS)
    assert all(re.fullmatch(r"[\w.-]+==\d[\w.]*", line) for line in requirements())


def test_the_signature_takes_bytes_and_an_id_that_need_not_be() -> None:
    given = json.loads(signature().to_dict()["inputs"])
    assert [(item["name"], item["type"], item["required"]) for item in given] == [
        ("image", "binary", True), ("image_id", "string", False),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def logged(make_once: MakeOnce) -> Path:
    """A repository whose row has a model with the code of this one; only to read."""

    return make_once("logged model", make_logged)


def model_uri(root: Path) -> tuple[str, str]:
    from pneumoseg.config import load_params

    store = open_store(root, load_params(root / "params.yaml").tracking)
    (row,) = store.search("tags.config_key LIKE '%'")
    (model,) = logged_bundles(store, row)
    assert store.client.get_logged_model(model).name == row.info.run_name
    assert row.data.metrics["dice_all"] == 0.8125  # a row that a bundle makes gets its evaluation too
    return store.uri, f"models:/{model}"


def wanted(root: Path) -> Reading:
    answer = Reader(Bundle.read(root / "data/bundle"), "cpu").read(DICOM)
    assert isinstance(answer, Reading)
    return answer


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.long
def test_a_fresh_process_loads_it_with_the_code_that_was_logged_and_what_it_says_it_requires(
    logged: Path, tmp_path: Path
) -> None:
    assert "MLFLOW_TRACKING_URI" not in os.environ
    shutil.copy(logged / "radiograph.dcm", tmp_path)
    command = [sys.executable, "-c", LOAD, *model_uri(logged)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    answer = wanted(logged)
    assert {key: told["answer"][key] for key in answer.to_json()} == answer.to_json()
    assert "/artifacts/code/pneumoseg/" in told["code"]  # not the one installed here
    owners = importlib.metadata.packages_distributions()
    used = {canonical(name) for module in told["modules"] for name in owners.get(module, [])}
    assert {"torch", "segmentation-models-pytorch", "safetensors", "pydicom"} <= used
    # The C parser is taken where it is there, and not asked for.
    assert used - closure(DISTRIBUTIONS) - {"ruamel-yaml-clib"} == {"pneumoseg"}


@contextlib.contextmanager
def served(uri: str, model: str, log: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "-p", str(port), "-h", "127.0.0.1"]
    command += ["--env-manager", "local"]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, env=environment() | {"MLFLOW_TRACKING_URI": uri}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def post(port: int, content: bytes, kind: str) -> tuple[int, bytes]:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/invocations", content, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, response.read()


def ask(port: int, content: dict[str, Any]) -> list[dict[str, Any]]:
    status, told = post(port, json.dumps(content).encode(), "application/json")
    assert status == 200, told
    return list(json.loads(told)["predictions"])


@pytest.mark.long
def test_a_server_gives_the_readers_answer_in_every_form_of_request_and_refuses_a_bad_row_alone(
    logged: Path, tmp_path: Path
) -> None:
    dicom, png, junk = (base64.b64encode(content).decode() for content in (DICOM, PNG, b"no radiograph at all"))
    rows = [{"image": dicom, "image_id": ""}, {"image": junk, "image_id": ""}, {"image": png, "image_id": "mine"}]
    data = [list(row.values()) for row in rows]
    answer = wanted(logged)
    with served(*model_uri(logged), tmp_path / "log") as port:
        forms = [
            {"dataframe_split": {"columns": ["image", "image_id"], "data": data}},
            {"dataframe_records": rows},
            {"inputs": rows},
            {"inputs": {name: [row[name] for row in rows] for name in rows[0]}},
        ]
        answers = [ask(port, form) for form in forms]
        assert len(ask(port, {"dataframe_records": [{"image": png}]})) == 1
        assert post(port, DICOM, "application/dicom")[0] == 415
    for given in answers:
        assert given == answers[0]
    first, second, third = answers[0]
    assert {key: first[key] for key in answer.to_json()} == json.loads(json.dumps(answer.to_json()))
    assert base64.decodebytes(first["mask_png"].encode()).startswith(b"\x89PNG")
    assert (second["accepted"], second["kind"], second["probability"]) == (False, "not_dicom", None)
    assert (third["accepted"], third["image_id"], third["rle"]) == (True, "mine", first["rle"])
