"""Tune and evaluate on whole made-up projects: every figure recomputed from the files, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from sklearn import metrics

from pneumoseg.config.evaluate import EvaluateParams
from pneumoseg.config.tune import TuneParams
from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.evaluate.measuring import age_band, size_group
from pneumoseg.rule.decision import DecisionRule, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json, read_png, write_json, write_png
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.rle import decode
from pneumoseg.tune.tuning import tune
from tests.evaluate.evaluation_data import copy_of, make_project

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = YAML(typ="safe").load(ROOT / "params.yaml")
TUNE = TuneParams.model_validate_json(json.dumps(SHIPPED["tune"])).model_copy(
    update={"top_thresholds": (0.3, 0.5, 0.7), "min_areas_px_at_1024": (100, 1000, 8000)}
)
EVALUATE = EvaluateParams.model_validate_json(json.dumps(SHIPPED["evaluate"])).model_copy(
    update={"bootstrap_replicates": 200, "permutations": 200}
)


def run_tune(project: Layout, params: TuneParams = TUNE, workers: int = 1) -> dict[str, Any]:
    tune(project, params, workers)
    return read_json(project.thresholds)  # type: ignore[no-any-return]


def run_evaluate(project: Layout, params: EvaluateParams = EVALUATE, workers: int = 1) -> dict[str, Any]:
    evaluate(project, params, workers)
    return read_json(project.test)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Tuned and evaluated; tests that write take a copy."""
    made = make_project(tmp_path_factory.mktemp("project"), images=160, size=(96, 80), prevalence=0.4, seed=1)
    run_tune(made)
    run_evaluate(made)
    return made


def truth_of(project: Layout, image_id: str, shape: tuple[int, ...]) -> np.ndarray:
    path = project.masks / f"{image_id}.png"
    return read_png(path) > 0 if path.exists() else np.zeros(shape, bool)


def masks_of(project: Layout, which: str, rule: DecisionRule) -> list[tuple[str, float, np.ndarray, np.ndarray]]:
    """Id, probability, predicted and true mask of each image of a set."""
    table = pd.read_csv(project.predictions / "images.csv", dtype={"image_id": str})
    found = []
    for row in table[table["set"] == which].itertuples():
        levels = read_png(project.predictions / which / f"{row.image_id}.png")
        predicted = rule.apply(levels, row.probability)
        found.append((row.image_id, row.probability, predicted, truth_of(project, row.image_id, levels.shape)))
    return found


def dice_of(predicted: np.ndarray, truth: np.ndarray) -> float:
    total = predicted.sum() + truth.sum()
    return 1.0 if total == 0 else 2 * (predicted & truth).sum() / total


