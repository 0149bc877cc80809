"""Groups dealt out to parts of given sizes, so that every label is spread evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def allocate(
    counts: NDArray[np.int64], shares: NDArray[np.float64], required: int, numbers: np.random.Generator
) -> NDArray[np.int64]:
    """Deal out groups, the largest first, each to the part where it brings all labels nearest to their targets.

    The greedy rule is that of scikit-learn's StratifiedGroupKFold, with two differences: parts may have unequal
    sizes (the test set and the folds are made in one go), and the first ``required`` labels reach every part as long
    as there are as many groups that hold them, which small data sets need.

    Args:
        counts: (G, L) images of each group with each label; labels may overlap.
        shares: (P,) of all images that each part shall have; they sum to 1.
        required: how many of the first labels every part must get.
        numbers: breaks ties between groups of one size, and between parts.

    Returns:
        (G,) the part of each group, 0 to P - 1.
    """
    totals = np.maximum(counts.sum(axis=0), 1)
    targets = shares[:, None] * totals  # (P, L)
    filled = np.zeros_like(targets)
    left = (counts[:, :required] > 0).sum(axis=0)  # groups not yet dealt out that hold a required label
    # In tiers of 1, 2-3, 4-7, … images and at random within: by exact size, every seed would give much the same parts
    # (on SIIM-ACR, 90 % of the test set's positives).
    tiers = np.frexp(counts.max(axis=1))[1]
    order = np.lexsort((numbers.permutation(len(counts)), -tiers, counts[:, 0] == 0))
    tie_break = numbers.permutation(len(shares))
    parts = np.full(len(counts), -1)
    for group in order:
        wanted = counts[group]
        # Growth of Σ (filled - target)² / target: relative to the part's size, so that a small part gets its share of
        # patients with many images too.
        cost = ((wanted * (wanted + 2 * (filled - targets))) / targets).sum(axis=1).round(9)
        allowed = np.ones(len(shares), bool)
        for label in np.flatnonzero(wanted[:required]):
            lacking = filled[:, label] == 0
            if lacking.sum() >= left[label] and (allowed & lacking).any():
                allowed &= lacking
            left[label] -= 1
        cost[~allowed] = np.inf
        part = np.lexsort((tie_break, cost))[0]
        parts[group] = part
        filled[part] += wanted
    return parts
