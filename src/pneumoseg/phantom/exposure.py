"""From attenuation to the film: photons, detector, grey scale, shutters, letters."""

from __future__ import annotations

import numpy as np

from pneumoseg.phantom.canvas import Layer, blurred


def expose(attenuation: Layer, rng: np.random.Generator, supine: bool) -> Layer:
    """Attenuation to grey values 0..255: film curve, exposure, quantum noise, blur, collimation."""
    size = attenuation.shape[0]
    blur = rng.uniform(0.0006, 0.0011) * (1.25 if supine else 1.0)
    # Photons: what is darker on the film got more of them, and is less noisy. The detector blurs both.
    noise = rng.standard_normal((size, size), np.float32)
    # A pixel of half the width gets a quarter of the photons, and twice the noise.
    noise *= np.float32(rng.uniform(0.018, 0.042) * size / 1024) * np.sqrt(0.3 + np.maximum(attenuation, 0))
    image = blurred(attenuation + noise, blur)
    centre, width = rng.uniform(0.72, 0.92), rng.uniform(0.24, 0.36)
    image -= np.float32(centre)
    image *= np.float32(-1 / width)
    np.exp(image, out=image)
    low, high = rng.uniform(0, 14), rng.uniform(195, 250)
    if rng.random() < 0.20:  # a flat film, as many in the real set
        low, high = rng.uniform(10, 35), rng.uniform(155, 195)
    image = np.float32(low) + np.float32(high - low) / (1 + image)
    return _collimate(image, rng)


def _collimate(image: Layer, rng: np.random.Generator) -> Layer:
    """Black or pale bars where the shutters cut the beam."""
    size = image.shape[0]
    for edge in range(4):
        if rng.random() < 0.22:
            bar = round(size * rng.uniform(0.006, 0.030))
            level = rng.uniform(2, 12)
            turned = np.rot90(image, edge)
            turned[:bar] = level
    return image


def letters(view_position: str, size_px: int, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    """The letters burned in, with x and y of each: the side, and for bedside images often how they were taken."""
    y = rng.uniform(0.07, 0.16)
    found = [("L", rng.uniform(0.90, 0.955), y)] if rng.random() < 0.75 else [("R", rng.uniform(0.02, 0.07), y)]
    if view_position == "AP":
        x = rng.uniform(0.015, 0.04)
        words = [word for word, often in (("AP", 0.6), ("PORTABLE", 0.5), ("SUPINE", 0.2)) if rng.random() < often]
        found += [(word, x, y + 0.05 + max(0.035, 10 / size_px) * row) for row, word in enumerate(words)]
    return found
