"""Permutation tests, of paired experiments and of two groups, and Holm's correction for several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pneumoseg.stats.bootstrap import PatientBootstrap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Sums closer than this are equal: they are made of the same numbers, added in another order.
SAME: Final = 1e-9
# At a time: keeps (permutations, images) arrays small.
_CHUNK = 128


def permutation_p(statistic: Callable[[Bools], Floats], count: int, bootstrap: PatientBootstrap) -> float:
    """Two-sided p of exchanging, for some patients, the two experiments.

    Args:
        statistic: (b, count) whether a patient is exchanged to (b,) absolute differences.
        count: patients that differ; to exchange the others changes nothing.
        bootstrap: gives the number of permutations and their seed.
    """
    if not count:
        return 1.0
    observed = float(statistic(np.zeros((1, count), np.bool_))[0])
    exact = count < 31 and 2**count <= bootstrap.replicates
    flips = _all_flips(count) if exact else _drawn_flips(count, bootstrap)
    return _share(observed, map(statistic, flips), exact)


def shuffled_p(first: Floats, second: Floats, permutations: int, seed: int) -> float:
    """Two-sided p of the difference of two groups' means under shuffling of the groups; NaN where one is unknown."""
    if not len(first) or not len(second):
        return float("nan")
    pooled, observed = np.concatenate([first, second]), abs(float(second.mean() - first.mean()))
    if not np.isfinite(observed):
        return float("nan")
    total, count = pooled.sum(), len(first)
    rng = np.random.default_rng(seed)

    def gaps() -> Iterator[Floats]:
        for start in range(0, permutations, _CHUNK):
            parts = np.stack([rng.permutation(pooled)[:count] for _ in range(min(_CHUNK, permutations - start))])
            sums = parts.sum(axis=1)
            yield np.abs((total - sums) / len(second) - sums / count)

    return _share(observed, gaps(), exact=False)


def _share(observed: float, chunks: Iterable[Floats], exact: bool) -> float:
    """Share of the permutations that are as extreme as what was observed.

    Where they are only drawn, what was observed counts as one of them: p is never 0 (Phipson and Smyth 2010).
    """
    drawn = extreme = 0
    for values in chunks:
        extreme += int((values >= observed - SAME).sum())
        drawn += len(values)
    return extreme / drawn if exact else (1 + extreme) / (1 + drawn)


def _all_flips(count: int) -> Iterator[Bools]:
    for first in range(0, 2**count, _CHUNK):
        numbers = np.arange(first, min(first + _CHUNK, 2**count))
        yield (numbers[:, None] >> np.arange(count)) & 1 > 0


def _drawn_flips(count: int, bootstrap: PatientBootstrap) -> Iterator[Bools]:
    rng = np.random.default_rng([bootstrap.seed, 1])  # not the draws of the bootstrap once more
    for first in range(0, bootstrap.replicates, _CHUNK):
        yield rng.random((min(_CHUNK, bootstrap.replicates - first), count)) < 0.5


def holm(values: Sequence[float]) -> list[float]:
    """P values after Holm's step-down correction (1979); one that is not known is left out and stays unknown."""
    known = sorted((value, index) for index, value in enumerate(values) if np.isfinite(value))
    corrected, highest = [float("nan")] * len(values), 0.0
    for place, (value, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - place) * value))
        corrected[index] = highest
    return corrected
