"""What a training tells of itself while it runs: curves by epoch, then what it came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class FoldRun:
    """The run of one fold. This one, for ``tracking.enabled: false``, tells nobody; see live_run.LiveRun."""

    def log_epoch(self, epoch: int, row: Mapping[str, Any], timing: Mapping[str, float] | None = None) -> None:
        """Log the figures of one epoch as points of curves; text and numbers that are not finite are left out.

        Args:
            epoch: its number, the step of the curves; one that the run has already is skipped.
            row: figures by name.
            timing: costs of this epoch; they appear as ``system/<name>``.
        """

    def finish(
        self, summary: Mapping[str, Any], timing: Mapping[str, float], history: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        """Log what the finished training came to.

        Args:
            summary: the best epoch and its metrics; the headline ones become tags ``best/<name>``.
            timing: costs such as ``seconds``, ``images_per_second``, ``memory_gib``; they become tags ``cost/<name>``.
                On the configuration's row those with ``seconds`` as first or last word are summed over the folds, of
                those with ``memory`` the largest counts, and of the others the mean.
            history: the rows of all epochs, each with its number as ``epoch``: they fill in what a run lacks that began
                in the middle, because its training was resumed under another configuration.
        """
