"""The view from the side: the same patient turned by 90 degrees, drawn in the same body coordinates.

x runs from the spine (right of the image) to the breastbone (left), y down, in image widths. Plainer than the frontal
view: it is there so that a second view can be read, not to pass for a radiograph.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom import support_devices
from pneumoseg.phantom.anatomy import Chest, draw_chest
from pneumoseg.phantom.canvas import (
    Canvas,
    Layer,
    Points,
    as_fraction,
    as_layer,
    band,
    ellipse,
    smooth_curve,
    without_ipp,
)
from pneumoseg.phantom.exposure import expose, letters
from pneumoseg.phantom.rendering import Scene

#: Depth of the air seen from the side, before the lung and elsewhere, where the other lung lies over it.
_PLAIN, _OVERLAID = 0.34, 0.10


@without_ipp()
def render_lateral(
    scene: Scene, size_px: int, patient_rng: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Render the view from the side of a scene, (H, W) uint8, MONOCHROME2.

    Args:
        scene: what the frontal view shows.
        size_px: width and height.
        patient_rng: fresh generator of the patient, as for the frontal view.
        rng: generator of this image.
    """
    factor = -(-512 // size_px) if size_px < 512 else 1
    chest = draw_chest(patient_rng, scene.female, supine=False)
    shift = (rng.normal(0, 0.012), rng.normal(0, 0.015))
    canvas = Canvas(size_px * factor, np.radians(rng.normal(0, 1.5)), rng.uniform(0.94, 1.06), shift)
    field = canvas.filled(_lung(chest))
    film = _tissue(chest, canvas, field, rng)
    if scene.area > 0:
        film += _air(scene, chest, canvas, field, rng)
    image = expose(film, rng, supine=False)
    if factor > 1:
        image = as_layer(cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA))
    shown = np.clip(image, 0, 255).astype(np.uint8)
    support_devices.burn_in(shown, letters("LL", size_px, rng), int(rng.integers(190, 256)))
    return shown


def _lung(chest: Chest) -> Points:
    """Both lungs, one over the other; closed, from the apex forwards and down."""
    top, dome = chest.apex, chest.dome
    height = dome - top
    return smooth_curve(
        [
            (0.02, top + 0.02),
            (-0.10, top + 0.20 * height),
            (-0.20, top + 0.45 * height),
            (-0.235, top + 0.75 * height),
            (-0.22, dome - 0.01),
            (-0.05, dome - 0.04),
            (0.12, dome + 0.02),
            (0.22, dome + 0.10),
            (0.235, top + 0.75 * height),
            (0.22, top + 0.35 * height),
            (0.12, top + 0.06 * height),
        ],
        closed=True,
    )


def _tissue(chest: Chest, canvas: Canvas, field: Layer, rng: np.random.Generator) -> Layer:
    """Attenuation of trunk, spine, heart, abdomen and lungs with their vessels."""
    grid = canvas.coarse()
    height = chest.dome - chest.apex
    trunk = ellipse(0.0, chest.apex + 0.62, 0.36 + 0.05 * chest.habitus, 0.75)
    shade = 1.05 * grid.soft(trunk, blur=0.01)
    heights = np.linspace(-0.1, 1.1, 40)
    spine = np.column_stack([0.255 + 0.02 * np.sin(2.2 * heights), heights])
    shade += 0.30 * grid.soft(band(spine, 0.085), blur=0.004)
    heart = ellipse(-0.10, chest.dome - 0.13, 0.13 * chest.heart, 0.14 * chest.heart, 0.5)
    shade += 0.34 * grid.soft(heart, blur=0.008)
    shade += 0.30 * grid.soft(ellipse(0.0, chest.dome + 0.42, 0.34, 0.40), blur=0.01)
    film = canvas.enlarge(shade) - 0.62 * field
    tree = canvas.empty()
    hilum = np.array([0.02, chest.apex + 0.45 * height])
    for angle in rng.uniform(0, 2 * np.pi, 26):
        reach = rng.uniform(0.08, 0.22)
        way = np.array([0.9 * np.cos(angle), 1.2 * np.sin(angle)])
        bend = rng.normal(0, 0.02, 2)
        canvas.line(tree, np.stack([hilum, hilum + 0.5 * reach * way + bend, hilum + reach * way]), 0.0045, 130)
    ribs = canvas.empty()
    for number in range(9):
        start = chest.apex + 0.02 + number * 0.075
        x = np.linspace(0.24, -0.20, 20)
        canvas.line(ribs, np.column_stack([x, start + 0.20 * (0.24 - x) ** 1.2]), 0.014, 120)
    return as_layer(film + 0.22 * as_fraction(tree) * field + 0.16 * as_fraction(ribs))


def _air(scene: Scene, chest: Chest, canvas: Canvas, field: Layer, rng: np.random.Generator) -> Layer:
    """What air takes away: in front of the lung a dark band behind the breastbone, else some at the apex."""
    if scene.anterior:
        height = chest.dome - chest.apex
        y = chest.apex + np.array([0.10, 0.30, 0.55, 0.80]) * height
        wall = np.array([-0.05, -0.14, -0.21, -0.235])
        width = np.clip(4.5 * scene.area, 0.05, 0.16) * rng.uniform(0.9, 1.1)
        line = np.column_stack([wall + width * np.array([0.5, 0.9, 1.0, 0.6]), y])
        region, depth = np.vstack([np.column_stack([wall - 0.05, y]), line[::-1]]), _PLAIN
    else:
        radius = np.clip(0.8 * np.sqrt(scene.area), 0.05, 0.20)
        region = ellipse(0.06, chest.apex + 0.02, 1.1 * radius, radius)
        line, depth = region, _OVERLAID
    pleura = canvas.empty()
    canvas.line(pleura, line, 0.0035, 255)
    taken: Layer = as_layer(0.5 * depth * as_fraction(pleura) * field - depth * canvas.filled(region) * field)
    return taken
