"""A small project as the tracking tests need it: parameters, pipeline, tables and metrics, made by hand."""

import contextlib
import functools
import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from ruamel.yaml import YAML

from pneumoseg.config import Params, load_params
from pneumoseg.evaluate.measuring import TEST_CASES
from pneumoseg.rule.decision import DecisionRule

REPO = Path(__file__).resolve().parents[2]

DVC_YAML = """
stages:
  extract:
    cmd: python stages/make.py extract
    deps: [stages/make.py, src/pneumoseg/stage.py]
    params: [data.root, extract]
    outs: [data/images, data/metadata.csv]
    metrics: [{metrics/extract.json: {cache: false}}]
  masks:
    cmd: python stages/make.py masks
    deps: [stages/make.py, data/metadata.csv]
    params: [data.annotations, masks]
    outs: [data/annotations.csv]
  split:
    cmd: python stages/make.py split
    deps: [stages/make.py, data/metadata.csv, data/annotations.csv]
    params: [augment, split]
    outs: [data/splits]
  train:
    matrix: {fold: "${split.train_folds}"}
    cmd: python stages/make.py train ${item.fold}
    deps:
      - stages/make.py
      - src/pneumoseg/networks
      - data/images
      - data/splits/folds.csv
      - data/splits/train_fold${item.fold}.csv
    params: [augment, model, train]
    outs: ["data/models/fold${item.fold}"]
    metrics: [{"metrics/train/fold${item.fold}.json": {cache: false}}]
    plots: [{"metrics/train/fold${item.fold}.csv": {cache: false}}]
  predict:
    cmd: python stages/make.py predict
    deps: [stages/make.py, data/models, data/splits/folds.csv]
    params: [predict, split.train_folds]
    outs: [data/predictions]
  tune:
    cmd: python stages/make.py tune
    deps: [stages/make.py, data/predictions]
    params: [tune]
    metrics: [{metrics/thresholds.json: {cache: false}}]
  evaluate:
    cmd: python stages/make.py evaluate
    deps: [stages/make.py, src/pneumoseg/__init__.py, data/predictions, metrics/thresholds.json]
    params: [evaluate]
    outs: [data/submission.csv, {metrics/plots: {cache: false}}, {metrics/test_cases.csv: {cache: false}}]
    metrics: [{metrics/test.json: {cache: false}}]
  report:
    cmd: python stages/make.py report
    deps: [stages/make.py, metrics/test.json]
    params: [report]
    outs: [data/report]
  bundle:
    cmd: python stages/make.py bundle
    deps: [stages/make.py, data/models, metrics/test.json]
    params: [bundle]
    outs: [data/bundle]
"""

# What the stages would leave; "weights" depend on the parameters, so that another configuration is another output.
MAKE = """
import hashlib, json, pathlib, sys

def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

stage = sys.argv[1]
digest = hashlib.sha256(pathlib.Path("params.yaml").read_bytes()).hexdigest()
if stage == "extract":
    write("data/images/a.png", "picture")
    write("data/metadata.csv", "image_id,phantom\\na,1\\nb,1\\n")
    write("metrics/extract.json", "{}\\n")
if stage == "masks":
    write("data/annotations.csv", "image_id,annotated\\na,1\\nb,1\\n")
if stage == "split":
    write("data/splits/folds.csv", "image_id,patient,fold\\na,p,0\\nb,q,test\\n")
    for fold in range(4):
        write(f"data/splits/train_fold{fold}.csv", "image_id\\n")
if stage == "train":
    fold = sys.argv[2]
    write(f"data/models/fold{fold}/weights.safetensors", digest)
    write(f"data/models/fold{fold}/run.json", json.dumps(
        {"fold": int(fold), "train_key": digest[:24] + fold, "data": "d"}))
    write(f"metrics/train/fold{fold}.csv", "epoch,phase,train_loss,val_dice_pos\\n1,only,0.9,\\n2,only,0.5,0.25\\n")
    write(f"metrics/train/fold{fold}.json", json.dumps(
        {"best_epoch": 2, "val_dice_pos": 0.25, "selection_metric": "x"}))
if stage == "predict":
    write("data/predictions/images.csv", digest)
if stage == "tune":
    write("metrics/thresholds.json", json.dumps({"rule": RULE}))
if stage == "evaluate":
    write("metrics/test.json", TEST)
    write("metrics/test_cases.csv", CASES)
    write("metrics/plots/roc.csv", "x,y\\n0,1\\n")
    write("data/submission.csv", "ImageId,EncodedPixels\\n")
if stage == "report":
    write("data/report/index.html", "<p>phantom data</p>")
if stage == "bundle":
    write("data/bundle/bundle.json", json.dumps(BUNDLE))
"""


