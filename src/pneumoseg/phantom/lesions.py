"""Pneumothoraces: where the lung has come off the chest wall, and what only looks like it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.anatomy import Chest, lung
from pneumoseg.phantom.canvas import Points

_ANGLES = 720  # samples of an outline around the middle of the lung
_DEEPEST = 0.80  # the lung never collapses beyond this share of its radius


@dataclass(frozen=True)
class Pneumothorax:
    """A collapsed lung.

    Attributes:
        side: -1 right, 1 left.
        regions: the air between wall and lung, closed outlines, (N, 2) in body coordinates.
        lines: the pleural line of each region.
        share: area of the pneumothorax against that of the whole lung.
    """

    side: int
    regions: tuple[Points, ...]
    lines: tuple[Points, ...]
    share: float


def polar_lung(chest: Chest, side: int) -> tuple[Points, NDArray[np.float64], NDArray[np.float64]]:
    """The lung as a radius for each angle about its middle, so that it can shrink: middle (2,), angles and radii (N,).

    Angle 0 points outwards and grows downwards, on both sides.
    """
    outline = lung(chest, side) * np.array([side, 1.0])
    middle = np.array([0.46 * chest.half_width, chest.apex + 0.56 * (chest.dome_of(side) - chest.apex)])
    offset = outline - middle
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    radius = np.hypot(offset[:, 0], offset[:, 1])
    order = np.argsort(angle, kind="stable")
    angles = np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)
    return middle, angles, np.interp(angles, angle[order], radius[order], period=2 * np.pi)


def _bump(angles: NDArray[np.float64], centre: float, half: float) -> NDArray[np.float64]:
    """A smooth hump from 0 to 1 around a centre."""
    off = np.abs((angles - centre + np.pi) % (2 * np.pi) - np.pi)
    return np.where(off < half, np.cos(0.5 * np.pi * np.minimum(off / half, 1.0)) ** 0.9, 0.0)


def _area(radii: NDArray[np.float64], depth: NDArray[np.float64]) -> float:
    """Area between the full outline and the one that has lost ``depth`` (a share of the radius)."""
    return float(np.sum(radii**2 - (radii * (1 - depth)) ** 2) * np.pi / len(radii))


def _fit_depth(
    radii: NDArray[np.float64], angles: NDArray[np.float64], centre: float, target: float, wobble: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Depth of collapse around one centre with a given area: small ones narrow, large ones wide and deep."""
    share = target / _area(radii, np.ones_like(radii))
    # About the same length along the wall wherever it lies.
    half = (0.065 + 0.40 * math.sqrt(share)) / float(np.interp(centre, angles, radii))
    # No film of air over the diaphragm: the lung lies on it inwards of the costophrenic angle.
    tip = angles[np.argmax(np.where((angles > 0) & (angles < 1.5), radii, 0))]
    floor = (angles > tip) & (angles < 2.3)
    while True:
        shape = np.where(floor, 0.0, _bump(angles, centre, half)) * wobble
        low, high = 0.0, 2.0
        for _ in range(30):
            middle = (low + high) / 2
            if _area(radii, np.minimum(shape * middle, _DEEPEST)) < target:
                low = middle
            else:
                high = middle
        # Half an angle more is always tried before the lung is pressed flat.
        if high < 0.6 or half > 2.6:
            return np.minimum(shape * high, _DEEPEST)
        half *= 1.15


def draw_pneumothorax(
    rng: np.random.Generator, chest: Chest, side: int, area: float, regions: int, scale: float
) -> Pneumothorax:
    """Make a pneumothorax of an area.

    Args:
        rng: generator of the image.
        chest: the patient.
        side: -1 right, 1 left.
        area: visible area as a fraction of the image.
        regions: 1, or 2 for an apical and a basal one.
        scale: of the body on the image.
    """
    middle, angles, radii = polar_lung(chest, side)
    whole = _area(radii, np.ones_like(radii))
    target = min(area / scale**2, 0.72 * whole)
    # Apical: towards the apex, just inwards of straight up. Lateral: outwards. Basal: above the costophrenic angle.
    apical, lateral = rng.uniform(-1.75, -1.15), rng.uniform(-0.65, 0.15)
    basal = rng.uniform(0.30, 0.60)
    if regions == 2:
        part = rng.uniform(0.5, 0.75)
        centres = [(apical, target * part), (basal, target * (1 - part))]
    else:
        kind = rng.choice(3, p=[0.74, 0.20, 0.06]) if target < 0.25 * whole else rng.choice(2, p=[0.7, 0.3])
        centres = [((apical, lateral, basal)[kind], target)]
    depth = np.zeros_like(radii)
    for centre, part in centres:
        phases = rng.uniform(0, 2 * np.pi, 2)
        wobble = 1 + 0.06 * np.sin(5 * angles + phases[0]) + 0.03 * np.sin(9 * angles + phases[1])
        depth = np.maximum(depth, _fit_depth(radii, angles, centre, part, wobble))

    def outline(radius: NDArray[np.float64]) -> Points:
        x = middle[0] + radius * np.cos(angles)
        return np.column_stack([side * x, middle[1] + radius * np.sin(angles)])

    apart = depth > 0
    lines = _stretches(outline(radii * (1 - depth)), apart)
    # The wall lies a little further out than the lung's own edge, which bounds the air in the end.
    walls = _stretches(outline(radii * 1.06), apart)
    air = tuple(np.vstack([line, wall[::-1]]) for line, wall in zip(lines, walls, strict=True))
    return Pneumothorax(side, air, lines, _area(radii, depth) / whole)


def _stretches(outline: Points, apart: NDArray[np.bool_]) -> tuple[Points, ...]:
    """The parts of a closed outline where ``apart`` holds."""
    if apart.all():
        return (np.vstack([outline, outline[:1]]),)
    turn = int(np.argmin(apart))  # start where lung and wall touch, so that no stretch is cut in two
    apart, outline = np.roll(apart, -turn), np.roll(outline, -turn, axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], apart.astype(np.int8), [0]])))
    return tuple(outline[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start > 2)
