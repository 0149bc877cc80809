"""Networks that give no map, and labels without a mask: what can be had is right, the rest is told and never 0."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from pneumoseg.evaluate.evaluating import evaluate
from pneumoseg.evaluate.metrics.core import DICE_ALL
from pneumoseg.evaluate.result import TestResult
from pneumoseg.report.headline import judge
from pneumoseg.report.inputs import read_figures
from pneumoseg.rule.cases import Predictions
from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE, read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.tune.tuning import tune
from tests.evaluate.evaluation_data import copy_of, make_project
from tests.evaluate.test_tune_and_evaluate import EVALUATE, TUNE, edit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Image probabilities alone, tuned and evaluated."""
    project = make_project(tmp_path_factory.mktemp("classified"), images=160, size=(32, 32), seed=2, maps=False)
    tune(project, TUNE, 1)
    evaluate(project, EVALUATE, 1)
    return project


def truth_and_probability(project: Layout, which: str) -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_csv(project.predictions / "images.csv").query("set == @which")
    labels = pd.read_csv(project.annotations).set_index("image_id")["pneumothorax"]
    return labels[table["image_id"]].to_numpy() > 0, table["probability"].to_numpy()


def test_the_limit_of_the_probability_is_the_best_of_the_grid(classified: Layout) -> None:
    positive, probability = truth_and_probability(classified, "validation")
    scores = [metrics.balanced_accuracy_score(positive, probability >= limit) for limit in TUNE.gate_probabilities]
    rule, tuned = read_rule(classified.thresholds), read_json(classified.thresholds)
    assert (rule.kind, rule.mask_threshold, rule.levels) == ("probability", None, ())
    assert rule.gate_probability == TUNE.gate_probabilities[int(np.argmax(scores))]
    assert [item["family"] for item in tuned["searched"]] == ["probability"]
    assert tuned["searched"][0]["rules"] == len(TUNE.gate_probabilities)
    assert tuned["searched"][0]["objective_optimistic"] == pytest.approx(max(scores), abs=1e-6)
    assert tuned["objective"] == "balanced"
    assert any("tune.objective dice_all is taken as balanced" in warning for warning in tuned["warnings"])
    assert tuned["optimistic"][DICE_ALL.name] is None
    assert tuned["cross_fitted"]["sensitivity"] <= 1
    thresholds = pd.read_csv(classified.tune / "thresholds.csv")
    row = thresholds[thresholds["threshold"] == rule.gate_probability].iloc[0]
    assert (row["sensitivity"] + row["specificity"]) / 2 == pytest.approx(max(scores))


def test_figures_of_masks_are_unknown_and_those_of_images_are_right(classified: Layout) -> None:
    positive, probability = truth_and_probability(classified, "test")
    called = probability >= read_rule(classified.thresholds).gate_probability
    found = TestResult.read(classified.test)
    for name, expected in (
        ("sensitivity", metrics.recall_score(positive, called)),
        ("specificity", metrics.recall_score(~positive, ~called)),
        ("accuracy", metrics.accuracy_score(positive, called)),
        ("auc", metrics.roc_auc_score(positive, probability)),
    ):
        assert found.figure(name).value == pytest.approx(expected, abs=1e-6), name
        assert found.figure(name).low is not None
    for name in ("dice_all", "dice_pos", "all_empty", "iou", "pooled_dice", "ap", "hd95_px"):
        assert found.figure(name).value is None, name
    plain = found.plain_05.figure("sensitivity").value
    assert plain == pytest.approx(metrics.recall_score(positive, probability >= 0.5), abs=1e-6)
    assert (found.beats_all_empty.verdict, found.beats_plain_05.difference) == ("unknown", None)
    assert found.codes() >= {"phantom", "no_map"}
    assert not found.codes() & {"all_empty_not_beaten", "plain_not_beaten", "surface_left_out", "mask_unknown"}
    assert found.instances.predictions is None
    sizes = {group.group: group for group in found.subgroups if group.by == "lesion_size"}
    assert sizes["large"].figure("auc").value is not None
    assert sizes["large"].figure("dice_pos").value is None
    cases = pd.read_csv(classified.test_cases)
    assert cases[["predicted_px", "dice", "hd95_px", "predicted_components"]].isna().all(axis=None)
    assert cases["truth_px"].notna().all()
    assert (cases["called"] == called).all()


