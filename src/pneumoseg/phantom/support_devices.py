"""What else lies on a radiograph: tubes, leads, folds of skin, bullae, and the letters burned in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.anatomy import LEFT, RIGHT, Chest
from pneumoseg.phantom.canvas import (
    Canvas,
    Layer,
    as_fraction,
    band,
    blurred,
    ellipse,
    mirrored,
    smooth_curve,
)

#: Every image of a phantom says so.
MARK = "PHANTOM"


def chest_tube(rng: np.random.Generator, chest: Chest, side: int, canvas: Canvas, layer: NDArray[np.uint8]) -> None:
    """Draw a drain from the flank up to the apex: two walls and an opaque stripe."""
    w, top = chest.half_width, chest.apex
    entry = chest.dome - rng.uniform(0.02, 0.16)
    rise = entry - top
    bend = rng.uniform(0.74, 0.84)
    path = smooth_curve(
        [
            (1.55 * w, entry + rng.uniform(0.06, 0.20)),
            (1.12 * w, entry + 0.02),
            (0.91 * w, entry - 0.14 * rise),
            (bend * w, top + 0.58 * rise),
            ((bend - 0.13) * w, top + 0.33 * rise),
            ((bend - 0.34) * w, top + rng.uniform(0.10, 0.18) * rise),
        ]
    )
    path = mirrored(path, side)
    edges = band(path, 0.0105)
    canvas.paint(layer, edges, 60)
    for edge in (edges[: len(path)], edges[len(path) :]):
        canvas.line(layer, edge, 0.0017, 150)
    canvas.line(layer, path, 0.0024, 235)


def breathing_tube(chest: Chest, canvas: Canvas, layer: NDArray[np.uint8]) -> None:
    """Draw an endotracheal tube that ends above the carina."""
    path = smooth_curve([(0.012, -0.1), (0.004, 0.05), (-0.004, chest.apex + 0.12), (-0.006, chest.apex + 0.20)])
    edges = band(path, 0.013)
    for edge in (edges[: len(path)], edges[len(path) :]):
        canvas.line(layer, edge, 0.0016, 120)
    canvas.line(layer, path, 0.002, 170)


def leads(rng: np.random.Generator, chest: Chest, canvas: Canvas, layer: NDArray[np.uint8]) -> None:
    """Draw ECG leads: snaps on the chest and wires that leave the image."""
    w = chest.half_width
    spots = [(-0.75 * w, chest.apex + 0.10), (0.75 * w, chest.apex + 0.09), (0.85 * w, chest.dome + 0.02)]
    for x, y in spots[: int(rng.integers(2, 4))]:
        x, y = x + rng.normal(0, 0.035), y + rng.normal(0, 0.03)
        canvas.paint(layer, ellipse(x, y, 0.0125, 0.0125), 110)
        canvas.paint(layer, ellipse(x, y, 0.0065, 0.0065), 255)
        side = RIGHT if x < 0 else LEFT
        wire = smooth_curve(
            [
                (x, y),
                (x + side * 0.05, y + rng.uniform(0.02, 0.09)),
                (x + side * rng.uniform(-0.04, 0.10), y + rng.uniform(0.20, 0.32)),
                (side * rng.uniform(0.2, 0.6), 1.15),
            ]
        )
        canvas.line(layer, wire, 0.0024, 150)


def skin_fold(rng: np.random.Generator, chest: Chest, side: int, canvas: Canvas) -> Layer:
    """A fold of skin over the outer lung: a shade that grows outwards and ends at an edge, markings go on beyond."""
    w = chest.half_width
    x, top = rng.uniform(0.62, 0.80), chest.apex + rng.uniform(0.10, 0.22)
    edge = [
        ((x - 0.05) * w, top),
        ((x + 0.02) * w, top + 0.15),
        ((x + 0.03) * w, top + 0.32),
        ((x - 0.06) * w, top + 0.46),
    ]
    curve = mirrored(smooth_curve(edge), side)
    inner = curve - np.array([side * 0.055, 0.0])
    solid = blurred(canvas.filled(np.vstack([curve, inner[::-1]])), 0.0012)
    return solid * canvas.enlarge(canvas.coarse().soft(band(curve[8:-8], 0.035), blur=0.016))


def bulla(rng: np.random.Generator, chest: Chest, side: int, canvas: Canvas) -> tuple[Layer, Layer]:
    """A thin-walled bubble of air within the upper lung: its inside and its wall."""
    w, radius = chest.half_width, rng.uniform(0.020, 0.036)
    x, y = side * rng.uniform(0.38, 0.62) * w, chest.apex + rng.uniform(0.10, 0.26)
    outline = ellipse(x, y, radius, radius * rng.uniform(0.75, 1.1))
    wall = canvas.empty()
    canvas.line(wall, np.vstack([outline, outline[:1]]), 0.002, 200)
    return blurred(canvas.filled(outline), 0.003), as_fraction(wall)


def gas(rng: np.random.Generator, chest: Chest, canvas: Canvas) -> Layer:
    """Gas in the stomach and the bowel below the left diaphragm, (size, size) 0..1."""
    w, dome = chest.half_width, chest.dome_of(LEFT)
    bubbles = [
        ellipse(rng.uniform(0.38, 0.58) * w, dome + rng.uniform(0.045, 0.06), 0.052, rng.uniform(0.018, 0.032), 0.1)
    ]
    x, y = rng.uniform(0.45, 0.75) * w, dome + rng.uniform(0.11, 0.15)
    for _ in range(int(rng.integers(0, 6))):  # a loop of the colon, haustra touching
        bubbles.append(ellipse(x, y, rng.uniform(0.022, 0.032), rng.uniform(0.018, 0.026), rng.uniform(-1, 1)))
        x, y = x - rng.uniform(0.025, 0.04), y + rng.uniform(-0.004, 0.022)
    return canvas.soft(*bubbles, blur=0.007)


def burn_in(image: NDArray[np.uint8], letters: Sequence[tuple[str, float, float]], level: int) -> None:
    """Write the side marker and other letters at (x, y), and the mark of a phantom in the lower right corner."""
    size = image.shape[0]
    for text, x, y in letters:
        _write(image, text, (x, y), 0.030 if len(text) == 1 else 0.016, level)
    _write(image, MARK, (1.0, 1 - max(0.012, 3 / size)), 0.014, 255, plate=True)


def _write(
    image: NDArray[np.uint8], text: str, place: tuple[float, float], height: float, level: int, *, plate: bool = False
) -> None:
    """Write letters of a height (a fraction of the image) from their lower left corner on, or on a dark plate."""
    size = image.shape[0]
    factor = max(height * size / 22, 0.30)
    stroke = max(1, round(factor * 1.6))
    (width, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, factor, stroke)
    x, y = max(1, min(round(place[0] * size), size - width - 2)), round(place[1] * size)
    if plate:
        cv2.rectangle(image, (x - 2, y - tall - 2), (size, y + 2), 10, -1)
    # Letters of a few pixels are only readable unsmoothed.
    style = cv2.LINE_AA if factor > 0.35 else cv2.LINE_8
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, factor, level, stroke, style)
