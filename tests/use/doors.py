"""Every door of the model in use, asked for the same files: answers by file, as JSON values, and the mask's PNG."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import quote

import pandas as pd
from starlette.testclient import TestClient

import pneumoseg
from pneumoseg import track
from pneumoseg.commands.cli import main
from pneumoseg.use.acceptance import id_of_name
from pneumoseg.use.answer_rows import COLUMNS
from pneumoseg.use.answers import Reading
from pneumoseg.use.page.app import make_app
from pneumoseg.use.results import RESULTS


class Told(NamedTuple):
    answer: dict[str, Any]
    mask: bytes | None


def shell(bundle: Path, files: Sequence[Path], out: Path, *more: str) -> tuple[dict[str, Told], str]:
    """``pneumoseg predict``; also all that it said."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger("pneumoseg").addHandler(handler)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["predict", *map(str, files), "-o", str(out), "--model", str(bundle), "--device", "cpu", *more])
    logging.getLogger("pneumoseg").removeHandler(handler)
    rows = json.loads((out / "run.json").read_text())["images"]
    read = sum(row["accepted"] for row in rows)
    assert code == (0 if read == len(rows) else 3 if read else 1)
    told = {}
    for row in rows:
        folder = out / (row["image_id"] or "none")
        written = json.loads((folder / "reading.json").read_text()) if row["accepted"] else row
        mask = folder / "mask.png"
        told[row["file"]] = Told(written, mask.read_bytes() if row["accepted"] and mask.is_file() else None)
        assert {key: row[key] for key in written} == written
    return told, said.getvalue()


def python(bundle: Path, files: Sequence[Path]) -> dict[str, Told]:
    """``pneumoseg.load(…).read(…)``."""
    reader = pneumoseg.load(bundle, "cpu")
    told = {}
    for path in files:
        answer = reader.read(path)
        has_mask = isinstance(answer, Reading) and answer.mask is not None
        told[path.name] = Told(answer.to_json(), RESULTS["mask"].content(answer, b"") if has_mask else None)
    return told


def rows(bundle: Path, files: Sequence[Path], folder: Path) -> dict[str, Told]:
    """The MLflow model, saved and loaded."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # MLflow's, of its own types and examples
        import mlflow

        from pneumoseg.track.model_packaging import QUIET, signature

        with mock.patch.object(logging.getLogger(QUIET[1]), "level", logging.ERROR):
            mlflow.pyfunc.save_model(
                str(folder),
                python_model=str(Path(track.__file__).with_name("served_model.py")),
                artifacts={"bundle": str(bundle)},
                pip_requirements=[],
                signature=signature(),
                model_config={"device": "cpu"},
            )
            model = mlflow.pyfunc.load_model(str(folder))
    content = {"image": [path.read_bytes() for path in files], "image_id": [id_of_name(path.name) for path in files]}
    answers = model.predict(pd.DataFrame(content))
    assert list(answers.columns) == list(COLUMNS)
    told = {}
    for path, row in zip(files, answers.to_dict("records"), strict=True):
        mask = row.pop("mask_png")
        row.pop("rle")
        told[path.name] = Told({key: value for key, value in row.items() if value is not None}, mask)
    return told


def page(bundle: Path, files: Sequence[Path]) -> dict[str, Told]:
    """The server of ``pneumoseg page``."""
    told = {}
    with TestClient(make_app(pneumoseg.load(bundle, "cpu")), base_url="http://127.0.0.1:5050") as client:
        for path in files:
            name = {"X-File-Name": quote(path.name)}
            answer = client.post("/api/readings", content=path.read_bytes(), headers=name).json()
            has_mask = "mask" in answer.get("results", ())
            mask = client.get(f"/api/readings/{answer['number']}/mask").content if has_mask else None
            told[path.name] = Told(answer, mask)
    return told


def same(first: Mapping[str, Told], second: Mapping[str, Told]) -> None:
    """Each file has the same answer: every figure that the first door gives, and every byte of the mask."""
    assert first.keys() == second.keys()
    for name, told in first.items():
        wanted = {key: value for key, value in told.answer.items() if key not in ("file", "stamp")}
        given = {key: second[name].answer.get(key) for key in wanted}
        assert given == wanted, name
        assert second[name].mask == told.mask, name