def test_every_figure_is_what_the_files_give(project: Layout) -> None:
    found = read_json(project.test)
    images = masks_of(project, "test", read_rule(project.thresholds))
    score = np.array([dice_of(predicted, truth) for _, _, predicted, truth in images])
    positive = np.array([truth.any() for *_, truth in images])
    called = np.array([predicted.any() for _, _, predicted, _ in images])
    probability = np.array([item[1] for item in images])
    predicted = np.concatenate([item[2].ravel() for item in images])
    truth = np.concatenate([item[3].ravel() for item in images])
    iou = [1.0 if not (p | t).any() else (p & t).sum() / (p | t).sum() for _, _, p, t in images]
    expected = {
        "n": len(images),
        "dice_all": score.mean(),
        "dice_pos": score[positive].mean(),
        "sensitivity": metrics.recall_score(positive, called),
        "specificity": metrics.recall_score(~positive, ~called),
        "all_empty": 1 - positive.mean(),
        "prevalence": positive.mean(),
        "ppv": metrics.precision_score(positive, called),
        "npv": metrics.precision_score(~positive, ~called),
        "f1": metrics.f1_score(positive, called),
        "accuracy": metrics.accuracy_score(positive, called),
        "false_positive_percent": 100 * (called & ~positive).mean(),
        "false_negative_percent": 100 * (~called & positive).mean(),
        "auc": metrics.roc_auc_score(positive, probability),
        "average_precision": metrics.average_precision_score(positive, probability),
        "pooled_dice": metrics.f1_score(truth, predicted),
        "pooled_iou": metrics.jaccard_score(truth, predicted),
        "iou": np.mean(iou),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    prevalence = expected["prevalence"]
    decomposed = (1 - prevalence) * found["specificity"] + prevalence * found["dice_pos"]
    assert found["dice_all"] == pytest.approx(decomposed, abs=1e-5)
    assert found["calibration"]["brier"] == pytest.approx(metrics.brier_score_loss(positive, probability), abs=1e-6)
    assert found["beats_all_empty"]["difference"] == pytest.approx(score.mean() - (~positive).mean(), abs=1e-6)
    plain = [dice_of(p, t) for _, _, p, t in masks_of(project, "test", DecisionRule("single", 0.5))]
    assert found["plain_05"]["dice_all"] == pytest.approx(np.mean(plain), abs=1e-6)
    assert found["beats_plain_05"]["difference"] == pytest.approx(score.mean() - np.mean(plain), abs=1e-6)
    assert found["phantom"] == 1
    assert found["n_mask_known"] == len(images)
    assert found["notes"][0] == {"code": "phantom", "text": "phantom data: these figures say nothing about patients"}


def test_intervals_hold_their_figures(project: Layout) -> None:
    found = read_json(project.test)
    for part in (found, found["surface"], found["plain_05"], found["instances"]):
        for name, (low, high) in part["intervals"].items():
            assert low <= part[name] <= high, name
    assert found["beats_all_empty"]["verdict"] == "better"


def test_curves_are_counts_at_each_threshold(project: Layout) -> None:
    cases = pd.read_csv(project.test_cases)
    positive, probability = cases["pneumothorax"].to_numpy() > 0, cases["probability"].to_numpy()
    roc, precision_recall = (pd.read_csv(project.plots / f"{name}.csv") for name in ("roc", "precision_recall"))
    assert roc.iloc[0].tolist() == [0.0, 0.0, 1.0]
    assert roc["probability"].tolist()[1:] == precision_recall["probability"].tolist() == sorted(set(probability))[::-1]
    for row in roc[1:].itertuples():
        called = probability >= row.probability
        rates = called[positive].mean(), called[~positive].mean()
        assert (row.sensitivity, row.false_positive_rate) == pytest.approx(rates, abs=1e-8)
    for row in precision_recall.itertuples():
        called = probability >= row.probability
        assert (row.recall, row.precision) == pytest.approx(
            (called[positive].mean(), positive[called].mean()), abs=1e-8
        )


def test_cases_table_tells_each_image(project: Layout) -> None:
    table = pd.read_csv(project.test_cases, dtype={"image_id": str}, keep_default_na=False).set_index("image_id")
    assert list(table.index) == sorted(table.index)
    for image_id, _, predicted, truth in masks_of(project, "test", read_rule(project.thresholds)):
        row = table.loc[image_id]
        counts = [int(truth.sum()), int(predicted.sum()), int((predicted & truth).sum())]
        assert [int(row[name]) for name in ("truth_px", "predicted_px", "intersection_px")] == counts
        assert float(row["dice"]) == pytest.approx(dice_of(predicted, truth), abs=1e-8)
        assert (row["hd95_px"] != "") == bool(truth.any() and predicted.any())
        spaced = int(image_id[3:]) % 5 > 0
        assert (row["hd95_mm"] != "") == bool(truth.any() and predicted.any() and spaced)
    found = read_json(project.test)
    assert found["surface"]["n_px"] == (table["hd95_px"] != "").sum()


def test_subgroups_are_parts_of_the_table(project: Layout) -> None:
    found = read_json(project.test)
    table = pd.read_csv(project.test_cases)
    for record in found["subgroups"]:
        if record["by"] == "components":
            part = table[
                (table["truth_components"] == 1) if record["group"] == "one" else table["truth_components"] > 1
            ]
        else:
            part = table[table[record["by"]] == record["group"]]
        assert record["n"] == len(part)
        assert record["patients"] == part["patient"].nunique()
        positive = part[part["pneumothorax"] == 1]
        assert record["positives"] == len(positive)
        if len(positive):
            assert record["dice_pos"] == pytest.approx(positive["dice"].mean(), abs=1e-6)
        else:
            assert record["dice_pos"] is None
        if record["by"] == "lesion_size":
            against = pd.concat([part, table[table["pneumothorax"] == 0]])
            area = metrics.roc_auc_score(against["pneumothorax"], against["probability"])
            assert record["auc"] == pytest.approx(area, abs=1e-6)
            assert "specificity" not in record
    by_sex = [record["n"] for record in found["subgroups"] if record["by"] == "sex"]
    assert sum(by_sex) == found["n"]


def test_submission_has_every_unannotated_image_once(project: Layout) -> None:
    lines = (project.submission).read_text().splitlines()
    assert lines[0] == "ImageId,EncodedPixels"
    images = masks_of(project, "unlabelled", read_rule(project.thresholds))
    assert [line.split(",")[0] for line in lines[1:]] == sorted(item[0] for item in images)
    codes = dict(line.split(",") for line in lines[1:])
    assert "-1" in codes.values()
    for image_id, _, predicted, _ in images:
        assert np.array_equal(decode(codes[image_id], *predicted.shape), predicted)


def test_submission_ids_are_exactly_those_of_the_table(project: Layout, tmp_path: Path) -> None:
    copy = copy_of(project, tmp_path / "copy")
    ids = ["img0014", "img0006", "img0002", "img0006"]  # two unannotated, a test image, one twice as in the leak
    table = tmp_path / "sample_submission.csv"
    table.write_text("\ufeffImageId,EncodedPixels\n" + "".join(f"{image_id},-1\n" for image_id in ids))
    params = EVALUATE.model_copy(update={"submission_ids": str(table)})
    run_evaluate(copy, params)
    lines = copy.submission.read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["img0014", "img0006", "img0002"]
    table.write_text("ImageId,EncodedPixels\nimg0014,-1\nID_unknown,-1\n")
    with pytest.raises(DataError, match=r"1 of 2 images have no prediction, the first is ID_unknown"):
        run_evaluate(copy, params)


def test_outputs_do_not_depend_on_workers_or_on_the_run(project: Layout, tmp_path: Path) -> None:
    copy = copy_of(project, tmp_path / "copy")
    (copy.plots / "stale.png").touch()
    run_tune(copy, workers=3)
    run_evaluate(copy, workers=3)
    first, second = (
        {path.relative_to(layout.root): path.read_bytes() for path in layout.root.rglob("*") if path.is_file()}
        for layout in (project, copy)
    )
    assert first == second


def test_tune_reports_optimism_and_the_plain_rule(project: Layout) -> None:
    found = read_json(project.thresholds)
    images = masks_of(project, "validation", DecisionRule.from_json(found["rule"]))
    score = [dice_of(predicted, truth) for _, _, predicted, truth in images]
    assert found["optimistic"]["dice_all"] == pytest.approx(np.mean(score), abs=1e-6)
    assert found["optimistic"]["n"] == len(images)
    plain = [dice_of(p, t) for _, _, p, t in masks_of(project, "validation", DecisionRule("single", 0.5))]
    assert found["plain_05"]["dice_all"] == pytest.approx(np.mean(plain), abs=1e-6)
    assert found["cross_fitted"]["dice_all"] <= found["optimistic"]["dice_all"]
    chosen = [item for item in found["searched"] if item["chosen"]]
    assert len(chosen) == 1
    assert found["collapse"] == 0
    surface = pd.read_csv(project.tune / "surface.csv")
    assert len(surface) == len(TUNE.top_thresholds) * len(TUNE.min_areas_px_at_1024)


@pytest.mark.slow
def test_cross_fit_does_not_flatter_pure_noise(tmp_path: Path) -> None:
    """Maps that know nothing: the best of many rules looks better than all-empty, the cross-fitted one must not."""
    gaps = []
    for seed in range(4):
        project = make_project(tmp_path / str(seed), images=120, size=(32, 32), prevalence=0.5, skill=0.0, seed=seed)
        for path in sorted((project.predictions / "validation").glob("*.png")):
            noise = np.random.default_rng([seed, int(path.stem[3:])]).random((32, 32)).astype(np.float32)
            smooth = cv2.GaussianBlur(noise, (0, 0), 4)
            write_png(path, np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth)))
        found = run_tune(project)
        gaps.append(
            (found["optimistic"]["dice_all"], found["cross_fitted"]["dice_all"], found["optimistic"]["all_empty"])
        )
    optimistic, cross_fitted, all_empty = np.mean(gaps, axis=0)
    assert optimistic >= all_empty - 1e-9
    assert cross_fitted < optimistic
    assert cross_fitted <= all_empty + 0.01


