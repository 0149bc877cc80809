"""The figures of a validation: by hand, and against maps gone through pixel by pixel."""

import itertools

import cv2
import numpy as np
import pytest

from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.errors import ParameterError, TrainingError
from pneumoseg.train.figures import FIGURES, Validated, check_measured, pick, summarise
from pneumoseg.train.progress import log_epoch


def validated(above: np.ndarray, inside: np.ndarray, truth: list[int], image_px: int) -> Validated:
    count = len(truth)
    none = np.zeros((count, 0), np.int64)
    counts = LevelCounts(
        patients=np.arange(count), probability=np.zeros(count), image_px=np.full(count, image_px),
        truth_px=np.array(truth), above=above, inside=inside, thresholds=(), clean_px=none, clean_inside=none,
    )  # fmt: skip
    return Validated(np.ones(count), np.zeros(count), np.array(truth) > 0, above[:, 127] > 0, counts)


def at_one_level(inside: list[int], predicted: list[int], truth: list[int]) -> Validated:
    """Maps of 1024 x 1024 whose marked pixels all have level 255."""
    above, hits = (np.repeat(np.array(values)[:, None], 256, axis=1) for values in (predicted, inside))
    return validated(above, hits, truth, 1024**2)


def test_the_best_rule_by_brute_force_on_maps():
    """dice_tuned, from counts, is the best mean Dice of the rules applied to the maps pixel by pixel."""
    chooser = np.random.default_rng(5)
    maps = [cv2.GaussianBlur(chooser.random((64, 64)).astype(np.float32), (0, 0), 3) for _ in range(6)]
    levels = [np.rint((one - one.min()) / (one.max() - one.min()) * 255 * scale).astype(np.uint8)
              for one, scale in zip(maps, (1.0, 0.9, 0.6, 0.4, 0.2, 0.1), strict=True)]  # fmt: skip
    truths = [level > 140 for level in levels[:3]] + [np.zeros((64, 64), bool)] * 3
    above, inside = (
        np.array([[(level[where] > at).sum() for at in range(256)] for level, where in zip(levels, masks, strict=True)])
        for masks in ([np.ones((64, 64), bool)] * 6, truths)
    )
    best = 0.0
    for bottom, top, area in itertools.product(
        (0.1, 0.2, 0.3, 0.4, 0.5), (0.2, 0.3, 0.5, 0.7, 0.8, 0.9), (1, 300, 1000, 2000)
    ):
        if top < bottom:
            continue
        scores = []
        for level, truth in zip(levels, truths, strict=True):
            mask = level > 255 * bottom
            if (level > 255 * top).sum() < max(1, area * 4096 / 1024**2):
                mask = np.zeros_like(mask)
            total = mask.sum() + truth.sum()
            scores.append(2 * (mask & truth).sum() / total if total else 1.0)
        best = max(best, float(np.mean(scores)))
    seen = validated(above, inside, [int(truth.sum()) for truth in truths], 4096)
    assert summarise(seen)["dice_tuned"] == pytest.approx(best)


@pytest.mark.parametrize(("predicted", "state"), [([0, 0, 0, 0], "negative"), ([5, 9, 1, 2], "positive")])
def test_collapse_is_named(predicted: list[int], state: str, caplog: pytest.LogCaptureFixture):
    """One positive among four: all-empty scores 0.75, and says that it is a collapse."""
    measured = summarise(at_one_level([0] * 4, predicted, [7, 0, 0, 0]))
    assert measured["dice_all"] == (0.75 if state == "negative" else 0.0)
    assert measured["specificity"] == (1.0 if state == "negative" else 0.0)
    row = {"epoch": 1, "phase": "main", "train_loss": 1.0, "lr": 1e-3} | {f"val_{k}": v for k, v in measured.items()}
    log_epoch(row, {"images_per_second": 1.0}, best=False, left=0.0)
    assert f"collapse, every validation image is called {state}" in caplog.text


def test_validation_figures_by_hand():
    """Two positives (Dice 0.5 and 0, IoU 1/3 and 0) and two negatives, one of them marked."""
    measured = summarise(at_one_level([5, 0, 0, 0], [10, 0, 3, 0], [10, 4, 0, 0]))
    assert measured["dice_pos"] == pytest.approx(0.25)
    assert measured["iou"] == pytest.approx((1 / 3) / 2)
    assert measured["dice_all"] == pytest.approx((0.5 + 0 + 0 + 1) / 4)
    assert (measured["sensitivity"], measured["specificity"], measured["collapsed"]) == (0.5, 0.5, 0.0)
    assert measured["dice_balanced"] == pytest.approx(0.375)


def test_without_maps_the_image_probability_is_judged():
    """Positives .8 and .3, negatives .5 (called positive) and .1: three of four pairs in order."""
    positive = np.array([True, True, False, False])
    probability = np.array([0.8, 0.3, 0.5, 0.1])
    seen = Validated(np.full(4, 0.25), probability, positive, probability >= 0.5, None)
    measured = summarise(seen)
    assert measured == {
        "loss": 0.25, "sensitivity": 0.5, "specificity": 0.5, "collapsed": 0.0, "marked_share": 0.5, "auc": 0.75
    }  # fmt: skip
    assert pick(measured, "loss", "k") == -0.25
    with pytest.raises(TrainingError, match=r"train\.selection_metric = iou: .*take one of loss, sensitivity"):
        pick(measured, "iou", "train.selection_metric")
    with pytest.raises(
        ParameterError, match=r"dice_pos: model\.architecture = toy gives no map; take one of loss,.* auc"
    ):
        check_measured("dice_pos", "train.selection_metric", "toy", gives_map=False)
    check_measured("auc", "train.selection_metric", "toy", gives_map=False)


def test_what_an_absent_class_would_be_measured_on_is_left_out():
    one = np.ones(3, np.bool_)
    positives = summarise(Validated(np.ones(3), np.ones(3), one, one, None))
    assert positives["sensitivity"] == 1.0
    assert not positives.keys() & {"auc", "specificity"}
    negatives = summarise(at_one_level([0, 0], [0, 3], [0, 0]))
    assert (negatives["specificity"], negatives["dice_all"]) == (0.5, 0.5)
    assert not negatives.keys() & {"auc", "sensitivity", "dice_pos", "dice_balanced", "iou"}
    with pytest.raises(TrainingError, match=r"dice_pos: .*take one of loss, dice_all, dice_tuned, specificity$"):
        pick(negatives, "dice_pos", "train.selection_metric")


def test_every_figure_that_may_choose_an_epoch_is_a_parameter():
    from typing import get_args

    from pneumoseg.config.train import ValidationMetric

    assert {figure.name for figure in FIGURES if figure.better} == {*get_args(ValidationMetric)} - {"auto"}
