"""The logged model, loaded in a fresh process as anyone else would."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.networks.family import Answer
from pneumoseg.shared.layout import Layout
from pneumoseg.track import record_test
from pneumoseg.track.model_packaging import DISTRIBUTIONS, requirements, signature
from pneumoseg.track.store import open_store
from tests.track.tracking_files import REPO, edit_params, make_project, make_repository

LOAD = """
import ast, json, sys, numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
images = np.load("images.npy")
maps = model.predict(images)
np.save("maps.npy", maps)
import pneumoseg.predict.predictor
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("pneumoseg")]
imports = {"mlflow"}
for path in ours:
    with open(path) as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    imports |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
print(json.dumps({"code": pneumoseg.predict.predictor.__file__, "modules": sorted(imports)}))
try:
    model.predict(images.astype(np.float64))
except mlflow.exceptions.MlflowException as error:
    print(json.dumps(str(error)))
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


@pytest.mark.parametrize(("maps", "shape"), [(True, [-1, -1, -1]), (False, [-1])])
def test_the_signature_leaves_number_and_size_of_images_open(maps: bool, shape: list[int]) -> None:
    found = signature(maps=maps).to_dict()
    assert json.loads(found["inputs"])[0]["tensor-spec"] == {"dtype": "uint8", "shape": [-1, -1, -1]}
    assert json.loads(found["outputs"])[0]["tensor-spec"] == {"dtype": "float32", "shape": shape}


@pytest.mark.filterwarnings("ignore:(?s).*Any type hint:UserWarning")  # of MLflow's own types
@pytest.mark.parametrize("gives_map", [True, False])
def test_the_served_model_answers_with_maps_or_probabilities_in_batches(gives_map: bool) -> None:
    from pneumoseg.track import served_model

    class Sees:
        """Every pixel of a map, and the image, as probable as the image is bright."""

        def __init__(self) -> None:
            self.gives_map, self.batches = gives_map, []  # type: ignore[var-annotated]

        def __call__(self, images: list[np.ndarray]) -> list[Answer]:
            self.batches.append(len(images))
            shares = [float(image.mean()) / 255 for image in images]
            return [Answer(share, np.full((4, 6), share, np.float32) if gives_map else None) for share in shares]

    model = served_model.PneumothoraxModel()
    model._predictor = Sees()
    images = np.stack([np.full((4, 6), level, np.uint8) for level in range(0, 250, 25)])
    answers = model.predict(None, images)
    expected = np.arange(10, dtype=np.float32) * 25 / 255
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, images / np.float32(255) if gives_map else expected, rtol=1e-6)
    assert model._predictor.batches == [8, 2]
    assert model.predict(None, images[:0]).shape == ((0, 4, 6) if gives_map else (0,))


@pytest.mark.long
def test_a_fresh_process_loads_and_predicts(tmp_path: Path) -> None:
    import torch

    from pneumoseg.networks.building import build_network
    from pneumoseg.networks.storage import save_model
    from pneumoseg.predict.predictor import Predictor

    make_repository(tmp_path)
    make_project(tmp_path)
    params = edit_params(tmp_path, tracking={"log_model": True})
    shutil.rmtree(tmp_path / "src")
    shutil.copytree(REPO / "src/pneumoseg", tmp_path / "src/pneumoseg", ignore=shutil.ignore_patterns("__pycache__"))
    torch.manual_seed(0)
    folder = tmp_path / "data/models/fold0"
    save_model(folder, build_network(params.model), params.model, 64)
    record_test(Layout(tmp_path), params)
    record_test(Layout(tmp_path), params)  # the same weights again: no second model

    store = open_store(tmp_path, params.tracking)
    (row,) = store.search("tags.config_key LIKE '%'")
    models = store.client.search_logged_models([store.experiment_id])
    assert len(models) == 1
    assert models[0].source_run_id == row.info.run_id
    assert row.info.status == "FINISHED"
    assert "MLFLOW_TRACKING_URI" not in os.environ

    images = np.random.default_rng(0).integers(0, 256, (3, 96, 80), np.uint8)
    np.save(tmp_path / "images.npy", images)
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", LOAD, store.uri, f"models:/{models[0].model_id}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told, refusal = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    maps = np.load(tmp_path / "maps.npy")
    assert maps.dtype == np.float32
    expected = np.stack([answer.map for answer in Predictor.load([folder])(list(images))])
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert "/artifacts/code/pneumoseg/" in told["code"]  # the code that was logged, not the one installed here
    assert "uint8" in refusal
    owners = importlib.metadata.packages_distributions()
    used = {canonical(name) for module in told["modules"] for name in owners.get(module, [])}
    assert {"torch", "segmentation-models-pytorch", "safetensors"} <= used
    assert used - closure(DISTRIBUTIONS) == {"pneumoseg"}
    model = (tmp_path / "mlartifacts").glob("models/*/artifacts/MLmodel")
    assert "mask_threshold: 0.375" in next(model).read_text()