def test_all_empty_rule_is_called_collapse(project: Layout, tmp_path: Path) -> None:
    copy = copy_of(project, tmp_path / "copy")
    for path in (copy.predictions / "validation").glob("*.png"):
        write_png(path, np.full((96, 80), 5, np.uint8))
    found = run_tune(copy)
    assert found["collapse"] == 1
    assert "collapse" in found["warnings"][0]
    assert found["rule"]["kind"] == "single"
    assert found["optimistic"]["dice_all"] == found["optimistic"]["all_empty"]
    assert found["optimistic"]["beats_all_empty"]["verdict"] == "not shown"


def test_no_positive_anywhere_gives_null_not_a_number(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", images=40, prevalence=0.0, size=(32, 32))
    tuned = run_tune(project)
    assert tuned["rule"] == DecisionRule("single", 0.5).to_json()
    assert "no validation image has a pneumothorax" in tuned["warnings"][0]
    assert tuned["cross_fitted"] is None
    found = run_evaluate(project)
    nulls = ("dice_pos", "sensitivity", "auc", "average_precision", "iou_pos", "npv")
    assert [found[name] for name in nulls if name != "npv"] == [None] * 5
    assert found["prevalence"] == 0
    assert found["all_empty"] == 1
    assert found["instances"]["ap"] is None
    assert found["surface"]["hd95_px"] is None
    assert found["calibration"]["temperature"] is None
    assert found["intervals"]["dice_pos"] == [None, None]
    assert found["size_test"]["dice_permutation_p"] is None
    for path in project.plots.glob("*.csv"):
        pd.read_csv(path)


def test_all_empty_prediction_is_reported_as_such(project: Layout, tmp_path: Path) -> None:
    rule = DecisionRule("single", 0.99)
    copy = copy_of(project, tmp_path / "copy")
    write_json(copy.thresholds, {"rule": rule.to_json()})
    found = run_evaluate(copy)
    assert found["dice_all"] == found["all_empty"]
    assert found["dice_pos"] == 0
    assert found["ppv"] is None  # nothing was called positive
    assert found["beats_all_empty"] == {"difference": 0.0, "interval": [0.0, 0.0], "verdict": "not shown"}
    notes = {note["code"]: note["text"] for note in found["notes"]}
    assert "every test image is called negative" in notes["all_called_negative"]
    assert "not shown to beat the all-empty score" in notes["all_empty_not_beaten"]


def edit(path: Path, change: Any) -> None:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(frame).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: edit(p.predictions / "images.csv", lambda f: f[f["image_id"] != "img0002"]), "img0002 is missing"),
        (lambda p: edit(p.predictions / "images.csv", lambda f: pd.concat([f, f[:1]])), "has two rows"),
        (lambda p: edit(p.predictions / "images.csv", lambda f: f.assign(probability="1.5")), "from 0 to 1"),
        (lambda p: edit(p.predictions / "images.csv", lambda f: f.assign(set="unlabelled")), "no test image"),
        (lambda p: (p.predictions / "test" / "img0002.png").unlink(), "not there"),
        (
            lambda p: write_png(p.predictions / "test" / "img0002.png", np.zeros((5, 5), np.uint8)),
            "metadata.csv 96 x 80",
        ),
        (lambda p: write_png(p.predictions / "test" / "img0002.png", np.zeros((96, 80), np.uint16)), "uint8"),
        (lambda p: [path.unlink() for path in p.masks.glob("*.png")], "but has no mask"),
        (lambda p: edit(p.metadata, lambda f: f[f["image_id"] != "img0002"]), "img0002 has a prediction but no row"),
        (lambda p: edit(p.folds, lambda f: f.replace({"fold": {"test": "1"}})), "does not belong there"),
    ],
)
def test_files_that_contradict_each_other_are_refused(project: Layout, tmp_path: Path, damage: Any, says: str) -> None:
    copy = copy_of(project, tmp_path / "copy")
    copy.test.unlink()
    damage(copy)
    with pytest.raises(DataError, match=says):
        run_evaluate(copy)
    assert not copy.test.exists()


