"""Drawing in body coordinates: x from the midline (right of the image is positive), y down, both in image widths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 2), columns x and y
Layer = NDArray[np.float32]  # (size, size), fraction 0..1 or attenuation

#: OpenCV's smoothed fill reaches 0.6 px beyond the outline: where it covers this much, the outline itself runs.
SOLID = 0.9
_SHIFT = 5  # sub-pixel bits of OpenCV's drawing functions


@contextmanager
def without_ipp() -> Iterator[None]:
    """The last bit of IPP's blur depends on threads and on where an array lies in memory; OpenCV's own does not.

    Only while phantoms are drawn: what else this process resizes is as in a process that never drew one.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)


def smooth_curve(points: Iterable[tuple[float, float]], *, closed: bool = False, steps: int = 12) -> Points:
    """A Catmull-Rom curve through ``points``, (N * steps, 2); an open one also has the last point."""
    knots = np.asarray(list(points), np.float64)
    if closed:
        padded = np.vstack([knots[-1], knots, knots[0], knots[1]])
    else:
        padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    before, start, end, after = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    square = 2 * before - 5 * start + 4 * end - after
    cube = -before + 3 * start - 3 * end + after
    curve = (0.5 * (2 * start + (end - before) * t + square * t**2 + cube * t**3)).reshape(-1, 2)
    return curve if closed else np.vstack([curve, knots[-1:]])


def mirrored(points: Points, side: int) -> Points:
    """Points of the patient's left (side 1), or the same on the right (side -1)."""
    turned: Points = points * np.array([side, 1.0])
    return turned


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> Points:
    """A closed outline of 48 points; the angle in radians, clockwise on the image."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across, along = radius_x * np.cos(t), radius_y * np.sin(t)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.column_stack([x + across * cos - along * sin, y + across * sin + along * cos])


def band(points: Points, width: float | NDArray[np.float64]) -> Points:
    """The outline of a stroke along ``points`` whose width (one number, or one for each point) may taper."""
    normals = np.gradient(points, axis=0)[:, ::-1] * np.array([-1.0, 1.0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    half: Points = normals * (np.broadcast_to(np.asarray(width, np.float64), len(points)) / 2)[:, None]
    return np.vstack([points + half, (points - half)[::-1]])


class Canvas:
    """A square grid with the placement of the patient on it (rotation, scale, shift).

    Args:
        size: width and height in pixels.
        angle: rotation in radians, clockwise.
        scale: pixels of the body against pixels of the image.
        shift: of the body, (x, y) in image widths.
    """

    def __init__(self, size: int, angle: float, scale: float, shift: tuple[float, float]) -> None:
        """Set the placement; the body turns about the middle of the chest."""
        self.size = size
        self.placement = (angle, scale, shift)
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        self._matrix = np.array([[cos, sin], [-sin, cos]])
        self._offset = np.array([0.5 + shift[0], 0.5 + shift[1]])

    def pixels(self, points: Points) -> Points:
        """Body coordinates (N, 2) to pixel coordinates (column, row), centres of pixels at whole numbers."""
        placed: Points = (points - np.array([0.0, 0.5])) @ self._matrix + self._offset
        return placed * self.size - 0.5

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.round(self.pixels(points) * (1 << _SHIFT)).astype(np.int32)

    def empty(self) -> NDArray[np.uint8]:
        """A layer to draw on, (size, size) uint8."""
        return np.zeros((self.size, self.size), np.uint8)

    def paint(self, layer: NDArray[np.uint8], outline: Points, value: int = 255) -> None:
        """Fill an outline with a value, edges smoothed."""
        cv2.fillPoly(layer, [self._fixed(outline)], value, lineType=cv2.LINE_AA, shift=_SHIFT)

    def line(self, layer: NDArray[np.uint8], points: Points, width: float, value: int = 255) -> None:
        """Draw a curve of a width in image widths; one thinner than a pixel is fainter instead."""
        self.lines(layer, [points], width, value)

    def lines(self, layer: NDArray[np.uint8], curves: Sequence[Points], width: float, value: int = 255) -> None:
        """Draw curves of one width at once."""
        width_px = width * self.size
        shade = max(1, round(value * min(1.0, width_px)))
        thickness = max(1, round(width_px))
        fixed = np.split(self._fixed(np.vstack(curves)), np.cumsum([len(curve) for curve in curves])[:-1])
        cv2.polylines(layer, fixed, False, shade, thickness, cv2.LINE_AA, _SHIFT)

    def filled(self, *outlines: Points) -> Layer:
        """Coverage of outlines, (size, size) float32 0..1."""
        layer = self.empty()
        for outline in outlines:
            self.paint(layer, outline)
        return as_fraction(layer)

    def soft(self, *outlines: Points, blur: float) -> Layer:
        """Coverage of outlines with a blurred edge; blur (sigma) in image widths."""
        return blurred(self.filled(*outlines), blur)

    def coarse(self) -> Canvas:
        """The same placement on a grid of a quarter of the width, for what has soft edges."""
        return Canvas(max(self.size // 4, 64), *self.placement)

    def enlarge(self, layer: Layer) -> Layer:
        """A layer of a coarser grid on this one."""
        return as_layer(cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_LINEAR))


def as_layer(values: Any) -> Layer:
    """What OpenCV returns, as (size, size) float32."""
    return np.asarray(values, np.float32)


def as_fraction(layer: NDArray[np.uint8]) -> Layer:
    """0..255 to 0..1."""
    return layer.astype(np.float32) * np.float32(1 / 255)


def blurred(layer: Layer, sigma: float) -> Layer:
    """Gaussian blur, sigma in image widths; below a third of a pixel nothing happens."""
    sigma_px = sigma * layer.shape[0]
    if sigma_px < 1 / 3:
        return layer
    return as_layer(cv2.GaussianBlur(layer, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))
