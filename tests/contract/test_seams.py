"""The four doors: a source, a family, a loss and a figure that stand in this file alone, from params.yaml to MLflow.

The first project reads a folder of PNG files and a table of labels, of which no mask is known, with a network that says
a probability and draws no map. The second is the phantoms with the default family, a further term of the loss and the
same figure. Nothing in src knows of any of them.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pneumoseg.config.loss import TERMS, TermParams
from pneumoseg.evaluate.metric import Metric, column, mean_of
from pneumoseg.evaluate.result import TestResult
from pneumoseg.networks.family import Prediction
from pneumoseg.networks.losses.image import image_terms
from pneumoseg.networks.network import Network
from pneumoseg.radiographs.image_file import Known
from pneumoseg.shared.files import write_png
from pneumoseg.shared.registry import FAMILIES, LOSSES, METRICS, SOURCES
from pneumoseg.shared.tables import ANNOTATIONS, read_table
from pneumoseg.sources.source import DataSet, Item
from pneumoseg.sources.truth import LABEL_ONLY, NEGATIVE, Truths
from tests.pipeline.project import TINY, Project, make_project

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.filterwarnings("default::UserWarning", "default::FutureWarning"),
]
STAGES = ("extract", "masks", "explore", "split", "train", "predict", "tune", "evaluate", "report")
IMAGES = 60


class LabelledFolder:
    """<patient>_<n>.png and a table image,label."""

    def images(self, data: DataSet) -> list[Item]:
        files = sorted(data.root.glob("*.png"))
        return [Item(path, Known(path.stem, path.stem.split("_")[0], view="PA")) for path in files]

    def truth(self, data: DataSet, sizes: Any, params: Any) -> Truths:
        rows = list(csv.DictReader(data.annotations.read_text().splitlines()))
        truths = {row["image"]: LABEL_ONLY if row["label"] == "1" else NEGATIVE for row in rows}
        return Truths(truths, [row["image"] for row in rows])


class Bright(Network):
    """Two convolutions, the brightest place, a line."""

    def __init__(self, params: Any) -> None:
        layers = [nn.Conv2d(params.in_channels, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
        super().__init__(params, nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()))
        self.head = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(x))[:, 0]
        return logits


class Classifier:
    """A probability, no map."""

    gives_map = False
    chooses = "auc"

    def gives_image(self, params: Any) -> bool:
        return True

    def build(self, params: Any, published: str | None) -> Network:
        return Bright(params)

    def objective(self, params: Any) -> Any:
        def minimise(model: nn.Module, pixels: torch.Tensor, truth: Any) -> Any:
            logits = model(pixels).float()
            return {"loss": sum(w * term for _, w, term in image_terms(logits, truth.labels, params.image))}, logits

        return minimise

    def predict(self, output: torch.Tensor) -> Prediction:
        return Prediction(None, output.float().sigmoid())


class AbsoluteParams(TermParams):
    """Mean absolute difference."""

    power: float = 1.0


def absolute_loss(logits: torch.Tensor, target: torch.Tensor, params: AbsoluteParams) -> torch.Tensor:
    return ((torch.sigmoid(logits) - target).abs() ** params.power).mean()


YOUDEN_LIKE = Metric(
    "right_calls",
    "share of right calls, as the test has it",
    lambda rows: mean_of((column(rows, "called") == column(rows, "pneumothorax")).astype(np.float64)),
    headline=True,
)


@pytest.fixture(scope="module")
def doors() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(SOURCES.temporarily("labelled_folder", LabelledFolder()))
        stack.enter_context(FAMILIES.temporarily("bright", Classifier()))
        stack.enter_context(TERMS.temporarily("absolute", AbsoluteParams))
        stack.enter_context(LOSSES.temporarily("absolute", absolute_loss))
        stack.enter_context(METRICS.temporarily("right_calls", YOUDEN_LIKE))
        yield


def run(project: Project, *stages: str) -> None:
    for stage in stages:
        code, told = project.stage(stage, *(("--fold", "0") if stage == "train" else ()))
        assert code == 0, f"{stage}: {told}"


@pytest.fixture(scope="module")
def labelled(doors: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Sixty noisy squares, every third with a bright spot, labelled, never outlined; committed, then trained anew."""
    values = {
        "data.format": "labelled_folder",
        "data.root": "in/images",
        "data.annotations": "in/labels.csv",
        "model.architecture": "bright",
        "model.decoder_channels": None,
        "train.selection_metric": "auto",
        "train.lr": 0.01,
        "train.loss.image.bce": 1.0,
        "train.phases.0.epochs": 6,
        "tune.objective": "balanced",
    }
    project = make_project(tmp_path_factory.mktemp("labelled") / "project", TINY | values)
    noise = np.random.default_rng(0)
    rows = ["image,label"]
    for number in range(IMAGES):
        image = noise.integers(0, 120, (80, 64)).astype(np.uint8)
        if number % 3 == 0:
            image[20:40, 10:30] = 255
        write_png(project.root / f"in/images/p{number // 2}_{number}.png", image)
        rows.append(f"p{number // 2}_{number},{int(number % 3 == 0)}")
    (project.root / "in/labels.csv").write_text("\n".join(rows) + "\n")
    run(project, *STAGES)
    project.commit("first")
    project.set_params({"train.seed": 43, "train.lr": 0.001})
    run(project, *STAGES[STAGES.index("train") :])
    return project


