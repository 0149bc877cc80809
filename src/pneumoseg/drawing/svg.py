"""The few SVG elements that the charts are made of. Every text is escaped on its way in."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup

#: Width of every chart in SVG units; the page scales it.
WIDTH = 540


def text(x: float, y: float, content: object, style: str = "tick", anchor: str = "start") -> Markup:
    """A text whose baseline starts, is centred (middle) or ends at (x, y)."""
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, round(x, 2), round(y, 2), anchor, content
    )


def turned(x: float, y: float, content: str) -> Markup:
    """The label of a vertical axis, centred at (x, y), read from below."""
    return Markup('<text class="label" transform="translate({} {}) rotate(-90)" text-anchor="middle">{}</text>').format(
        round(x, 2), round(y, 2), content
    )


def path(style: str, data: str, title: str = "") -> Markup:
    """A path of class ``style``; its title is shown by the browser on hovering."""
    inner = Markup("<title>{}</title>").format(title) if title else ""
    return Markup('<path class="{}" d="{}">{}</path>').format(style, data, inner)


def circle(style: str, x: float, y: float, radius: float) -> Markup:
    """A filled circle."""
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(style, round(x, 2), round(y, 2), radius)


def chart(title: str, height: float, body: Iterable[Markup]) -> Markup:
    """The whole picture, named for a screen reader."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, title, Markup("").join(body)
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) from low to high."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]
