"""What the sections of the page are made of, and how numbers are written everywhere in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

#: A chart with its caption.
Drawing = tuple[Markup, str]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; every cell is text, ``numeric`` ones stand to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True


@dataclass(frozen=True)
class Part:
    """A titled part of a section: sentences, then named facts, then a table."""

    title: str
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95 % interval; None where the data do not give it."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def text(self, digits: int = 3) -> str:
        """Such as ``0.812 (0.774 to 0.846)``."""
        if self.value is None:
            return "no value"
        interval = self.interval(digits)
        return f"{self.value:.{digits}f} ({interval})" if interval else f"{self.value:.{digits}f}"

    def interval(self, digits: int = 3) -> str:
        """Such as ``0.774 to 0.846``; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


@dataclass(frozen=True)
class Section:
    """Notes and charts of a section of the page."""

    notes: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    table: Table = field(default_factory=lambda: Table("", (), ()))


def number(value: object, digits: int = 3) -> str:
    """A number as text: whole ones with thousands apart, others rounded; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "—" if value is None else f"{100 * value:.1f}\u00a0%"


def count_of(count: int, one: str, many: str = "") -> str:
    """Such as ``1 image`` or ``1,204 images``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """Such as ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def sentence(text: str) -> str:
    """Text with a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def leaves(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Every value of nested JSON as (name, text), in order: for figures without a place of their own."""
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            found += leaves(value, f"{name} · ")
        elif isinstance(value, list):
            found.append((name, ", ".join(number(item) for item in value) or "—"))
        else:
            found.append((name, number(value)))
    return found