def test_there_is_no_submission_without_masks(classified: Layout, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(classified, EVALUATE, 1)
    assert classified.submission.read_text() == "ImageId,EncodedPixels\n"
    assert "give no map" in caplog.text


def test_a_rule_for_maps_is_refused_where_there_are_none(classified: Layout, tmp_path: Path) -> None:
    copy = copy_of(classified, tmp_path / "copy")
    copy.thresholds.write_text(copy.thresholds.read_text().replace('"probability"', '"single"', 1))
    with pytest.raises(DataError, match="mask_threshold None"):
        evaluate(copy, EVALUATE, 1)
    tune(make_project(tmp_path / "maps", images=40, size=(32, 32)), TUNE, 1)
    copy.thresholds.write_bytes((tmp_path / "maps/metrics/thresholds.json").read_bytes())
    with pytest.raises(DataError, match=r"rule of kind \w+, but .*has no maps; run dvc repro tune"):
        evaluate(copy, EVALUATE, 1)


def test_without_limits_half_is_taken_and_said(classified: Layout, tmp_path: Path) -> None:
    copy = copy_of(classified, tmp_path / "copy")
    assert tune(copy, TUNE.model_copy(update={"gate_probabilities": ()}), 1) == PLAIN_PROBABILITY_RULE
    assert read_json(copy.thresholds)["warnings"][0].startswith("tune.gate_probabilities is empty")


@pytest.mark.slow
def test_a_label_without_a_mask_counts_for_labels_alone(tmp_path: Path) -> None:
    known = make_project(tmp_path / "known", images=160, size=(48, 40), seed=3)
    partly = make_project(tmp_path / "partly", images=160, size=(48, 40), seed=3, masks_known=False)
    for project in (known, partly):
        tune(project, TUNE, 1)
    tuned = read_json(partly.thresholds)
    unknown = [case for case in Predictions.read(partly).cases("validation") if not case.mask_known]
    assert tuned["mask_unknown"] == len(unknown) > 0
    assert tuned["optimistic"]["n"] == read_json(known.thresholds)["optimistic"]["n"] - len(unknown)
    assert any(f"{len(unknown)} validation images are left out" in warning for warning in tuned["warnings"])

    partly.thresholds.write_bytes(known.thresholds.read_bytes())
    whole, part = evaluate(known, EVALUATE, 1), evaluate(partly, EVALUATE, 1)
    for name in ("sensitivity", "specificity", "prevalence", "ppv", "auc", "average_precision", "accuracy"):
        assert part.figure(name) == whole.figure(name), name
    cases = pd.read_csv(partly.test_cases)
    left = cases[cases["truth_px"].notna()]
    assert (part.n, part.n_mask_known) == (len(cases), len(left))
    assert len(left) < len(cases)
    assert part.figure("dice_all").value == pytest.approx(left["dice"].mean())
    assert part.figure("dice_pos").value == pytest.approx(left[left["pneumothorax"] == 1]["dice"].mean())
    assert part.figure("all_empty").value == pytest.approx(1 - left["pneumothorax"].mean())
    total = left["truth_px"] + left["predicted_px"]
    assert part.figure("pooled_dice").value == pytest.approx(2 * left["intersection_px"].sum() / total.sum())
    assert "mask_unknown" in part.codes()
    assert part.instances.truths < whole.instances.truths


@pytest.mark.slow
def test_without_any_mask_of_a_positive_nothing_of_masks_is_told(tmp_path: Path) -> None:
    """Dice of negatives alone would be their specificity, and marking nothing would score 1."""
    known = make_project(tmp_path / "known", images=160, size=(48, 40), seed=3)
    labels = make_project(tmp_path / "labels", images=160, size=(48, 40), seed=3, masks_known=None)
    for project in (known, labels):
        tune(project, TUNE, 1)
    tuned, calls = read_json(labels.thresholds), ("sensitivity", "specificity", "prevalence", "ppv", "auc", "accuracy")
    for part in ("optimistic", "plain_05"):
        assert tuned[part][DICE_ALL.name] is tuned[part]["all_empty"] is tuned[part]["sensitivity"] is None
        assert tuned[part]["beats_all_empty"]["difference"] is None
        assert 0 <= tuned[part]["specificity"] <= 1
    assert pd.read_csv(labels.tune / "thresholds.csv")[["dice_all", "dice_pos", "all_empty"]].isna().all(axis=None)

    labels.thresholds.write_bytes(known.thresholds.read_bytes())
    whole, part = evaluate(known, EVALUATE, 1), evaluate(labels, EVALUATE, 1)
    for name in calls:
        assert part.figure(name) == whole.figure(name), name
    masks = ("dice_all", "dice_pos", "all_empty", "iou", "iou_pos", "pooled_dice", "pooled_iou", "ap", "hd95_px")
    groups = [part, part.plain_05, *part.subgroups]
    assert [group.figure(name).value for group in groups for name in masks] == [None] * len(masks) * len(groups)
    assert part.n_mask_known == part.n - part.n_positive > 0
    assert (part.beats_all_empty.verdict, part.beats_plain_05.difference) == ("unknown", None)
    assert "no_positive_mask" in part.codes()
    told = {"mask_unknown", "all_empty_not_beaten", "plain_not_beaten", "surface_left_out", "no_map"}
    assert not part.codes() & told
    assert set(read_json(labels.headline)) == {"auc", "sensitivity", "specificity"}
    verdict = judge(read_figures(labels))
    assert verdict.kind == "good"  # by the AUC
    assert not re.search(r"Dice \d|Dice of", " ".join(verdict.sentences))


def test_a_lost_or_a_surplus_mask_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path, images=40, size=(32, 32), prevalence=1.0)
    edit(project.annotations, lambda frame: frame.assign(mask_known="0"))
    with pytest.raises(DataError, match=r"pneumothorax = 1, mask_known = 0 .* has a mask .*run dvc repro masks"):
        Predictions.read(project).cases("test")
