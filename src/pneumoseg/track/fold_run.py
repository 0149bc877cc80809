"""The live record of one fold's training: curves by epoch, then a summary. No failing store stops a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pneumoseg.track.flat import flat_metrics

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from pneumoseg.track.store import Store

logger = logging.getLogger(__name__)

RETRY_S = 300.0
HINT = "nothing is lost: `pneumoseg track` rebuilds the row from files"


class FoldRun:
    """What training tells MLflow; without a sink (``tracking.enabled: false``) it tells nobody."""

    def __init__(self, sink: Sink | None) -> None:
        """Use tracking.fold_run instead."""
        self._sink = sink

    def log_epoch(self, epoch: int, row: Mapping[str, Any], timing: Mapping[str, float] | None = None) -> None:
        """Log the figures of one epoch as points of curves; text and numbers that are not finite are left out.

        Args:
            epoch: its number, the step of the curves; one that the run has already is skipped.
            row: figures by name.
            timing: costs of this epoch; they appear as ``epoch/<name>``.
        """
        if self._sink is not None:
            costs = {f"epoch/{name}": value for name, value in (timing or {}).items()}
            self._sink.add(epoch, {**row, **costs})

    def finish(
        self, summary: Mapping[str, Any], timing: Mapping[str, float], history: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Log what the finished training came to.

        Args:
            summary: the best epoch and its metrics; they appear as ``best/<name>``.
            timing: costs such as ``seconds``, ``images_per_second``, ``memory_gib``; they appear as ``cost/<name>``. On
                the configuration's row those with ``seconds`` as first or last word are summed over the folds, of those
                with ``memory`` the largest counts, and of the others the mean.
            history: the rows of all epochs, each with its number as ``epoch``: they fill in what a run lacks that began
                in the middle, because its training was resumed under another configuration.
        """
        if self._sink is not None:
            for row in history:
                self._sink.add(int(row["epoch"]), row, write=False)
            self._sink.finish(summary, timing)


class Sink:
    """Writes to one fold's run; what could not be written is kept and tried again."""

    def __init__(self, store: Store, run_id: str, strict: bool) -> None:
        """With ``strict`` a failure is raised: nothing but the record is at stake."""
        self.store = store
        self.run_id = run_id
        self.finished = False
        self._strict = strict
        self._pending: list[Metric] = []
        self._not_before = 0.0
        self._logged = self._steps()

    def add(self, epoch: int, row: Mapping[str, Any], *, write: bool = True) -> None:
        """Queue the figures of one epoch that the run does not have, and write what is queued."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in flat_metrics(row).items():
            if name != "epoch" and (name, epoch) not in self._logged:
                self._logged.add((name, epoch))
                self._pending.append(Metric(name, value, now, epoch))
        if write and time.monotonic() >= self._not_before:
            self._write()

    def finish(self, summary: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        """Write everything that is left; see FoldRun.finish."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        numbers = flat_metrics({"best": dict(summary), "cost": dict(timing)})
        self._pending += [Metric(name, value, now, 0) for name, value in numbers.items()]
        self.finished = self._write()

    def _write(self) -> bool:
        from pneumoseg.track.store import FAILURES, first_line

        try:
            while self._pending:
                batch = self._pending[:500]  # MLflow takes up to 1000 at a time
                self.store.client.log_batch(self.run_id, metrics=batch)
                del self._pending[: len(batch)]
        except FAILURES as error:
            if self._strict:
                raise
            self._not_before = time.monotonic() + RETRY_S
            logger.warning("MLflow did not take %d values (%s); %s", len(self._pending), first_line(error), HINT)
            return False
        return True

    def _steps(self) -> set[tuple[str, int]]:
        """What the run already has: metric name and epoch."""
        client = self.store.client
        names = client.get_run(self.run_id).data.metrics
        return {(name, point.step) for name in names for point in client.get_metric_history(self.run_id, name)}