@pytest.fixture(scope="module")
def masked(doors: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The phantoms, with a further term of the loss."""
    values = {"train.loss.absolute": {"weight": 0.7, "power": 2.0}, "train.phases.0.epochs": 1}
    project = make_project(tmp_path_factory.mktemp("masked") / "project", TINY | values)
    run(project, "phantom", *STAGES)
    return project


def page(project: Project) -> str:
    return (project.root / "data/report/index.html").read_text("utf-8")


def words(html: str) -> str:
    """What a reader sees of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", html, flags=re.S))


def test_a_source_of_labels_alone_fills_the_tables_that_every_stage_knows(labelled: Project) -> None:
    annotations = read_table(labelled.root / "data/annotations.csv", ANNOTATIONS)
    assert len(annotations) == IMAGES
    assert (annotations["pneumothorax"] == 1).sum() == IMAGES / 3
    assert (annotations.loc[annotations["pneumothorax"] == 1, "mask_known"] == 0).all()
    assert not list((labelled.root / "data/masks").glob("*.png"))
    assert not list((labelled.root / "data/predictions").rglob("*.png"))


def test_what_the_family_does_not_give_is_null_with_a_note_and_the_rest_is_measured(labelled: Project) -> None:
    content = json.loads((labelled.root / "metrics/test.json").read_text())
    assert content["dice_all"] is None
    assert content["dice_pos"] is None
    assert content["hd95_px" if "hd95_px" in content else "iou"] is None
    result = TestResult.read(labelled.root / "metrics/test.json")
    assert "no_map" in result.codes()
    assert result.figure("auc").value is not None
    assert result.figure("sensitivity").value is not None
    first = json.loads(labelled.git("show", "HEAD:metrics/test.json"))
    assert first["auc"] > 0.8  # it learns a bright spot
    rule = json.loads((labelled.root / "metrics/thresholds.json").read_text())["rule"]
    assert rule["kind"] == "probability"
    assert rule["mask_threshold"] is None


def test_its_own_figure_is_measured_with_an_interval(labelled: Project, masked: Project) -> None:
    for project in (labelled, masked):
        result = TestResult.read(project.root / "metrics/test.json")
        cases = pd.read_csv(project.root / "metrics/test_cases.csv")
        figure = result.figure("right_calls")
        assert figure.value == pytest.approx((cases["called"] == cases["pneumothorax"]).mean(), abs=1e-6)
        assert figure.low is not None
        assert figure.low <= figure.value <= figure.high


def test_its_own_loss_takes_part_in_training(masked: Project) -> None:
    curve = pd.read_csv(masked.root / "metrics/train/fold0.csv")
    assert 0 < curve["train_absolute"].iloc[0] < 1
    terms = curve["train_dice"] + 0.5 * curve["train_bce"] + 0.7 * curve["train_absolute"]
    assert curve["train_loss"].iloc[0] == pytest.approx(terms.iloc[0], rel=1e-4)
    model = json.loads((masked.root / "data/models/fold0/model.json").read_text())
    assert model["params"]["architecture"] == "unet"


def test_the_report_shows_the_figure_and_tells_what_there_is_not(labelled: Project, masked: Project) -> None:
    for project in (labelled, masked):
        assert YOUDEN_LIKE.label in words(page(project))
    told = words(page(labelled))
    assert "no map" in told
    assert not re.search(r"\b(nan|None)\b", told)
    assert re.search(r"Dice, positives only", told) is None  # no empty Dice column or tile


def test_the_comparison_compares_what_both_have(labelled: Project) -> None:
    text = labelled.command("compare", "main", "workspace", "--replicates", "200")
    assert YOUDEN_LIKE.label in text or "right_calls" in text
    record = json.loads((labelled.root / "data/comparison/comparison.json").read_text())
    assert "right_calls" in json.dumps(record)
    assert YOUDEN_LIKE.label in words((labelled.root / "data/comparison/index.html").read_text("utf-8"))


def test_the_row_of_mlflow_has_the_figure_and_no_dice_that_nobody_measured(labelled: Project, masked: Project) -> None:
    rows = labelled.rows()
    assert len(rows) == 2
    for row in rows:
        assert "right_calls" in row.data.metrics
        assert "auc" in row.data.metrics
        assert "dice_all" not in row.data.metrics
        assert row.data.params["model.architecture"] == "bright"
    (row,) = masked.rows()
    assert {"right_calls", "dice_all"} <= row.data.metrics.keys()
    assert row.data.params["train.loss.absolute.weight"] == "0.7"


@pytest.mark.usefixtures("doors")
@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("data.format", "labeled_folder", "labelled_folder"),
        ("model.architecture", "brigth", "bright"),
        ("train.loss", {"absolut": {"weight": 1.0}}, "absolute"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(key: str, value: Any, nearest: str) -> None:
    from pneumoseg.config import parse_params
    from pneumoseg.shared.errors import ParameterError

    section, name = key.split(".")
    with pytest.raises(ParameterError, match=nearest):
        parse_params({section: {name: value}})
