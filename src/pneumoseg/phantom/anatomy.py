"""The shape of one chest: outlines of body, lungs, heart, bones and vessels, in body coordinates (see canvas)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pneumoseg.phantom.canvas import Points, ellipse, mirrored, smooth_curve

RIGHT, LEFT = -1, 1  # of the patient; the right lung lies on the left of the image


@dataclass(frozen=True)
class Chest:
    """Measures of one patient in one view, in image widths; habitus 0 is lean, 1 heavy."""

    half_width: float
    apex: float
    dome: float  # height of the right diaphragm, the left one lies lower
    left_drop: float
    heart: float  # scale of the heart
    habitus: float
    rib_slope: float
    kyphosis: float
    tilt: float  # of the clavicles
    female: bool
    supine: bool  # AP view: arms down, scapulae over the lungs, shallow breath, larger heart

    def dome_of(self, side: int) -> float:
        """Height of the top of a diaphragm."""
        return self.dome + (self.left_drop if side == LEFT else 0.0)


def draw_chest(rng: np.random.Generator, female: bool, supine: bool) -> Chest:
    """Draw the measures of a patient; the same generator state gives the same patient in both views."""
    u = rng.uniform(size=9)
    shallow = 0.05 if supine else 0.0
    return Chest(
        half_width=0.325 + 0.05 * u[0] - (0.012 if female else 0.0),
        apex=0.095 + 0.035 * u[1] + 0.4 * shallow,
        dome=0.70 + 0.07 * u[2] - shallow,
        left_drop=0.012 + 0.028 * u[3],
        heart=(0.88 + 0.3 * u[4]) * (1.13 if supine else 1.0),
        habitus=float(u[5] ** 1.5),
        rib_slope=0.8 + 0.5 * u[6],
        kyphosis=0.012 * (2 * u[7] - 1),
        tilt=0.03 * u[8] - (0.03 if supine else 0.0),
        female=female,
        supine=supine,
    )


@lru_cache(maxsize=8)
def lung(chest: Chest, side: int) -> Points:
    """The outline of a lung as an ideal film would show it, the part behind the heart included; (N, 2)."""
    w, top, dome = chest.half_width, chest.apex, chest.dome_of(side)
    height = dome - top
    wall = smooth_curve(
        [
            (0.17 * w, top + 0.20 * height),
            (0.25 * w, top + 0.055 * height),
            (0.42 * w, top),
            (0.62 * w, top + 0.075 * height),
            (0.80 * w, top + 0.24 * height),
            (0.93 * w, top + 0.47 * height),
            (1.00 * w, top + 0.78 * height),
            (1.01 * w, dome + 0.035),
            (0.985 * w, dome + 0.085),
        ]
    )
    floor = smooth_curve(
        [
            (0.985 * w, dome + 0.085),
            (0.92 * w, dome + 0.042),
            (0.75 * w, dome + 0.008),
            (0.55 * w, dome),
            (0.36 * w, dome + 0.012),
            (0.20 * w, dome + 0.045),
        ]
    )
    middle = smooth_curve([(0.20 * w, dome + 0.045), (0.14 * w, dome - 0.08), (0.15 * w, top + 0.45 * height)])
    return mirrored(np.vstack([wall, floor[1:], middle[1:]]), side)


def wall_at(chest: Chest, side: int, heights: Points) -> Points:
    """Distance of the inner chest wall from the midline at heights y, (N,); constant above and below the lung."""
    outline = lung(chest, side)
    lateral = outline[np.argmin(outline[:, 1]) : np.argmax(outline[:, 1]) + 1]
    return np.interp(heights, lateral[:, 1], np.abs(lateral[:, 0]))


def torso(chest: Chest) -> Points:
    """Neck, shoulders and trunk, closed."""
    flank = chest.half_width + 0.035 + 0.07 * chest.habitus
    neck = 0.095 + 0.03 * chest.habitus
    lift = 0.0 if chest.supine else 0.02
    half = smooth_curve(
        [
            (neck, -0.15),
            (neck, chest.apex - 0.10),
            (neck + 0.03, chest.apex - 0.045),
            (0.25, chest.apex - 0.012 - lift),
            (0.40, chest.apex + 0.02 - lift),
            (0.50, chest.apex + 0.07),
            (0.52, chest.apex + 0.16),
            (flank + 0.055, chest.apex + 0.27),
            (flank + 0.012, chest.apex + 0.36),
            (flank, 0.62),
            (flank + 0.012 * chest.habitus, 0.85),
            (flank - 0.01, 1.2),
        ]
    )
    return np.vstack([half, mirrored(half, -1)[::-1]])


def arm(chest: Chest, side: int) -> tuple[Points, Points]:
    """The axis of an upper arm (soft tissue) and of its humerus."""
    shoulder = (0.455, chest.apex + 0.085)
    elbow = (0.545 + 0.03 * chest.habitus, 0.75) if chest.supine else (0.66, 0.50)
    axis = smooth_curve([shoulder, ((shoulder[0] + elbow[0]) / 2 + 0.02, (shoulder[1] + elbow[1]) / 2), elbow])
    return mirrored(axis, side), mirrored(axis + np.array([0.005, 0.0]), side)


def humeral_head(chest: Chest, side: int) -> Points:
    """The head of the humerus, closed."""
    return mirrored(ellipse(0.447, chest.apex + 0.088, 0.040, 0.044, 0.4), side)


def breast(chest: Chest, side: int) -> Points:
    """The shadow of a breast over the lower lung."""
    w, size = chest.half_width, 0.75 + 0.4 * chest.habitus
    return mirrored(ellipse(0.60 * w, chest.dome - 0.115 + 0.04 * size, 0.50 * w * size, 0.135 * size, 0.10), side)


def abdomen(chest: Chest) -> Points:
    """Everything below the diaphragm, closed."""
    flank = chest.half_width + 0.035 + 0.07 * chest.habitus
    domes = []
    for side in (RIGHT, LEFT):
        w, dome = chest.half_width, chest.dome_of(side)
        half = smooth_curve(
            [
                (flank + 0.01, dome + 0.11),
                (1.0 * w, dome + 0.093),
                (0.92 * w, dome + 0.042),
                (0.75 * w, dome + 0.008),
                (0.55 * w, dome),
                (0.36 * w, dome + 0.012),
                (0.15 * w, dome + 0.05),
            ]
        )
        domes.append(mirrored(half, side))
    bottom = np.array([[flank, 1.3], [-flank, 1.3]])
    return np.vstack([domes[0], domes[1][::-1], bottom])


def heart(chest: Chest) -> Points:
    """The heart with the right atrium, the left ventricle and the pulmonary trunk, closed."""
    k, w = chest.heart, chest.half_width
    base = chest.dome + 0.035
    left, right = 0.66 * w * k, 0.30 * w * (0.5 + 0.5 * k)
    return smooth_curve(
        [
            (-0.10 * w, base - 0.33),
            (-0.17 * w, base - 0.26),
            (-right, base - 0.14),
            (-right * 0.96, base - 0.05),
            (-0.20 * w, base + 0.03),
            (0.20 * w, base + 0.05),
            (left * 0.80, base + 0.03),
            (left, base - 0.03),
            (left * 0.93, base - 0.10),
            (left * 0.70, base - 0.19),
            (0.25 * w, base - 0.27),
            (0.20 * w, base - 0.31),
            (0.10 * w, base - 0.35),
        ],
        closed=True,
    )


def mediastinum(chest: Chest) -> list[Points]:
    """The upper mediastinum and the knob of the aorta, two closed outlines."""
    w, top = chest.half_width, chest.apex
    sides = [(0.20, -0.25), (0.17, 0.0), (0.17, 0.12), (0.18, 0.25), (0.20, 0.45), (0.16, 0.9)]
    left = smooth_curve([(x * w, top + y) for x, y in sides])
    right = smooth_curve([(-(x + 0.015) * w, top + y) for x, y in sides])
    knob = ellipse(0.155 * w, top + 0.205, 0.115 * w, 0.036)
    return [np.vstack([left, right[::-1]]), knob]


def spine(chest: Chest, heights: Points) -> Points:
    """Midline of the spine at heights y, (N, 2)."""
    return np.column_stack([chest.kyphosis * np.sin(2.5 * np.pi * heights), heights])


def airways(chest: Chest) -> list[tuple[Points, float]]:
    """Trachea and main bronchi: curves and their widths."""
    carina = chest.apex + 0.26
    drift = -0.008
    trachea = smooth_curve([(0.0, -0.15), (0.0, 0.05), (drift, carina - 0.1), (drift, carina)])
    right = smooth_curve([(drift, carina - 0.008), (-0.045, carina + 0.035), (-0.075, carina + 0.075)])
    left = smooth_curve([(drift, carina - 0.008), (0.045, carina + 0.030), (0.090, carina + 0.065)])
    return [(trachea, 0.036), (right, 0.023), (left, 0.020)]


def rib(chest: Chest, side: int, number: int) -> tuple[Points, Points]:
    """The posterior and the anterior half of a rib (number 0..10), curves from the spine outwards and back inwards.

    A rib is a tilted loop seen from the front: x = a sin(angle), y falls as it comes forward.
    """
    top, step = chest.apex - 0.012, 0.056 + 0.062 * (chest.dome - chest.apex - 0.6)
    start = top + number * step + 0.004 * number**0.5
    drop = (0.075 + 0.135 * min(1.0, number / 5)) * chest.rib_slope
    turn = start + 0.46 * drop
    reach = float(wall_at(chest, side, np.array([turn]))[0]) - 0.003
    if number < 2:
        reach = chest.half_width * (0.56 + 0.16 * number)
    back = np.linspace(0.0, 0.5 * np.pi, 26)
    front = np.linspace(0.5 * np.pi, (0.76 if number < 7 else 0.62) * np.pi, 20)
    head = 0.035

    def curve(angle: Points) -> Points:
        x = head + (reach - head) * np.sin(angle) ** 0.92
        hump = -0.016 * np.sin(2 * angle) * (angle < 0.5 * np.pi)
        return mirrored(np.column_stack([x, start + drop * (1 - np.cos(angle)) / 2 + hump]), side)

    return curve(back), curve(front)


def clavicle(chest: Chest, side: int) -> Points:
    """The axis of a clavicle from the sternum outwards."""
    inner = chest.apex + 0.10
    return mirrored(
        smooth_curve(
            [
                (0.045, inner + 0.012),
                (0.12, inner - 0.008),
                (0.22, inner - 0.030 - chest.tilt),
                (0.32, inner - 0.062 - chest.tilt),
                (0.435, inner - 0.052 - chest.tilt),
            ]
        ),
        side,
    )


def scapula(chest: Chest, side: int) -> Points:
    """The blade of a scapula, closed: over the lung in the AP view, turned outwards in the PA view."""
    out = 0.0 if chest.supine else 0.075
    w = chest.half_width
    return mirrored(
        smooth_curve(
            [
                (0.68 * w + out, chest.apex + 0.06),
                (0.98 * w + out, chest.apex + 0.055),
                (1.22 * w + out, chest.apex + 0.10),
                (1.16 * w + out, chest.apex + 0.19),
                (1.00 * w + out, chest.apex + 0.40),
                (0.92 * w + out, chest.apex + 0.42),
                (0.78 * w + out, chest.apex + 0.24),
            ],
            closed=True,
        ),
        side,
    )
