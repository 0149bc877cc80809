"""What 450e244 wrote, before defaults were in code: its network predicts the same, its parameters are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pneumoseg.config import Params, load_params, read_yaml
from pneumoseg.config.flat import merge
from pneumoseg.config.model import ModelParams
from pneumoseg.networks.storage import load_spec
from pneumoseg.predict.predictor import Predictor
from pneumoseg.rule.maps import grey_levels
from pneumoseg.shared.errors import PneumosegError

FILES = Path(__file__).parent / "files" / "450e244"


def test_its_network_predicts_the_same_map():
    image = cv2.imread(str(FILES / "image.png"), cv2.IMREAD_UNCHANGED)
    (answer,) = Predictor.load([FILES / "fold0"])([image])
    wanted = cv2.imread(str(FILES / "map.png"), cv2.IMREAD_UNCHANGED)
    # Maps were enlarged in floating point then, now in 65535ths: a pixel between two levels may take the other one.
    changed = grey_levels(answer.map).astype(int) - wanted
    assert np.abs(changed).max() <= 1
    assert np.count_nonzero(changed) < 0.01 * wanted.size
    assert answer.probability == pytest.approx(
        json.loads((FILES / "prediction.json").read_text())["probability"], abs=1e-5
    )


def model_without(tmp_path: Path, changed: dict[str, Any], *left_out: str) -> Path:
    shutil.copy(FILES / "fold0" / "model.json", tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    content["params"] = {key: value for key, value in content["params"].items() if key not in left_out} | changed
    (tmp_path / "model.json").write_text(json.dumps(content))
    return tmp_path


def test_a_model_description_may_lack_keys_that_came_later(tmp_path: Path):
    whole = load_spec(FILES / "fold0").params
    assert load_spec(model_without(tmp_path, {}, "aspp", "norm", "hypercolumn")).params == whole
    with pytest.raises(PneumosegError, match=r"model\.json: .*params: encodre .* did you mean encoder\?"):
        load_spec(model_without(tmp_path, {"encodre": "resnet34"}))
    assert ModelParams.read({"encoder": "resnet34"}, "model.json") == ModelParams(encoder="resnet34")


def test_its_parameters_are_read():
    # The defaults that have changed since.
    then = {
        "train": {
            "compile": False,
            "selection_metric": "dice_tuned",
            "scheduler": {"plateau": {"metric": "iou"}},
            "loss": {"dice": {"pooled": True, "images": "all"}},
        }
    }
    assert load_params(FILES / "shipped_params.yaml").written() == merge(Params().written(), then)
    assert load_params(FILES / "params.yaml").model == load_spec(FILES / "fold0").params
    assert list(read_yaml(FILES / "shipped_params.yaml")) == [name for name in Params.model_fields if name != "bundle"]