def test_a_validation_image_of_another_fold_is_refused(project: Layout, tmp_path: Path) -> None:
    copy = copy_of(project, tmp_path / "copy")
    edit(copy.predictions / "images.csv", lambda frame: frame.replace({"fold": {"0": "1"}}))
    with pytest.raises(DataError, match="validation images are not those of"):
        run_tune(copy)
    edit(copy.predictions / "images.csv", lambda frame: frame.replace({"set": {"test": "validation"}}))
    with pytest.raises(DataError, match="validation images are not those of"):
        run_tune(copy)


def test_bands_and_sizes_at_their_limits() -> None:
    limits = (18, 40, 60)
    bands = {17: "<18", 18: "18-39", 39: "18-39", 40: "40-59", 60: ">=60", 120: ">=60", 152: "unknown", -1: "unknown"}
    assert {age: age_band(age, limits) for age in bands} == bands
    assert age_band(float("nan"), limits) == "unknown"
    assert age_band(30, ()) == "all ages"
    quarter = 1024 * 1024 // 4
    assert [size_group(px, quarter, (5000, 14000)) for px in (0, 1249, 1250, 3499, 3500)] == [
        "", "small", "medium", "medium", "large",
    ]  # fmt: skip


@pytest.mark.slow
def test_dice_is_that_of_segmentation_models(project: Layout) -> None:
    import segmentation_models_pytorch as smp
    import torch

    images = masks_of(project, "test", read_rule(project.thresholds))
    predicted = torch.from_numpy(np.stack([item[2] for item in images]))[:, None].long()
    truth = torch.from_numpy(np.stack([item[3] for item in images]))[:, None].long()
    counts = smp.metrics.get_stats(predicted, truth, mode="binary")
    score = smp.metrics.f1_score(*counts, reduction="micro-imagewise")
    assert read_json(project.test)["dice_all"] == pytest.approx(float(score), abs=1e-5)
