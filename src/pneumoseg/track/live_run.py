"""The live record of one fold's training in MLflow. No failing store stops a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Metric, RunTag

from pneumoseg.track.fold_run import FoldRun
from pneumoseg.track.metric_names import finite, kept_epoch
from pneumoseg.track.store import FAILURES, HINT, Store, first_line, points

logger = logging.getLogger(__name__)

RETRY_S = 300.0


class LiveRun(FoldRun):
    """Writes to one fold's run; what could not be written is kept and tried again."""

    def __init__(self, store: Store, run_id: str, *, strict: bool) -> None:
        """With ``strict`` a failure is raised: nothing but the record is at stake."""
        self.store = store
        self.run_id = run_id
        self.finished = False
        self._strict = strict
        self._pending: list[Metric] = []
        self._tags: dict[str, str] = {}
        self._not_before = 0.0
        names = store.client.get_run(run_id).data.metrics
        history = store.client.get_metric_history
        self._logged = {(name, point.step) for name in names for point in history(run_id, name)}

    def log_epoch(self, epoch: int, row: Mapping[str, Any], timing: Mapping[str, float] | None = None) -> None:
        """See FoldRun."""
        # By this beginning MLflow knows what belongs to its page of system metrics: curves of learning come first.
        self._queue(epoch, {**row, **{f"system/{name}": value for name, value in (timing or {}).items()}})
        if time.monotonic() >= self._not_before:
            self._write()

    def finish(
        self, summary: Mapping[str, Any], timing: Mapping[str, float], history: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """See FoldRun."""
        for row in history:
            self._queue(int(row["epoch"]), row)
        # Tags: a number without a curve would be drawn as a chart with one bar.
        self._tags = {name: repr(value) for name, value in (kept_epoch(summary) | finite(timing, "cost/")).items()}
        if summary.get("collapse"):
            self._tags["collapse"] = str(summary["collapse"])
        self.finished = self._write()

    def _queue(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Keep the figures of one epoch that the run does not have."""
        new = {
            name: value for name, value in finite(row).items() if name != "epoch" and (name, epoch) not in self._logged
        }
        self._logged |= {(name, epoch) for name in new}
        self._pending += points(new, epoch)

    def _write(self) -> bool:
        try:
            tags = [RunTag(name, value) for name, value in self._tags.items()]
            self.store.client.log_batch(self.run_id, metrics=self._pending, tags=tags)
            self._pending.clear()
        except FAILURES as error:
            if self._strict:
                raise
            self._not_before = time.monotonic() + RETRY_S
            logger.warning("MLflow did not take %d values (%s); %s", len(self._pending), first_line(error), HINT)
            return False
        return True
