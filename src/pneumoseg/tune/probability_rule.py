"""Rules for networks that give no map: an image is called positive where its probability reaches a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.tune import CallObjective, TuneParams
from pneumoseg.rule.cases import Case, patient_codes
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.tune.search import Block, Family, class_cells


def rule_at(probability: float) -> DecisionRule:
    """The rule that calls an image positive from this probability on."""
    return DecisionRule("probability", None, gate_probability=probability)


@dataclass(frozen=True)
class ImageCalls:
    """N validation images without maps: patient number, probability and truth, (N,) each."""

    patients: NDArray[np.int64]
    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, cases: Sequence[Case]) -> ImageCalls:
        """Take them from cases."""
        return cls(
            patient_codes([case.patient for case in cases]),
            np.array([case.probability for case in cases]),
            np.array([case.label for case in cases]),
        )

    def outcomes(self, rule: DecisionRule) -> pd.DataFrame:
        """Every image under a rule: columns pneumothorax, called and dice, which is not known."""
        called = rule.opens(self.probability)
        return pd.DataFrame({"pneumothorax": self.positive, "called": called, "dice": np.nan})


class CallSearch:
    """The right calls of every limit: of tune.gate_probabilities, or for an objective of calls of all there can be.

    Attributes:
        images: (K, 2) negative and positive images of each group.
    """

    def __init__(self, calls: ImageCalls, groups: NDArray[np.int64], params: TuneParams) -> None:
        """Prepare the search; ``groups`` is (N,), the group of each image, 0 to K-1."""
        of_calls = params.objective in get_args(CallObjective)
        self._limits = limits_between(calls.probability) if of_calls else np.array(sorted(params.gate_probabilities))
        cells = class_cells(calls.positive, groups)
        self.images = cells.sum(axis=0).reshape(-1, 2)
        self._cells = [np.sort(calls.probability[cell > 0]) for cell in cells.T]

    def blocks(self, family: Family) -> Iterator[Block]:
        """One block of all rules, the mildest limit first."""
        below = np.stack([np.searchsorted(cell, self._limits) for cell in self._cells], axis=1).reshape(
            len(self._limits), -1, 2
        )
        sums = np.stack([below[..., 0], self.images[:, 1] - below[..., 1]], axis=-1).astype(np.float64)
        yield Block(lambda index: rule_at(float(self._limits[index])), sums)


def limits_between(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every limit that tells images apart, rising: one below all, then halfway between neighbours; six decimals."""
    seen = np.unique(probability)
    halfway = np.round((seen[1:] + seen[:-1]) / 2, 6)
    return np.unique(np.concatenate([np.floor(seen[:1] * 1e6) / 1e6, halfway]))
