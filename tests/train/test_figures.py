"""The figures of a validation: by hand, and against maps gone through pixel by pixel."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pneumoseg.config.tune import TuneParams
from pneumoseg.rule.level_counts import LevelCounts
from pneumoseg.shared.errors import ParameterError, TrainingError
from pneumoseg.train.collapse import findings
from pneumoseg.train.figures import FIGURES, Validated, check_measured, pick, summarise
from pneumoseg.tune.search import Family, Search


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
    seen = validated(above, inside, [int(truth.sum()) for truth in truths], 4096)
    seen.counts.probability[:] = [0.9, 0.55, 0.7, 0.45, 0.2, 0.1]
    best = 0.0
    for kind, gated in itertools.product(("single", "min_area", "triplet"), (False, True)):
        search = Search(seen.counts, np.zeros(6, np.int64), TuneParams())
        for block in search.blocks(Family(kind, gated)):
            found = int(block.sums.sum(axis=(1, 2)).argmax())
            rule = block.rule(found)
            masks = [rule.apply(*one) for one in zip(levels, seen.counts.probability, strict=True)]
            totals = [mask.sum() + truth.sum() for mask, truth in zip(masks, truths, strict=True)]
            scores = [2 * (mask & truth).sum() / total if total else 1.0
                      for mask, truth, total in zip(masks, truths, totals, strict=True)]  # fmt: skip
            best = max(best, float(np.mean(scores)))
    assert summarise(seen)["dice_tuned"] == pytest.approx(best)


def test_without_any_mask_of_a_positive_no_figure_of_masks_is_had():
    """Of negatives alone a Dice of all images would be their specificity."""
    seen = at_one_level([0, 0, 0], [0, 9, 0], [0, 0, 0])
    positive, marked = np.array([False, False, False, True]), np.array([False, True, False, True])
    probability = np.array([0.1, 0.2, 0.3, 0.9])
    seen = replace(seen, loss=np.ones(4), probability=probability, positive=positive, marked=marked)
    had = summarise(seen)
    assert had["auc"] == had["sensitivity"] == 1
    assert had["specificity"] == pytest.approx(2 / 3)
    assert not {figure.name for figure in FIGURES if figure.needs_map} & had.keys()
    assert "dice_all" in summarise(at_one_level([0, 0], [0, 9], [0, 0]))  # no positive image at all


def told(history: list[dict[str, float]], metric: str = "dice_tuned") -> str:
    rows = [{"epoch": number, "val_collapsed": 0.0, "val_dice_all": 0.8} | row for number, row in enumerate(history, 1)]
    return "; ".join(findings(rows, metric, 0.75))


@pytest.mark.parametrize(
    ("predicted", "words"),
    [([0] * 4, "every map is empty"), ([5, 9, 1, 2], "no map is empty"), ([5, 0, 0, 0], "hit nothing")],
)
def test_a_collapse_is_told_by_what_it_is(predicted: list[int], words: str):
    """One positive among four; the last marks it, beside the lesion."""
    measured = summarise(at_one_level([0] * 4, predicted, [7, 0, 0, 0]))
    assert words in told([{f"val_{name}": value for name, value in measured.items()}])


def test_a_figure_that_stands_still_is_told_with_its_epoch():
    still = [{"val_auc": value} for value in (0.6, 0.7, 0.7, 0.7)]
    assert "auc, has not moved since epoch 2" in told(still, "auc")
    assert told(still[:3], "auc") == ""


def test_dice_tuned_at_the_all_empty_score_is_told_once():
    rows = [{"val_dice_tuned": value} for value in (0.8, 0.75, 0.75)]
    assert "is the all-empty score" in told(rows[:2])
    assert told(rows) == told(rows[:1]) == ""


def test_ranking_and_overlap_by_hand():
    """Marked pixels of one level, so that D_pos, 0.25, is the same at every threshold."""
    seen = at_one_level([5, 0, 0, 0], [10, 0, 3, 0], [10, 4, 0, 0])
    seen.probability[:] = [0.9, 0.6, 0.7, 0.1]
    assert summarise(seen)["auc_and_dice_pos"] == pytest.approx((0.75 + 0.25) / 2)
    seen.probability[:] = [0.9, 0.8, 0.7, 0.1]
    assert summarise(seen)["auc_and_dice_pos"] == pytest.approx((1.0 + 0.25) / 2)


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
