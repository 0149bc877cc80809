"""Whether one score of the same images is better than another."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pneumoseg.stats.bootstrap import Estimate, PatientBootstrap, Ratio


class Margin(BaseModel):
    """Mean paired difference of two scores, its interval, and the verdict that the interval gives.

    Attributes:
        difference: None where no image has both scores.
        interval: its limits.
        verdict: ``better`` or ``worse`` where the interval lies on one side of 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    difference: float | None
    interval: tuple[float | None, float | None]
    verdict: Literal["better", "worse", "not shown", "unknown"]

    @property
    def estimate(self) -> Estimate:
        """Difference and interval."""
        return Estimate(self.difference, *self.interval)


def margin_of(first: NDArray[np.float64], second: NDArray[np.float64], bootstrap: PatientBootstrap) -> Margin:
    """Compare two scores, (N,) each; images that lack one of them (NaN) count for nothing."""
    gain = first - second
    known = np.isfinite(gain)
    ratio = Ratio.of(np.where(known, gain, 0.0), known, bounded=False)
    found = bootstrap.estimates({"gain": ratio})["gain"]
    if found.value is None:
        return Margin(difference=None, interval=(None, None), verdict="unknown")
    low, high = found.low or 0.0, found.high or 0.0
    return Margin(
        difference=found.value,
        interval=(found.low, found.high),
        verdict="better" if low > 0 else "worse" if high < 0 else "not shown",
    )
