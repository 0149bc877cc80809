"""The decision rule: from a probability map to a mask, as data that is versioned with the experiment.

Every kind is one form: an image is called positive if its probability reaches the gate and if, at every level, enough
pixels lie above the level's threshold; its mask is then what lies above the mask threshold.

- ``single``: no level.
- ``min_area``: one level at the mask threshold.
- ``triplet``: one level above the mask threshold (top score, area, bottom score: 1st place of SIIM-ACR 2019).
- ``cumulative``: two or three levels, the lowest at the mask threshold, with areas that do not grow upwards.

A pixel is above threshold t where map > 255 t. Areas are pixels of a 1024 x 1024 image and scale with the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json

Kind = Literal["single", "min_area", "triplet", "cumulative"]
Map = NDArray[np.uint8]
Mask = NDArray[np.bool_]

#: Areas are given for an image of so many pixels.
REFERENCE_PIXELS = 1024 * 1024


def level_of(threshold: float) -> int:
    """The grey level L of a threshold: map > 255 threshold is map > L for whole numbers."""
    return math.floor(255.0 * threshold)


def reaches_area(count_px: Any, area_px_at_1024: Any, image_px: Any) -> Any:
    """Whether counts reach an area that is given for 1024 x 1024; whole-number arithmetic, so exact at the limit."""
    return count_px * REFERENCE_PIXELS >= area_px_at_1024 * image_px


def clean_mask(mask: Mask, min_component_px_at_1024: int, fill_holes: bool) -> Mask:
    """Drop components (8-connected) below an area, then fill holes (background that does not reach the border).

    Args:
        mask: (H, W) bool.
        min_component_px_at_1024: pixels at 1024 x 1024; 0 keeps every component.
        fill_holes: whether to fill them.

    Returns:
        (H, W) bool; the same array where there is nothing to do.
    """
    if min_component_px_at_1024 and mask.any():
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        keep = reaches_area(stats[:, cv2.CC_STAT_AREA].astype(np.int64), min_component_px_at_1024, mask.size)
        keep[0] = False
        mask = keep[labels]
    if fill_holes and mask.any():
        _, labels = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        outside = np.zeros(int(labels.max()) + 1, np.bool_)
        outside[border] = True
        outside[0] = False  # label 0 is the mask itself
        mask = ~outside[labels]
    return mask


@dataclass(frozen=True)
class Level:
    """At least ``min_area_px_at_1024`` pixels must lie above ``threshold``."""

    threshold: float
    min_area_px_at_1024: int


@dataclass(frozen=True)
class DecisionRule:
    """One rule; see the module's text for the kinds."""

    kind: Kind
    mask_threshold: float
    levels: tuple[Level, ...] = ()
    gate_probability: float | None = None
    min_component_px_at_1024: int = 0
    fill_holes: bool = False

    def __post_init__(self) -> None:
        """Refuse a rule that contradicts its kind.

        Raises:
            DataError: names the value and what it must be.
        """
        wrong = self._mistake()
        if wrong:
            raise DataError(f"decision rule of kind {self.kind!r}: {wrong}")

    def _mistake(self) -> str:
        if self.kind not in get_args(Kind):
            return f"not a kind; one of {', '.join(get_args(Kind))}"
        thresholds = [self.mask_threshold, *(level.threshold for level in self.levels)]
        if not all(0 <= threshold < 1 for threshold in thresholds):
            return f"thresholds {thresholds} must be at least 0 and below 1"
        if self.gate_probability is not None and not 0 <= self.gate_probability <= 1:
            return f"gate_probability {self.gate_probability} must lie from 0 to 1"
        areas = [level.min_area_px_at_1024 for level in self.levels]
        if any(area < 1 for area in areas) or self.min_component_px_at_1024 < 0:
            return f"areas {areas} must be at least 1 px, min_component_px_at_1024 at least 0"
        counts = {"single": (0,), "min_area": (1,), "triplet": (1,), "cumulative": (2, 3)}[self.kind]
        if len(self.levels) not in counts:
            return f"{len(self.levels)} levels; it has {' or '.join(map(str, counts))}"
        tops = thresholds[1:]
        if self.kind == "triplet" and tops[0] <= self.mask_threshold:
            return f"top threshold {tops[0]} must be above the mask threshold {self.mask_threshold}"
        if self.kind in ("min_area", "cumulative") and tops[0] != self.mask_threshold:
            return f"its first level, {tops[0]}, must be at the mask threshold {self.mask_threshold}"
        if sorted(set(tops)) != tops or sorted(areas, reverse=True) != areas:
            return f"thresholds {tops} must rise and areas {areas} must not"
        return ""

    def apply(self, probability_map: Map, probability: float) -> Mask:
        """Decide one image.

        Args:
            probability_map: (H, W) uint8, round(255 p), at the image's own size.
            probability: of pneumothorax in the image, 0 to 1; only a gate uses it.

        Returns:
            (H, W) bool; all False where the image is called negative.
        """
        if self.gate_probability is not None and probability < self.gate_probability:
            return np.zeros(probability_map.shape, np.bool_)
        for level in self.levels:
            count = int(np.count_nonzero(probability_map > level_of(level.threshold)))
            if not reaches_area(count, level.min_area_px_at_1024, probability_map.size):
                return np.zeros(probability_map.shape, np.bool_)
        return clean_mask(
            probability_map > level_of(self.mask_threshold), self.min_component_px_at_1024, self.fill_holes
        )

    @property
    def cleans(self) -> bool:
        """Whether the mask is changed after thresholding."""
        return bool(self.min_component_px_at_1024) or self.fill_holes

    def describe(self) -> str:
        """The rule as one line of text."""
        parts = [f"mask: p > {self.mask_threshold:g}"]
        parts += [
            f"at least {level.min_area_px_at_1024} px (at 1024²) with p > {level.threshold:g}" for level in self.levels
        ]
        if self.gate_probability is not None:
            parts.append(f"image probability at least {self.gate_probability:g}")
        if self.min_component_px_at_1024:
            parts.append(f"components of at least {self.min_component_px_at_1024} px (at 1024²)")
        if self.fill_holes:
            parts.append("holes filled")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON values; from_json gives it back."""
        return {
            "kind": self.kind,
            "mask_threshold": self.mask_threshold,
            "levels": [
                {"threshold": level.threshold, "min_area_px_at_1024": level.min_area_px_at_1024}
                for level in self.levels
            ],
            "gate_probability": self.gate_probability,
            "min_component_px_at_1024": self.min_component_px_at_1024,
            "fill_holes": self.fill_holes,
        }

    @classmethod
    def from_json(cls, content: Any, source: str = "decision rule") -> DecisionRule:
        """Read a rule from JSON values.

        Raises:
            DataError: a key is missing, unknown or of the wrong type, or the rule contradicts its kind.
        """
        try:
            levels = tuple(
                Level(float(item["threshold"]), int(item["min_area_px_at_1024"])) for item in content["levels"]
            )
            gate = content["gate_probability"]
            rule = cls(
                kind=content["kind"],
                mask_threshold=float(content["mask_threshold"]),
                levels=levels,
                gate_probability=None if gate is None else float(gate),
                min_component_px_at_1024=int(content["min_component_px_at_1024"]),
                fill_holes=bool(content["fill_holes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{source}: no decision rule ({error!r}); run dvc repro tune") from None
        except DataError as error:
            raise DataError(f"{source}: {error}") from None
        if rule.to_json() != content:
            raise DataError(f"{source}: not a decision rule as the stage tune writes it; run dvc repro tune")
        return rule


#: The rule every other is compared with.
PLAIN_RULE = DecisionRule("single", 0.5)


def read_rule(thresholds_json: Path) -> DecisionRule:
    """Read the rule of metrics/thresholds.json.

    Raises:
        DataError: the file is missing or holds no rule.
    """
    content = read_json(thresholds_json)
    return DecisionRule.from_json(content.get("rule") if isinstance(content, dict) else None, str(thresholds_json))
