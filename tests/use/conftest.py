"""A small bundle, made of the network that 450e244 trained: large enough to mark something, small enough to load."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pneumoseg.config.extract import ExtractParams
from pneumoseg.config.model import ModelParams
from pneumoseg.config.predict import PredictParams
from pneumoseg.networks.building import build_network
from pneumoseg.networks.storage import save_model
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.use.bundle import Bundle, write_description
from pneumoseg.use.bundling import write_case
from pneumoseg.use.reader import Reader

NETWORK = Path(__file__).parents[1] / "config/files/450e244/fold0"
RULE = DecisionRule("single", 0.5)


def write_detector(folder: Path, detections: int = 3) -> Path:
    """The model folder of a detector that has learnt nothing and finds something all the same."""
    detector = {"pyramid_channels": 16, "proposals": 30, "detections": detections, "least_score": 0.0}
    content = {"architecture": "mask_rcnn", "encoder": "tu-test_resnet", "detector": detector}
    params = ModelParams.read(content, "model")
    torch.manual_seed(1)
    save_model(folder, build_network(params), params, 64)
    return folder


def write_bundle(folder: Path, network: Path = NETWORK, **changes: Any) -> Path:
    shutil.copytree(network, folder / "networks/0/fold0")
    content = {
        "phantom": False,
        "architecture": "unet",
        "encoder": "tu-test_efficientnet",
        "groups": [{"folders": ["0/fold0"]}],
        "extract": ExtractParams().model_dump(mode="json"),
        "predict": PredictParams().model_dump(mode="json"),
        "rule": RULE.to_json(),
        "view_positions": ["PA", "AP"],
        "intended_use": "tests",
        "data": "0",
        "code": "0",
        "tested": {
            "images": 10,
            "positives": 2,
            "patients": 9,
            "figures": {"sensitivity": {"value": 0.5, "low": 0.25, "high": 0.75}},
        },
    }
    write_case(folder)
    write_description(folder, content | changes)
    return folder


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to read."""
    return write_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="session")
def reader(bundle_folder: Path) -> Reader:
    return Reader(Bundle.read(bundle_folder), "cpu")


def encoded(made: Dataset) -> bytes:
    """The content of a DICOM file."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.preamble = b"\0" * 128
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()
