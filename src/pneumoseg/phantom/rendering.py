"""One radiograph: attenuation of everything the beam passes, added up, then shown as a film would show it.

A computed radiograph shows about the logarithm of exposure, so that attenuations add; a sigmoid stands for the film.
Attenuation is in units of the soft tissue of a whole chest (1 = chest wall and mediastinum without lung).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom import anatomy, support_devices
from pneumoseg.phantom.anatomy import LEFT, RIGHT, Chest
from pneumoseg.phantom.canvas import (
    SOLID,
    Canvas,
    Layer,
    Points,
    as_fraction,
    as_layer,
    band,
    blurred,
    ellipse,
    without_ipp,
)
from pneumoseg.phantom.exposure import expose, letters
from pneumoseg.phantom.lesions import Pneumothorax, draw_pneumothorax
from pneumoseg.phantom.vessels import hilum, vessel_tree

SIDES = (RIGHT, LEFT)
#: Masks by side of the patient.
Lungs = dict[int, NDArray[np.bool_]]
#: What is left from the front of the contrast of air that lies before the lung.
_FAINT = np.float32(0.12)


@dataclass(frozen=True)
class Scene:
    """What a radiograph shows; areas are fractions of the image, 0 where there is no pneumothorax."""

    female: bool
    view_position: str
    side: int
    area: float
    regions: int
    chest_tube: bool
    confounder: bool
    anterior: bool = False  # in front of the lung: faint from the front, plain from the side


@without_ipp()
def render(
    scene: Scene, size_px: int, patient_rng: np.random.Generator, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Lungs]:
    """Render a radiograph and the truth.

    Args:
        scene: what it shows.
        size_px: width and height.
        patient_rng: fresh generator of the patient, the same for all images of one patient.
        rng: generator of this image.

    Returns:
        Image (H, W) uint8, MONOCHROME2, and mask (H, W) bool: the space between pleural line and chest wall; and
        the lungs by side of the patient, (H, W) bool each, as an ideal film would show them: collapsed parts too.
    """
    # Small images are reduced from larger ones, so that lines keep their width against the body.
    factor = -(-512 // size_px) if size_px < 512 else 1
    supine = scene.view_position == "AP"
    chest = anatomy.draw_chest(patient_rng, scene.female, supine)
    scale = rng.uniform(0.94, 1.06)
    shift = (rng.normal(0, 0.012), rng.normal(0, 0.015))
    canvas = Canvas(size_px * factor, np.radians(rng.normal(0, 3.0 if supine else 1.6)), scale, shift)
    lesion = None
    if scene.area > 0:
        lesion = draw_pneumothorax(rng, chest, scene.side, scene.area, scene.regions, scale)
    lungs = {side: canvas.filled(anatomy.lung(chest, side)) for side in SIDES}
    gap, truth = _gap(chest, canvas, lungs, lesion)
    film = Film(chest, canvas, lungs, gap * _FAINT if scene.anterior else gap)
    film.soft_tissue(rng)
    film.bones()
    film.markings(patient_rng, rng)
    if lesion is not None and not scene.anterior:
        film.pleural_line(lesion)
    film.objects(scene, rng)
    image = expose(film.attenuation, rng, supine)
    if factor > 1:
        image = as_layer(cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA))
        truth = as_layer(cv2.resize(truth, (size_px, size_px), interpolation=cv2.INTER_AREA))
    shown = np.clip(image, 0, 255).astype(np.uint8)
    support_devices.burn_in(shown, letters(scene.view_position, size_px, rng), int(rng.integers(190, 256)))
    # A sliver of a region in a small image covers less than half of any pixel, but is there.
    mask = truth >= min(0.5, float(truth.max())) if lesion is not None else np.zeros(shown.shape, np.bool_)
    return shown, mask, {side: _lung(lung, size_px) for side, lung in lungs.items()}


def _lung(coverage: Layer, size_px: int) -> NDArray[np.bool_]:
    return cv2.resize(coverage, (size_px, size_px), interpolation=cv2.INTER_AREA) >= SOLID


def _gap(chest: Chest, canvas: Canvas, lungs: dict[int, Layer], lesion: Pneumothorax | None) -> tuple[Layer, Layer]:
    """The space of a pneumothorax: all of it, and its visible part, that heart and mediastinum do not hide; 0..1."""
    nothing = np.zeros((canvas.size, canvas.size), np.float32)
    if lesion is None:
        return nothing, nothing
    gap = lungs[lesion.side] * canvas.filled(*lesion.regions)
    hidden = canvas.filled(anatomy.heart(chest), *anatomy.mediastinum(chest))
    return gap, ((gap > SOLID) & (hidden < SOLID)).astype(np.float32)


class Film:
    """The attenuation of one radiograph, added up layer by layer.

    Args:
        chest: the patient.
        canvas: where the patient is.
        lungs: coverage of both lungs.
        gap: coverage of the pneumothorax.
    """

    def __init__(self, chest: Chest, canvas: Canvas, lungs: dict[int, Layer], gap: Layer) -> None:
        """Begin with no attenuation at all."""
        self.chest, self.canvas, self.gap = chest, canvas, gap
        self.fields = lungs[RIGHT] + lungs[LEFT]
        self.attenuation: Layer = np.zeros((canvas.size, canvas.size), np.float32)
        self.grid = canvas.coarse()
        self.heart = self.grid.soft(anatomy.heart(chest), blur=0.0032)

    def soft_tissue(self, rng: np.random.Generator) -> None:
        """Body, lungs, heart, mediastinum, abdomen: on a coarse grid, as edges are soft; those of the lungs are not."""
        chest, grid = self.chest, self.grid
        shade = _thickness(grid.filled(anatomy.torso(chest)), 0.12) * (0.95 + 0.25 * chest.habitus)
        for side in SIDES:
            axis, _ = anatomy.arm(chest, side)
            limb = grid.filled(band(axis, 0.14 + 0.05 * chest.habitus))
            shade = np.maximum(shade, 0.70 * _thickness(limb, 0.07))
        shade = blurred(shade, 0.003)
        # The diaphragm's edge is that of the lungs; behind it lung thins out, so that the shade begins above it.
        below = 0.42 * grid.soft(anatomy.abdomen(chest), blur=0.022)
        shade += np.maximum(np.maximum(self._middle(), 0.35 * self.heart), below)
        if chest.female:
            cups = grid.soft(*(anatomy.breast(chest, side) for side in SIDES), blur=0.008)
            shade += (0.13 + 0.12 * chest.habitus) * cups
        shade -= 0.26 * support_devices.gas(rng, chest, grid)
        # Air is deep in the middle of a lung, shallow at its edge and in front of the heart.
        air = sum(_thickness(grid.filled(anatomy.lung(chest, side)), 0.085) for side in SIDES)
        depth = 0.28 + 0.34 * air - 0.42 * self.heart
        self.attenuation = self.canvas.enlarge(shade)
        self.attenuation -= self.fields * self.canvas.enlarge(depth)
        self.attenuation -= 0.25 * self.gap

    def _middle(self) -> Layer:
        """Mediastinum, denser downwards, with the knob of the aorta and the hila, less the airways; coarse grid."""
        chest, grid = self.chest, self.grid
        middle, knob = anatomy.mediastinum(chest)
        rows = (np.arange(grid.size, dtype=np.float32) / grid.size)[:, None]
        density = 0.16 + 0.30 / (1 + np.exp((chest.apex + 0.20 - rows) / np.float32(0.06)))
        density -= 0.26 / (1 + np.exp((chest.dome + 0.06 - rows) / np.float32(0.025)))
        shade = density * grid.soft(middle, blur=0.009) + 0.20 * grid.soft(knob, blur=0.004)
        roots = [ellipse(*hilum(chest, side), 0.030, 0.048, -0.35 * side) for side in SIDES]
        shade += 0.13 * grid.soft(*roots, blur=0.016)
        tubes = [band(path, width) for path, width in anatomy.airways(chest)]
        return as_layer(shade - 0.17 * grid.soft(*tubes, blur=0.004))

    def bones(self) -> None:
        """Spine, ribs, clavicles, scapulae, humeri."""
        chest, canvas = self.chest, self.canvas
        bone = np.zeros_like(self.attenuation)
        back, front = canvas.empty(), canvas.empty()
        for side in SIDES:
            for number in range(11):
                posterior, anterior = anatomy.rib(chest, side, number)
                _bone(canvas, back, posterior, 0.021 - 0.0004 * number, 120, 210)
                if number > 0:
                    _bone(canvas, front, anterior, np.linspace(0.020, 0.026, len(anterior)), 110, 170)
        bone += (0.22 * as_fraction(back) + 0.15 * as_fraction(front)) * canvas.enlarge(1 - 0.45 * self.heart)
        collar = canvas.empty()
        for side in SIDES:
            axis = anatomy.clavicle(chest, side)
            taper = np.interp(
                np.linspace(0, 1, len(axis)), [0, 0.12, 0.5, 0.85, 1], [0.022, 0.032, 0.021, 0.026, 0.010]
            )
            _bone(canvas, collar, axis, taper, 130, 230)
            _, shaft = anatomy.arm(chest, side)
            _bone(canvas, collar, shaft, np.linspace(0.055, 0.042, len(shaft)), 130, 190)
            canvas.paint(collar, anatomy.humeral_head(chest, side), 140)
        bone += 0.36 * as_fraction(collar)
        blades = canvas.empty()
        for side in SIDES:
            outline = anatomy.scapula(chest, side)
            canvas.paint(blades, outline, 90)
            canvas.line(blades, np.vstack([outline, outline[:1]]), 0.004, 190)
        bone += 0.20 * as_fraction(blades)
        bone += self._vertebrae()
        self.attenuation += blurred(bone, 0.0016)

    def _vertebrae(self) -> Layer:
        chest, canvas = self.chest, self.canvas
        column = canvas.empty()
        step = 0.046
        for top in np.arange(-0.05, 1.1, step):
            heights = np.linspace(top + 0.004, top + step - 0.004, 6)
            width = 0.060 + 0.022 * max(0.0, top)
            outline = band(anatomy.spine(chest, heights), width)
            canvas.paint(column, outline, 95)
            canvas.line(column, np.vstack([outline, outline[:1]]), 0.0030, 150)
            centre = anatomy.spine(chest, np.array([top + 0.4 * step]))[0]
            for way in (-1, 1):
                pedicle = np.array([[way * 0.34 * width, 0.0], [way * 0.34 * width, 0.010]]) + centre
                canvas.line(column, pedicle, 0.009, 170)
            canvas.line(column, np.array([[0.0, 0.008], [0.0, 0.022]]) + centre, 0.007, 150)
        return 0.20 * as_fraction(column)

    def markings(self, patient_rng: np.random.Generator, rng: np.random.Generator) -> None:
        """Vessels and fine texture of the lung that is left; beyond the pleural line there are none."""
        chest, canvas, grid = self.chest, self.canvas, self.grid
        by_width: dict[int, list[Points]] = {}
        for side in SIDES:
            for path, width in vessel_tree(patient_rng, chest, side):
                by_width.setdefault(round(8 * math.log2(width)), []).append(path)
        tree = canvas.empty()
        for level, paths in sorted(by_width.items()):  # the thicker ones last, on top
            width = 2 ** (level / 8)
            canvas.lines(tree, paths, width * 0.85, min(255, round(70 + 17000 * width)))
        grain = rng.standard_normal((grid.size, grid.size), np.float32)
        texture = blurred(grain, 0.0035) * 3.0 + blurred(grain, 0.010) * 5.0
        patches = rng.uniform(0, 0.03) + (rng.random() < 0.25) * rng.uniform(0.05, 0.13)
        clouds = as_layer(cv2.GaussianBlur(rng.standard_normal((24, 24), np.float32), (0, 0), 1.6))
        fine = texture * rng.uniform(0.014, 0.024) + 3.0 * patches * np.maximum(grid.enlarge(clouds), 0)
        fine += 0.10 if self.gap.any() else 0.06  # the tissue itself; a collapsed lung is denser
        seen = 1 - 0.7 * self.heart
        markings = canvas.enlarge(fine * seen)
        markings += blurred(as_fraction(tree), 0.0010) * canvas.enlarge(0.34 * seen)
        markings *= self.fields
        markings *= 1 - self.gap
        self.attenuation += markings

    def pleural_line(self, lesion: Pneumothorax) -> None:
        """The thin white line of the visceral pleura."""
        line = self.canvas.empty()
        for stretch in lesion.lines:
            self.canvas.line(line, stretch, 0.0030, 255)
        self.attenuation += 0.24 * as_fraction(line) * self.fields

    def objects(self, scene: Scene, rng: np.random.Generator) -> None:
        """Tubes, leads and what looks like a pneumothorax but is none."""
        chest, canvas = self.chest, self.canvas
        metal = canvas.empty()
        if scene.chest_tube:
            support_devices.chest_tube(rng, chest, scene.side, canvas, metal)
        if chest.supine and rng.random() < 0.45:
            support_devices.leads(rng, chest, canvas, metal)
        if chest.supine and rng.random() < 0.25:
            support_devices.breathing_tube(chest, canvas, metal)
        if metal.any():
            self.attenuation += 0.60 * as_fraction(metal)
        if scene.confounder and rng.random() < 0.65:
            self.attenuation += 0.20 * support_devices.skin_fold(rng, chest, -scene.side, canvas)
        elif scene.confounder:
            inside, wall = support_devices.bulla(rng, chest, -scene.side, canvas)
            self.attenuation += 0.10 * wall - 0.06 * inside


def _thickness(solid: Layer, radius: float) -> Layer:
    """Depth of a rounded body from its silhouette, 0..1: at the edge a quarter circle of a radius in image widths."""
    inside = (solid > 0.5).astype(np.uint8)
    # What reaches the border of the image goes on beyond it.
    margin = round(radius * solid.shape[0]) + 1
    wide = cv2.copyMakeBorder(inside, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    distance = as_layer(cv2.distanceTransform(wide, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))[margin:-margin, margin:-margin]
    edge = np.minimum(distance / np.float32(radius * solid.shape[0]), 1)
    return as_layer(np.sqrt(1 - (1 - edge) ** 2))


def _bone(canvas: Canvas, layer: NDArray[np.uint8], axis: Any, width: Any, inside: int, cortex: int) -> None:
    """Draw a long bone: a band with brighter edges."""
    outline = band(axis, width)
    canvas.paint(layer, outline, inside)
    for edge in (outline[: len(axis)], outline[len(axis) :]):
        canvas.line(layer, edge, 0.0028, cortex)
