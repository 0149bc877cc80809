"""95 % intervals by bootstrap over patients.

Images of one patient resemble each other, so patients are drawn, not images (cluster bootstrap, Field and Welsh 2007).
A resample is a vector of weights: how often each patient was drawn. Every figure here is a ratio of sums over images or
a statistic of weighted images, so no image is ever copied. Percentile intervals (Efron 1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

UNKNOWN: Interval = (float("nan"), float("nan"))
CONFIDENCE = 0.95
#: Of fewer patients, or images, with pneumothorax a percentile bootstrap is known to be too narrow.
FEW = 20
# At a time: keeps (replicates, images) arrays small.
_CHUNK = 128
# An interval needs the figure to be defined in so many of the resamples.
_DEFINED_SHARE = 0.9


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; None is what the images do not give, never 0 or 1."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, interval: Interval = UNKNOWN) -> Estimate:
        """Make one from numbers, in which NaN is what is not known."""
        return cls(*(number if math.isfinite(number) else None for number in (float(value), *map(float, interval))))

    @property
    def interval(self) -> list[float | None]:
        """Both limits, as JSON has them."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Ratio:
    """A figure that is ``scale`` times a ratio of sums over images: numerator and denominator, (N,) each.

    ``bounded`` says that each image's ratio lies from 0 to 1 (a proportion, a Dice), which gives an interval even where
    every image has the same value.
    """

    numerator: Floats
    denominator: Floats
    bounded: bool = True
    scale: float = 1.0

    @classmethod
    def of(cls, numerator: ArrayLike, denominator: ArrayLike, bounded: bool = True, scale: float = 1.0) -> Ratio:
        """Make one from anything that becomes float arrays."""
        return cls(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64), bounded, scale)

    @property
    def value(self) -> float:
        """The figure of all images; NaN where it is undefined."""
        total = float(self.denominator.sum())
        return self.scale * float(self.numerator.sum()) / total if total else float("nan")


@dataclass(frozen=True)
class Weighted:
    """A figure of weighted images that is no ratio of sums over them, such as an area under a curve.

    Attributes:
        function: (b, N) how often each image counts to (b,) values.
        images: N.
        exact: the interval at values that resampling could only repeat, such as a perfect 1.
    """

    function: Callable[[NDArray[np.int64]], Floats]
    images: int
    exact: Mapping[float, Callable[[PatientBootstrap], Interval]] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The figure of all images; NaN where it is undefined."""
        return float(self.function(np.ones((1, self.images), np.int64))[0])


@dataclass(frozen=True)
class PatientBootstrap:
    """Resamples of patients, the same ones for every figure so that differences are paired.

    Attributes:
        patients: (N,) patient of each image, 0 to P-1.
        replicates: number of resamples.
        seed: of the resamples.
    """

    patients: NDArray[np.int64]
    replicates: int
    seed: int

    def subset(self, chosen: NDArray[np.bool_]) -> PatientBootstrap:
        """The bootstrap of some images alone: only their patients are drawn."""
        return PatientBootstrap(
            np.unique(self.patients[chosen], return_inverse=True)[1].astype(np.int64), self.replicates, self.seed
        )

    def weights(self) -> Iterator[NDArray[np.int64]]:
        """Yield (b, P) draws of each patient, ``replicates`` rows altogether."""
        count = int(self.patients.max()) + 1 if len(self.patients) else 0
        rng = np.random.default_rng(self.seed)
        for first in range(0, self.replicates if count else 0, _CHUNK):
            size = min(_CHUNK, self.replicates - first)
            yield rng.multinomial(count, np.full(count, 1 / count), size=size)

    def ratios(self, figures: Mapping[str, Ratio]) -> dict[str, Interval]:
        """Give the interval of every ratio."""
        if not figures or not len(self.patients):
            return dict.fromkeys(figures, UNKNOWN)
        columns = [part for figure in figures.values() for part in (figure.numerator, figure.denominator)]
        sums = np.stack([np.bincount(self.patients, weights=column) for column in columns], axis=1).astype(np.float64)
        drawn = np.concatenate([weights @ sums for weights in self.weights()])
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = np.where(drawn[:, 1::2] == 0, np.nan, drawn[:, ::2] / drawn[:, 1::2])
        found = {}
        for index, (name, figure) in enumerate(figures.items()):
            extreme = self._extreme(sums[:, 2 * index], sums[:, 2 * index + 1]) if figure.bounded else None
            low, high = extreme or percentile_interval(replicates[:, index])
            found[name] = figure.scale * low, figure.scale * high
        return found

    def estimates(self, figures: Mapping[str, Ratio | Weighted]) -> dict[str, Estimate]:
        """Give every figure with its interval, in order."""
        ratios = self.ratios({name: figure for name, figure in figures.items() if isinstance(figure, Ratio)})
        return {
            name: Estimate.of(figure.value, ratios[name] if isinstance(figure, Ratio) else self.interval(figure))
            for name, figure in figures.items()
        }

    def interval(self, figure: Weighted) -> Interval:
        """Give the interval of a figure of weighted images; unknown where the figure is."""
        value = figure.value
        if value in figure.exact:
            return figure.exact[value](self)
        return percentile_interval(self.statistic(figure.function)) if math.isfinite(value) else UNKNOWN

    def statistic(self, function: Callable[[NDArray[np.int64]], Floats]) -> Floats:
        """Give the replicates of a statistic of weighted images: ``function`` maps (b, N) weights to (b,) values."""
        parts = [function(weights[:, self.patients]) for weights in self.weights()]
        return np.concatenate(parts) if parts else np.empty(0)

    @staticmethod
    def _extreme(numerator: Floats, denominator: Floats) -> Interval | None:
        """The exact interval where every patient has 0, or every one 1; None elsewhere.

        Resampling equal values can only give that value again, an interval without width, however few they are. The
        bound of Clopper and Pearson (1934) on the patients holds for any values from 0 to 1.
        """
        known = denominator > 0
        if not known.any():
            return UNKNOWN
        if np.allclose(numerator[known], 0):
            return 0.0, 1.0 - _all_alike(int(known.sum()))
        if np.allclose(numerator[known], denominator[known]):
            return _all_alike(int(known.sum())), 1.0
        return None


def _all_alike(count: int) -> float:
    """Lower Clopper-Pearson bound of a proportion of which all ``count`` draws were 1."""
    return float(((1 - CONFIDENCE) / 2) ** (1 / count))


def perfect_interval(count: int) -> Interval:
    """The exact interval of a proportion from ``count`` independent draws that all were 1."""
    return (_all_alike(count), 1.0) if count else UNKNOWN


def percentile_interval(replicates: Floats) -> Interval:
    """The central 95 % of (B,) replicates; NaN twice where fewer than 90 % of them are defined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < max(1, _DEFINED_SHARE * len(replicates)):
        return UNKNOWN
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)
