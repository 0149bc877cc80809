"""What pages are made of, and how numbers are written on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pneumoseg.stats.bootstrap import Estimate

#: A chart or picture with its caption.
Drawing = tuple[Markup, str]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; every cell is text.

    Attributes:
        title: what a screen reader says.
        columns: the head; empty for none.
        rows: cells.
        numeric: whether all but the first column are numbers, which stand to the right.
        mono: whether cells are keys and values of a file.
        headed: whether the title stands above it.
        folded: the words behind which it is folded away; empty for a table that is shown.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True
    mono: bool = False
    headed: bool = False
    folded: str = ""


@dataclass(frozen=True)
class Part:
    """A titled part of a page: sentences, points, charts and tables, then parts of its own.

    ``columns`` sets its parts side by side where the page is wide enough.
    """

    title: str
    notes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    parts: tuple[Part, ...] = ()
    columns: bool = False


def facts(title: str, rows: Iterable[tuple[str, ...]], mono: bool = False, folded: str = "") -> Table:
    """A table without a head: names and what they are."""
    return Table(title, (), tuple(rows), numeric=False, mono=mono, folded=folded)


def told(figure: Estimate, digits: int = 3) -> str:
    """Such as ``0.812 (0.774 to 0.846)``."""
    if figure.value is None:
        return "no value"
    interval = spread(figure, digits)
    return f"{figure.value:.{digits}f} ({interval})" if interval else f"{figure.value:.{digits}f}"


def spread(figure: Estimate, digits: int = 3) -> str:
    """Such as ``0.774 to 0.846``; empty without an interval."""
    if figure.low is None or figure.high is None:
        return ""
    # + 0.0: no -0.000
    return " to ".join(f"{round(bound, digits) + 0.0:.{digits}f}" for bound in (figure.low, figure.high))


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
