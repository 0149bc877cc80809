"""Which numbers MLflow gets, and under which names: few, so that a row can be read; its artifacts hold all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pneumoseg.evaluate.metrics.core import ALL_EMPTY
from pneumoseg.evaluate.result import TestResult
from pneumoseg.report.headline import headline_metrics


def finite(content: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers among some values, by names that MLflow takes."""
    return {
        _allowed(f"{prefix}{name}"): float(value)
        for name, value in content.items()
        if isinstance(value, bool | int | float) and math.isfinite(value)
    }


def headline(result: TestResult, prefix: str = "") -> dict[str, float]:
    """The headline figures that can be had, and the score of marking nothing."""
    return finite(result.headline(), prefix)


def kept_epoch(summary: Mapping[str, Any]) -> dict[str, float]:
    """Of the summary of a training the kept epoch and its headline figures on validation images, ``best/…``."""
    names = ["best_epoch", *(f"val_{metric.name}" for metric in (*headline_metrics(), ALL_EMPTY))]
    return finite({name: summary.get(name) for name in names}, "best/")


def _allowed(name: str) -> str:
    """MLflow takes letters, digits and ``_-. :/`` in a metric's name, and no empty or dotted part of a path."""
    parts = [re.sub(r"[^\w\-. :]", "_", part, flags=re.ASCII) for part in name.split("/")]
    return "/".join(part if part.strip(".") else "_" for part in parts)
