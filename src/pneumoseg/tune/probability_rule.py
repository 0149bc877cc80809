"""Rules for networks that give no map: an image is called positive where its probability reaches a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoseg.config.tune import TuneParams
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
    """The right calls of every rule of tune.gate_probabilities.

    Attributes:
        images: (K, 2) negative and positive images of each group.
    """

    def __init__(self, calls: ImageCalls, groups: NDArray[np.int64], params: TuneParams) -> None:
        """Prepare the search; ``groups`` is (N,), the group of each image, 0 to K-1."""
        self._calls = calls
        self._limits = sorted(params.gate_probabilities)
        self._cells = class_cells(calls.positive, groups)
        self.images = self._cells.sum(axis=0).reshape(-1, 2)

    def blocks(self, family: Family) -> Iterator[Block]:
        """One block of all rules, the mildest limit first."""
        called = self._calls.probability >= np.array(self._limits)[:, None]
        right = (called == self._calls.positive).astype(np.float64)
        sums = (right @ self._cells).reshape(len(right), -1, 2)
        yield Block(lambda index: rule_at(self._limits[index]), sums)
