"""The branching vessels of a lung, from the hilum to the periphery."""

from __future__ import annotations

import math

import numpy as np

from pneumoseg.phantom.anatomy import LEFT, Chest
from pneumoseg.phantom.canvas import Points

#: A stretch of a vessel: its curve and its width in image widths.
Vessel = tuple[Points, float]

_STEP = 0.016  # length of a piece of a vessel, in image widths
_FINEST = 0.0011
_MOST = 1500  # stretches of one lung


def hilum(chest: Chest, side: int) -> tuple[float, float]:
    """Where the vessels of a lung come from; the left hilum lies a little higher."""
    return side * 0.225 * chest.half_width, chest.apex + 0.315 - (0.015 if side == LEFT else 0.0)


def vessel_tree(rng: np.random.Generator, chest: Chest, side: int) -> list[Vessel]:
    """Draw the vessels of one lung, some hundred stretches that taper outwards; the lower lung has the thicker ones."""
    x, y = hilum(chest, side)
    # Angles of the main branches: 0 points outwards, positive downwards.
    main = np.radians([-82, -58, -33, -10, 14, 36, 56, 74, 88]) + rng.normal(0, 0.10, 9)
    widths = np.array([0.0085, 0.0095, 0.0085, 0.008, 0.0085, 0.010, 0.0115, 0.0125, 0.010]) * rng.uniform(0.8, 1.15, 9)
    # (x, y, angle, width); the stack grows by branching and ends with the finest twigs.
    stack = [(x, y + 0.02 * math.sin(a), a, float(w)) for a, w in zip(main, widths, strict=True)]
    normals, uniforms = rng.standard_normal((_MOST, 5)).tolist(), rng.random((_MOST, 4)).tolist()
    vessels: list[Vessel] = []
    while stack and len(vessels) < _MOST:
        x, y, angle, width = stack.pop()
        bends, chances = normals[len(vessels)], uniforms[len(vessels)]
        points = [(x, y)]
        for bend in bends[: 2 + int(3 * chances[0])]:
            angle += 0.10 * bend
            x += side * _STEP * math.cos(angle)
            y += _STEP * math.sin(angle)
            points.append((x, y))
        vessels.append((np.array(points), width))
        thinner = width * 0.80
        if thinner < _FINEST:
            continue
        stack.append((x, y, angle + 0.08 * bends[4], thinner))
        if chances[1] < 0.78:
            turn = 1.7 * (chances[2] - 0.5)
            turn += math.copysign(0.20, turn)
            stack.append((x, y, angle + turn, thinner * (0.55 + 0.30 * chances[3])))
    return vessels
