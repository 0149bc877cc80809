"""Whether a candidate may take the champion's place: no figure that matters may have lost more than a margin."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.compare.differences import measure
from pneumoseg.compare.experiments import Experiment, read_cases
from pneumoseg.compare.pairing import pair
from pneumoseg.evaluate.metric import Metric
from pneumoseg.evaluate.metrics.core import SENSITIVITY
from pneumoseg.evaluate.metrics.image_ranking import AUC
from pneumoseg.evaluate.result import TestResult
from pneumoseg.shared.errors import DataError
from pneumoseg.stats.bootstrap import PatientBootstrap
from pneumoseg.track.registered import Registered
from pneumoseg.track.store import FAILURES, Store, first_line

#: What a candidate must not lose: how it ranks images, and how many it finds under its rule.
FIGURES: tuple[Metric, ...] = (AUC, SENSITIVITY)


@dataclass(frozen=True)
class Change:
    """A figure of the candidate minus that of the champion, on the same images.

    ``low``: lower bound of its 95 % interval over patients; NaN where the images do not give one.
    """

    metric: Metric
    value: float
    low: float

    def lost(self, margin: float) -> bool:
        """Whether a loss of more than ``margin`` cannot be excluded."""
        return not self.low >= -margin

    @property
    def words(self) -> str:
        """As a reader gets it."""
        if not math.isfinite(self.value):
            return f"{self.metric.name} cannot be told on these images"
        told = f"at least {self.low:+.3f}" if math.isfinite(self.low) else "too few patients for an interval"
        return f"{self.metric.name} {self.value:+.3f} ({told})"


@dataclass(frozen=True)
class Changes:
    """What a candidate changes, and on how many common test images that was measured."""

    images: int
    positives: int
    figures: tuple[Change, ...]


def compare_versions(store: Store, champion: Registered, candidate: Registered, replicates: int, seed: int) -> Changes:
    """Compare two registered models on the test images that both were evaluated on.

    Raises:
        DataError: a run has no test cases, or they share no image.
    """
    return changes([_tested(store, model) for model in (champion, candidate)], replicates, seed)


def changes(experiments: Sequence[Experiment], replicates: int, seed: int) -> Changes:
    """The same of the champion's and the candidate's test cases."""
    pairing = pair(experiments)
    before, after = (item.cases.loc[list(pairing.ids)] for item in experiments)
    bootstrap = PatientBootstrap(pairing.patients, replicates, seed)
    found = []
    for metric in FIGURES:
        measured = measure(metric, before, after, bootstrap)
        low = 0.0 if measured.same else measured.interval[0]  # the same on every image: nothing is lost
        found.append(Change(metric, measured.value, low))
    return Changes(len(pairing.ids), int(pairing.positive.sum()), tuple(found))


def _tested(store: Store, model: Registered) -> Experiment:
    with tempfile.TemporaryDirectory(prefix="pneumoseg-promote-") as name:
        try:
            test, cases = (
                Path(store.client.download_artifacts(model.run_id, f"metrics/{file}", name))
                for file in ("test.json", "test_cases.csv")
            )
        except FAILURES as error:
            raise DataError(f"{model.name}: its run {model.run_id} has no test cases ({first_line(error)})") from None
        result = TestResult.read(test)
        frame = read_cases(cases, result)
    rule = model.bundle.rule.describe()
    return Experiment(model.name, None, result, rule, frame, {}, {}, {}, folds=None, doubts=(), unknowns=())
