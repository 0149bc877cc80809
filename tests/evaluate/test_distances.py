"""Surface distances against distance transforms, instance precision against a plain COCO matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from pneumoseg.evaluate.distances import surface_distances, surface_points
from pneumoseg.evaluate.instances import IOU_THRESHOLDS, ImageInstances, match_findings, match_instances
from pneumoseg.rule.findings import Finding
from pneumoseg.shared.registry import METRICS
from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap
from tests.evaluate.evaluation_data import ellipse, made_up_map


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.15, 0.4)])
@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_a_distance_transform(seed: int, spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    first = ellipse(rng, 70, 90) | ellipse(rng, 70, 90)
    second = ellipse(rng, 70, 90) | (rng.random((70, 90)) < 0.002)
    first[0, :7] = True  # touches the border
    there = ndimage.distance_transform_edt(~surface(second), sampling=spacing)[surface(first)]
    back = ndimage.distance_transform_edt(~surface(first), sampling=spacing)[surface(second)]
    found = surface_distances(first, second, spacing)
    assert found is not None
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.mean == pytest.approx(np.concatenate([there, back]).mean())


def test_hand_worked_distances() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:5, 2:5] = True
    assert len(surface_points(mask)) == 8  # all but the centre
    shifted = np.roll(mask, 3, axis=1)
    found = surface_distances(mask, shifted)
    assert found is not None
    assert found.hd95 == pytest.approx(3.0)
    same = surface_distances(mask, mask)
    assert same is not None
    assert (same.hd95, same.mean) == (0.0, 0.0)
    assert surface_distances(mask, np.zeros_like(mask)) is None
    assert surface_distances(np.zeros_like(mask), np.zeros_like(mask)) is None


#: What is found in an image, with a score and the region: a mask, or as one the inside of a box.
Found = list[tuple[float, np.ndarray]]


def parts(mask: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [labels == number for number in range(1, count + 1)]


def framed(mask: np.ndarray) -> np.ndarray:
    box = np.zeros_like(mask)
    box[np.ix_(*(np.arange(found.min(), found.max() + 1) for found in np.nonzero(mask)))] = True
    return box


def coco(images: list[tuple[Found, list[np.ndarray]]], threshold: float) -> float:
    """Average precision of (found, true regions) at one IoU threshold, the way the COCO text tells it."""
    detections, truths = [], sum(len(objects) for _, objects in images)
    for index, (found, objects) in enumerate(images):
        detections += [(-score, index, region, objects) for score, region in found]
    detections.sort(key=lambda item: item[0])
    taken: set[tuple[int, int]] = set()
    precisions, recalls, hits = [], [], 0
    for place, (_, index, region, objects) in enumerate(detections, 1):
        overlaps = [
            ((region & other).sum() / (region | other).sum(), number)
            for number, other in enumerate(objects)
            if (index, number) not in taken
        ]
        best = max(overlaps, default=(0.0, -1))
        if best[0] >= threshold:
            taken.add((index, best[1]))
            hits += 1
        precisions.append(hits / place)
        recalls.append(hits / truths)
    interpolated = [
        max((p for p, r in zip(precisions, recalls, strict=True) if r >= level / 100 - 1e-12), default=0.0)
        for level in range(101)
    ]
    return float(np.mean(interpolated))


def precision_of(images: Sequence[ImageInstances | None]) -> dict[str, Estimate]:
    """The figures of the list, of masks and of boxes, with intervals over images."""
    rows = pd.DataFrame({"instances": pd.Series(list(images), dtype=object)})
    names = [f"{of}{name}" for of in ("", "box_") for name in ("ap", "ap50", "ap75")]
    figures = {name: METRICS[name].of(rows) for name in names}
    return PatientBootstrap(np.arange(len(rows)), 100, 0).estimates(figures)


def test_average_precision_is_that_of_coco() -> None:
    rng = np.random.default_rng(5)
    images = []
    for index in range(30):
        truth = np.zeros((64, 64), bool)
        if index % 3:
            truth = ellipse(rng, 64, 64) | ellipse(rng, 64, 64, 0.6)
        levels = made_up_map(rng, truth, 0.9)
        images.append((levels > 80, truth, levels))
    found = precision_of([None, *(match_instances(*image) for image in images)])  # the first one has no mask
    told = [([(levels[one].mean(), one) for one in parts(marked)], parts(truth)) for marked, truth, levels in images]
    assert_coco(found, told, "")
    assert found["ap50"].low < found["ap50"].value < found["ap50"].high


def assert_coco(found: dict[str, Estimate], images: list[tuple[Found, list[np.ndarray]]], of: str) -> None:
    single = [coco(images, threshold) for threshold in IOU_THRESHOLDS]
    assert 0 < single[5] < single[0] < 1
    for name, value in (("ap", np.mean(single)), ("ap50", single[0]), ("ap75", single[5])):
        assert found[f"{of}{name}"].value == pytest.approx(value), f"{of}{name}"


def test_findings_that_overlap_are_judged_as_coco_does() -> None:
    """Several of one lesion, some of none, scores that repeat in no image, images without a lesion among them."""
    rng = np.random.default_rng(6)
    masks: list[tuple[Found, list[np.ndarray]]] = []
    matched = []
    for index in range(25):
        truth = ellipse(rng, 48, 64) | ellipse(rng, 48, 64, 0.5) if index % 4 else np.zeros((48, 64), bool)
        near = [np.roll(one, rng.integers(-3, 4, 2), (0, 1)) for one in parts(truth) for _ in range(2)]
        regions = [*near, ellipse(rng, 48, 64, 0.5)]
        scores = rng.permutation(np.linspace(0.05, 0.95, len(regions)) + 1e-3 * index)
        boxes = [np.flip([(found.min(), found.max() + 1) for found in np.nonzero(one)], 0).T.ravel() for one in regions]
        findings = [Finding(*one) for one in zip(scores.tolist(), boxes, regions, strict=True)]
        matched.append(match_findings(findings, truth))
        masks.append((list(zip(scores.tolist(), regions, strict=True)), parts(truth)))
    found = precision_of(matched)
    assert_coco(found, masks, "")
    boxed = [([(score, framed(one)) for score, one in ours], [framed(one) for one in true]) for ours, true in masks]
    assert_coco(found, boxed, "box_")


def test_hand_worked_instances() -> None:
    truth, predicted = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[0:2, 0:4] = truth[6:8, 0:4] = True  # two of 8 px
    predicted[0:2, 0:4] = True  # the first, exactly
    predicted[4, 8] = True  # nothing
    levels = np.where(predicted, 100, 0).astype(np.uint8)
    levels[4, 8] = 200
    image = match_instances(predicted, truth, levels)
    assert image.truths == 2
    assert image.scores == pytest.approx([200 / 255, 100 / 255])
    assert image.hits.all(axis=1).tolist() == [False, True]
    # Ranked wrong, right: precision 1/2 up to recall 1/2 (51 of 101 recalls), then 0.
    assert precision_of([image])["ap"].value == pytest.approx(0.5 * 51 / 101)


def test_no_true_instance_has_no_average_precision() -> None:
    nothing = np.zeros((4, 4), bool)
    levels = np.zeros((4, 4), np.uint8)
    images = [match_instances(nothing, nothing, levels), match_instances(~nothing, nothing, levels)]
    assert [image.truths for image in images] == [0, 0]
    for unknown in (images, [None, None]):
        assert {figure.value for figure in precision_of(unknown).values()} == {None}
    missed = precision_of([ImageInstances(3, np.empty(0), np.empty((0, 10), bool), np.empty((0, 10), bool))])
    assert {(figure.value, figure.low) for figure in missed.values()} == {(0.0, None)}
