"""The decision rule against hand-worked maps and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from pneumoseg.rule.decision import PLAIN_PROBABILITY_RULE, PLAIN_RULE, DecisionRule, Level, clean_mask, level_of
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json, write_json

# 8 x 8 pixels: one pixel stands for 16,384 of 1024 x 1024.
ONE_PX = 1024 * 1024 // 64


def image(*values: int) -> np.ndarray:
    """8 x 8 map with these values in the first row and 0 elsewhere."""
    levels = np.zeros((8, 8), np.uint8)
    levels[0, : len(values)] = values
    return levels


def test_a_pixel_is_positive_above_255_t() -> None:
    # 255 * 0.2 is 51: 51 is not above it, 52 is; 255 * 0.5 is 127.5: 128 is the first above.
    assert DecisionRule("single", 0.2).apply(image(50, 51, 52), 0.0).sum() == 1
    assert PLAIN_RULE.apply(image(127, 128), 0.0)[0].tolist()[:2] == [False, True]
    assert DecisionRule("single", 0.0).apply(image(0, 1), 0.0).sum() == 1


@given(st.floats(0, 1, exclude_max=True))
def test_level_is_the_same_comparison_as_with_floats(threshold: float) -> None:
    grey = np.arange(256, dtype=np.uint8)
    assert np.array_equal(grey > level_of(threshold), grey.astype(np.float64) > 255.0 * threshold)


def test_min_area_counts_pixels_at_the_mask_threshold() -> None:
    levels = image(200, 200, 100)
    assert DecisionRule("min_area", 0.5, (Level(0.5, 2 * ONE_PX),)).apply(levels, 0.0).sum() == 2
    assert DecisionRule("min_area", 0.5, (Level(0.5, 2 * ONE_PX + 1),)).apply(levels, 0.0).sum() == 0


def test_triplet_decides_at_the_top_and_masks_at_the_bottom() -> None:
    rule = DecisionRule("triplet", 0.3, (Level(0.75, 2 * ONE_PX),))
    assert rule.apply(image(200, 200, 100, 100, 50), 0.0).sum() == 4
    assert rule.apply(image(200, 190, 100, 100, 50), 0.0).sum() == 0


def test_cumulative_needs_every_level() -> None:
    rule = DecisionRule("cumulative", 0.2, (Level(0.2, 4 * ONE_PX), Level(0.5, 2 * ONE_PX), Level(0.9, ONE_PX)))
    assert rule.apply(image(240, 140, 60, 60), 0.0).sum() == 4
    for short in (image(240, 140, 60), image(240, 100, 60, 60), image(220, 140, 60, 60)):
        assert not rule.apply(short, 0.0).any()


def test_gate_closes_below_its_probability_and_opens_at_it() -> None:
    rule = DecisionRule("single", 0.5, (), 0.4)
    assert rule.apply(image(255), 0.4).any()
    assert not rule.apply(image(255), 0.399999).any()


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (2048, 1024), (300, 500)])
def test_area_scales_with_the_image_and_is_exact_at_the_limit(size: tuple[int, int]) -> None:
    needed = -(-600 * size[0] * size[1] // (1024 * 1024))  # ceiling
    rule = DecisionRule("min_area", 0.5, (Level(0.5, 600),))
    levels = np.zeros(size, np.uint8)
    levels.ravel()[: needed - 1] = 255
    assert not rule.apply(levels, 1.0).any()
    levels.ravel()[needed - 1] = 255
    assert rule.apply(levels, 1.0).sum() == needed


def test_a_dropped_component_can_leave_an_empty_mask() -> None:
    rule = DecisionRule("single", 0.5, (), None, 2 * ONE_PX)
    assert not rule.apply(image(255, 0, 255), 0.0).any()
    assert rule.apply(image(255, 255, 0, 255), 0.0)[0].tolist()[:4] == [True, True, False, False]


@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))), st.integers(0, 6), st.booleans())
def test_cleaning_agrees_with_scipy(mask: np.ndarray, pixels: int, fill: bool) -> None:
    area = pixels * 1024 * 1024 // mask.size  # reached by so many pixels and not by one fewer
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    expected = np.zeros_like(mask)
    for number in range(1, count + 1):
        if (labels == number).sum() >= pixels:
            expected |= labels == number
    if fill:
        expected = ndimage.binary_fill_holes(expected)
    assert np.array_equal(clean_mask(mask, area, fill), expected)


def test_rule_survives_the_file_it_is_kept_in(tmp_path: object) -> None:
    path = tmp_path / "rule.json"  # type: ignore[operator]
    rule = DecisionRule("cumulative", 0.333333, (Level(0.333333, 900), Level(0.7, 20)), 0.123456, 64, True)
    for kept in (rule, PLAIN_PROBABILITY_RULE):
        write_json(path, kept.to_json())
        assert DecisionRule.from_json(read_json(path)) == kept


def test_a_rule_without_a_map_calls_and_never_marks() -> None:
    rule = DecisionRule("probability", None, (), 0.4)
    assert rule.opens(np.array([0.399999, 0.4, 1.0])).tolist() == [False, True, True]
    with pytest.raises(DataError, match="give no map"):
        rule.apply(image(255), 1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "quadruplet"}, r"kind: Input should be .single."),
        ({"mask_threshold": 1.0}, "below 1"),
        ({"levels": []}, "it has 1"),
        ({"levels": [{"threshold": 0.3, "min_area_px_at_1024": 5}]}, "above the mask threshold"),
        ({"levels": [{"threshold": 0.8, "min_area_px_at_1024": 0}]}, "at least 1 px"),
        ({"gate_probability": 1.5}, "gate_probability"),
        ({"extra": 1}, "dvc repro tune"),
        ({"levels": None}, "no decision rule"),
        ({"mask_threshold": None}, "only the kind probability has none"),
        ({"kind": "probability", "mask_threshold": None, "levels": []}, "it has a gate_probability"),
        ({"fill_holes": 1.5}, "dvc repro tune"),
    ],
)
def test_a_damaged_rule_is_refused(change: dict[str, object], says: str) -> None:
    content = DecisionRule("triplet", 0.3, (Level(0.7, 600),)).to_json()
    with pytest.raises(DataError, match=says):
        DecisionRule.from_json(json.loads(json.dumps(content | change)), "metrics/thresholds.json")