RULE = DecisionRule("single", 0.375)
#: A bundle that can be read, though it holds no network.
BUNDLE = {
    **dict.fromkeys(("id", "architecture", "encoder", "intended_use", "data", "code"), "x"),
    **{"format": 1, "phantom": True, "groups": [], "view_positions": ["PA"], "files": {}},
    **{"extract": {}, "predict": {}, "rule": RULE.to_json()},
}
CASES = "".join(
    f"{','.join(row)}\n" for row in (TEST_CASES, *([f"b{index}", "q", "1", "1", *["1"] * 22] for index in range(16)))
)


def figures(dice_all: float, **more: object) -> str:
    """The text of a metrics/test.json with few figures."""
    margin = {"difference": None, "interval": [None, None], "verdict": "unknown"}
    group = {"by": "lesion_size", "n": 8, "positives": 8, "patients": 5}
    figures = {
        "dice_all": dice_all,
        "dice_pos": 0.5,
        "auc": None,
        "n": 16,
        "beats_all_empty": margin,
        "beats_plain_05": margin,
        "plain_05": {},
        "subgroups": [{**group, "group": "small", "dice_pos": None}, {**group, "group": "large", "dice_pos": 0.75}],
        "notes": [{"code": "phantom", "text": "phantom data"}, {"code": "no_map", "text": "no map: no Dice"}],
    }
    return json.dumps(figures | more)


def make_project(root: Path, *, outputs: bool = True) -> Params:
    """Write the project; with ``outputs`` also what its stages would leave, for one trained fold."""
    files, params = _project(outputs)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return params


@functools.cache
def _project(outputs: bool) -> tuple[dict[Path, bytes], Params]:
    """The files of the project and its parameters, made once."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(REPO / "params.yaml", root / "params.yaml")
        params = edit_params(root, split={"folds": 4, "train_folds": [0]}, tracking={"uri": None, "log_model": False})
        code = {name: f"# {name}\n" for name in ("stage.py", "__init__.py", "networks/__init__.py", "networks/unet.py")}
        made = f"TEST = {figures(0.8125)!r}\nRULE = {RULE.to_json()!r}\nCASES = {CASES!r}\nBUNDLE = {BUNDLE!r}\n{MAKE}"
        texts = {"dvc.yaml": DVC_YAML, "stages/make.py": made}
        for name, text in (texts | {f"src/pneumoseg/{name}": text for name, text in code.items()}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        if outputs:
            write_outputs(root)
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}, params


@functools.cache
def _database() -> bytes:
    from pneumoseg.track.database import make_database

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        make_database(f"sqlite:///{path}")
        return path.read_bytes()


def make_repository(root: Path) -> None:
    """Make ``root`` a repository with an MLflow database (making one takes seconds) that holds no experiment."""
    (root / ".dvc").mkdir()
    (root / "mlflow.db").write_bytes(_database())


def edit_params(root: Path, **sections: dict[str, object]) -> Params:
    """Change values of params.yaml, keeping comments as DVC does."""
    yaml = YAML()
    path = root / "params.yaml"
    content = yaml.load(path)
    for name, values in sections.items():
        content[name].update(values)
    yaml.dump(content, path)
    return load_params(path)


def write_outputs(root: Path) -> None:
    """What the stages leave, without running DVC."""
    for arguments in ("extract", "masks", "split", "train 0", "predict", "tune", "evaluate", "report"):
        with contextlib.chdir(root), mock.patch.object(sys, "argv", ["make.py", *arguments.split()]):
            runpy.run_path("stages/make.py")


def train_key_of(root: Path, fold: int = 0) -> str:
    """The key that the fold's run.json holds."""
    return str(json.loads((root / f"data/models/fold{fold}/run.json").read_text())["train_key"])
