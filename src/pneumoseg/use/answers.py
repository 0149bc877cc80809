"""What a model says of one radiograph, or why it says nothing: drawn, written as JSON, or used as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.drawing.overlays import PREDICTION_COLOUR, display_image, display_mask, display_size, outline_layer
from pneumoseg.radiographs.geometry import NO_GEOMETRY, Geometry
from pneumoseg.rule.decision import Decider, Map, Mask
from pneumoseg.rule.findings import Finding
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import png_bytes, write_json, write_png

Side = Literal["left", "right", "both"]
Origin = Literal["image_head", "best_detection", "map_maximum", "image_head_and_map_maximum"]

BELOW = "below the threshold: this does not exclude a pneumothorax"
ABOVE = "above the threshold"
#: A side belongs to the finding where it holds at least this share of the area.
_SIDE_SHARE = 0.1
_OTHER: Mapping[str, Literal["left", "right"]] = {"left": "right", "right": "left"}


class Unavailable(DataError):  # noqa: N818 - an ordinary answer: this reading has no such result
    """A result that a reading does not give; the message says why."""


@dataclass(frozen=True)
class Refused:
    """A file that is not answered.

    Attributes:
        image_id: empty where the file has none that can be used.
        kind: a key of radiographs.rules.REFUSALS, or ``view``.
        reason: one sentence that quotes nothing personal.
    """

    accepted: ClassVar[bool] = False

    image_id: str
    kind: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"accepted": False, "image_id": self.image_id, "kind": self.kind, "reason": self.reason}


@dataclass(frozen=True, eq=False)
class Reading:
    """The answer to one radiograph.

    Attributes:
        image_id: of the file.
        pixels: (h, w) uint8 or uint16, dark to bright, as the network saw it before it was resized.
        shape: (rows, columns) of the file's own image.
        probability: of pneumothorax; ``origin`` says whether an image head gave it or the map's highest value.
        decider: the part of the rule that decided, and ``because`` the same in words.
        map: (rows, columns) uint8, round(255 p), or None where the networks give none.
        mask: (rows, columns) bool, or None likewise.
        positive: the call.
        geometry: what the file says of space.
        flags: keys of radiographs.rules.FLAGS, and ``view_unknown``.
        model: id of the bundle.
        warnings: what must stand beside every answer.
        operating_point: test figures of the rule in words, by name.
        seconds: that decoding and network took.
        findings: told apart, best first, also those whose score is too low for the rule; None: the networks tell none
            apart.
    """

    accepted: ClassVar[bool] = True

    image_id: str
    pixels: NDArray[Any]
    shape: tuple[int, int]
    probability: float
    origin: Origin
    positive: bool
    decider: Decider
    because: str
    map: Map | None
    mask: Mask | None
    geometry: Geometry = NO_GEOMETRY
    flags: tuple[str, ...] = ()
    model: str = ""
    warnings: tuple[str, ...] = ()
    operating_point: Mapping[str, str] | None = None
    seconds: float = 0.0
    findings: tuple[Finding, ...] | None = None

    @property
    def call(self) -> str:
        """The call in words that claim no more than was decided."""
        return ABOVE if self.positive else BELOW

    @cached_property
    def area_px(self) -> int | None:
        """Pixels of the mask, of the file's own image."""
        return None if self.mask is None else int(np.count_nonzero(self.mask))

    @property
    def area_mm2(self) -> float | None:
        """The same in the plane of ``geometry.spacing_source``; None without a spacing."""
        return None if self.area_px is None else self._mm2(self.area_px)

    def _mm2(self, pixels: int) -> float | None:
        spacing = self.geometry.spacing_mm
        return None if spacing is None else pixels * spacing[0] * spacing[1]

    @cached_property
    def side_in_image(self) -> Side | None:
        """The half of the image in which the mask lies, or both; None without a mask."""
        if self.mask is None or not self.area_px:
            return None
        columns = np.count_nonzero(self.mask, axis=0)
        left = float(columns[: len(columns) // 2].sum() / columns.sum())
        return "both" if _SIDE_SHARE <= left <= 1 - _SIDE_SHARE else "left" if left > 0.5 else "right"

    @property
    def side_of_patient(self) -> Side | None:
        """The patient's side, only where the file says how it is oriented."""
        side, right = self.side_in_image, self.geometry.right_of_image
        if side is None or right is None or side == "both":
            return side if right is not None else None
        return right if side == "right" else _OTHER[right]

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without pixels; no name, date or number of the patient is among them."""
        return {
            "accepted": True,
            "image_id": self.image_id,
            "call": self.call,
            "positive": self.positive,
            "probability": round(self.probability, 6),
            "probability_origin": self.origin,
            "decided_by": self.decider,
            "because": self.because,
            "area_px": self.area_px,
            "area_mm2": _tenths(self.area_mm2),
            "spacing_source": self.geometry.spacing_source,
            "side_in_image": self.side_in_image,
            "side_of_patient": self.side_of_patient,
            "findings": None if self.findings is None else [self._told(one) for one in self.findings],
            "rows": self.shape[0],
            "columns": self.shape[1],
            "flags": list(self.flags),
            "model": self.model,
            "operating_point": dict(self.operating_point or {}),
            "warnings": list(self.warnings),
        }

    def _told(self, finding: Finding) -> dict[str, Any]:
        area_px = int(np.count_nonzero(finding.mask))
        return {
            "score": round(finding.score, 6),
            "box": finding.box.round(2).tolist(),
            "area_px": area_px,
            "area_mm2": _tenths(self._mm2(area_px)),
        }

    def overlay(self, size_px: int = 1024) -> NDArray[np.uint8]:
        """The radiograph with the outline of the mask, and the warnings below it.

        Args:
            size_px: of the longer side; never enlarged.

        Returns:
            (h, w, 3) uint8 RGB.
        """
        size = display_size(self.shape, size_px)
        picture = cv2.cvtColor(display_image(self.pixels, size), cv2.COLOR_GRAY2RGB)
        if self.mask is not None and self.mask.any():
            layer = outline_layer(display_mask(self.mask, size), PREDICTION_COLOUR)
            marked = layer[:, :, 3] > 0
            share = layer[marked, 3:] / np.float32(255)
            picture[marked] = np.rint(picture[marked] * (1 - share) + layer[marked, :3] * share)
        return _captioned(
            np.asarray(picture, np.uint8), (f"{self.call}; probability {self.probability:.3f}", *self.warnings)
        )

    def save(self, path: Path | str) -> None:
        """Write the overlay as a PNG, or the answer as JSON, by the suffix of the path."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            write_json(path, self.to_json())
        else:
            write_png(path.with_suffix(".png"), self.overlay())

    def _repr_png_(self) -> bytes:
        """How a notebook shows it."""
        return png_bytes(self.overlay(512))

    def __repr__(self) -> str:
        """One line."""
        return f"Reading({self.image_id}: {self.call}; probability {self.probability:.3f}; {self.because})"


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _captioned(picture: NDArray[np.uint8], lines: tuple[str, ...]) -> NDArray[np.uint8]:
    """The picture with lines of text below, as large as its width allows and never cut."""
    width = picture.shape[1]
    widest = max(cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0] for line in lines)
    scale = min(0.6, 0.96 * width / widest)
    step = max(8, round(34 * scale))
    strip = np.zeros((step * len(lines) + step // 2, width, 3), np.uint8)
    for number, line in enumerate(lines, 1):
        place = (round(0.02 * width), step * number)
        cv2.putText(strip, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([picture, strip])
