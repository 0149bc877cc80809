"""Nested metrics as MLflow's flat names and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any


def flat_metrics(content: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a metrics file by name, groups divided by a slash (``plain_05/dice_pos``).

    The row of a table (a list of mappings) is named by its texts, ``subgroups/lesion_size small/dice_pos``; one without
    texts, such as a bin of a histogram, stays in the file.
    """
    return {_allowed(f"{prefix}{name}"): number for name, number in _numbers(content)}


def _numbers(content: object) -> Iterator[tuple[str, float]]:
    if isinstance(content, bool | int | float):
        if math.isfinite(content):
            yield "", float(content)
        return
    if isinstance(content, Mapping):
        items = [(str(name) or "_", value) for name, value in content.items()]
    elif isinstance(content, list | tuple):
        items = [(_label(value, index), value) for index, value in enumerate(content)]
    else:
        return
    for name, value in items:
        for inner, number in _numbers(value) if name else ():
            yield f"{name}/{inner}" if inner else name, number


def _label(item: object, index: int) -> str:
    """The name of a list's item: the texts in a row of a table; its place for a bare number; none for other rows."""
    if isinstance(item, Mapping):
        return " ".join(value for value in item.values() if isinstance(value, str))
    return str(index)


def _allowed(name: str) -> str:
    """MLflow takes letters, digits and ``_-. :/`` in a metric's name, and no empty or dotted part of a path."""
    parts = [re.sub(r"[^\w\-. :]", "_", part, flags=re.ASCII) for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" for part in parts)
