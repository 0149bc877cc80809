"""The decision rule: from a probability map to a mask, as data that is versioned with the experiment.

Every kind is one form: an image is called positive if its probability reaches the gate and if, at every level, enough
pixels lie above the level's threshold; its mask is then what lies above the mask threshold.

- ``single``: no level.
- ``min_area``: one level at the mask threshold.
- ``triplet``: one level above the mask threshold (top score, area, bottom score: 1st place of SIIM-ACR 2019).
- ``cumulative``: two or three levels, the lowest at the mask threshold, with areas that do not grow upwards.
- ``probability``: the gate alone, for networks that give no map; there is no mask.

A pixel is above threshold t where map > 255 t. Areas are pixels of a 1024 x 1024 image and scale with the image.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import read_json

Kind = Literal["single", "min_area", "triplet", "cumulative", "probability"]
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


_STRICT = ConfigDict(strict=True, extra="forbid")

#: What made an image negative: its probability is below the gate, too few pixels lie above a level's threshold, none
#: above the mask threshold, or every component is too small. ``all``: every part agrees, so it is positive.
Decider = Literal["gate", "area", "threshold", "component", "all"]


@dataclass(frozen=True)
class Level:
    """At least ``min_area_px_at_1024`` pixels must lie above ``threshold``."""

    __pydantic_config__ = _STRICT

    threshold: float
    min_area_px_at_1024: int


@dataclass(frozen=True, eq=False)
class Decision:
    """A decided image.

    Attributes:
        mask: (H, W) bool; all False where the image is called negative.
        decider: the part of the rule that decided.
        level: that decided, where an area did, and ``count_px`` the pixels above its threshold.
    """

    mask: Mask
    decider: Decider
    level: Level | None = None
    count_px: int = 0


@dataclass(frozen=True)
class DecisionRule:
    """One rule; see the module's text for the kinds."""

    __pydantic_config__ = _STRICT

    kind: Kind
    mask_threshold: float | None
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
        counts = {"single": (0,), "min_area": (1,), "triplet": (1,), "cumulative": (2, 3), "probability": (0,)}
        if (self.mask_threshold is None) != (self.kind == "probability"):
            return f"mask_threshold {self.mask_threshold}: only the kind probability has none"
        if self.kind == "probability" and (self.gate_probability is None or self.cleans):
            return "it has a gate_probability, and no mask that could be cleaned"
        base = 0.0 if self.mask_threshold is None else self.mask_threshold
        tops, areas = ([getattr(level, name) for level in self.levels] for name in ("threshold", "min_area_px_at_1024"))
        if not all(0 <= threshold < 1 for threshold in (base, *tops)):
            return f"thresholds {[base, *tops]} must be at least 0 and below 1"
        if self.gate_probability is not None and not 0 <= self.gate_probability <= 1:
            return f"gate_probability {self.gate_probability} must lie from 0 to 1"
        if any(area < 1 for area in areas) or self.min_component_px_at_1024 < 0:
            return f"areas {areas} must be at least 1 px, min_component_px_at_1024 at least 0"
        if len(self.levels) not in counts[self.kind]:
            return f"{len(self.levels)} levels; it has {' or '.join(map(str, counts[self.kind]))}"
        if self.kind == "triplet" and tops[0] <= base:
            return f"top threshold {tops[0]} must be above the mask threshold {base}"
        if self.kind in ("min_area", "cumulative") and tops[0] != base:
            return f"its first level, {tops[0]}, must be at the mask threshold {base}"
        if sorted(set(tops)) != tops or sorted(areas, reverse=True) != areas:
            return f"thresholds {tops} must rise and areas {areas} must not"
        return ""

    def opens(self, probability: Any) -> Any:
        """Whether image probabilities, one or (N,), reach the gate; all do where there is none."""
        return probability >= (-math.inf if self.gate_probability is None else self.gate_probability)

    def apply(self, probability_map: Map, probability: float) -> Mask:
        """The mask of ``decide``."""
        return self.decide(probability_map, probability).mask

    def decide(self, probability_map: Map, probability: float) -> Decision:
        """Decide one image that has a map.

        Args:
            probability_map: (H, W) uint8, round(255 p), at the image's own size.
            probability: of pneumothorax in the image, 0 to 1; only a gate uses it.

        Returns:
            the mask, all False where the image is called negative, and the part of the rule that decided.

        Raises:
            DataError: the rule is for images without a map.
        """
        if self.mask_threshold is None:
            raise DataError("the decision rule is for networks that give no map; run dvc repro tune")
        empty = np.zeros(probability_map.shape, np.bool_)
        if not self.opens(probability):
            return Decision(empty, "gate")
        for level in self.levels:
            count = int(np.count_nonzero(probability_map > level_of(level.threshold)))
            if not reaches_area(count, level.min_area_px_at_1024, probability_map.size):
                return Decision(empty, "area", level, count)
        marked = probability_map > level_of(self.mask_threshold)
        mask = clean_mask(marked, self.min_component_px_at_1024, self.fill_holes)
        if not mask.any():
            return Decision(mask, "component" if marked.any() else "threshold")
        return Decision(mask, "all")

    @property
    def cleans(self) -> bool:
        """Whether the mask is changed after thresholding."""
        return bool(self.min_component_px_at_1024) or self.fill_holes

    def describe(self) -> str:
        """The rule as one line of text."""
        if self.mask_threshold is None:
            return f"no mask; positive: image probability at least {self.gate_probability:g}"
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
        content: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        return content

    @classmethod
    def from_json(cls, content: Any, source: str = "decision rule") -> DecisionRule:
        """Read a rule from JSON values.

        Raises:
            DataError: a key is missing, unknown or of the wrong type, or the rule contradicts its kind.
        """
        try:
            return _ADAPTER.validate_json(json.dumps(content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{source}: no decision rule as the stage tune writes it ({where}: {first['msg']}); run dvc repro tune"
            ) from None
        except DataError as error:
            raise DataError(f"{source}: {error}") from None


_ADAPTER = TypeAdapter(DecisionRule)
#: The rules every other is compared with: of networks that give a map, and of those that give none.
PLAIN_RULE = DecisionRule("single", 0.5)
PLAIN_PROBABILITY_RULE = DecisionRule("probability", None, gate_probability=0.5)


def read_rule(thresholds_json: Path) -> DecisionRule:
    """Read the rule of metrics/thresholds.json.

    Raises:
        DataError: the file is missing or holds no rule.
    """
    content = read_json(thresholds_json)
    return DecisionRule.from_json(content.get("rule") if isinstance(content, dict) else None, str(thresholds_json))
