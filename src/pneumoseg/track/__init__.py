"""MLflow: one row for each configuration, with a nested run for each of its folds.

MLflow holds a projection of files and nothing that could not be rebuilt from them (``pneumoseg track``), except times
and memory, which are no outputs. MLflow is imported, 3 to 4 s, only where ``tracking.enabled`` asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pneumoseg.config import Params
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.processes import is_first_process
from pneumoseg.track.fold_run import FoldRun

# Read when MLflow is imported: without it, MLflow reports to its makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A bar for each file that is copied from one folder of this machine to another.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@contextmanager
def fold_run(layout: Layout, params: Params, fold: int, train_key: str) -> Iterator[FoldRun]:
    """Track the training of one fold: live curves, then a summary.

    A run that was broken off, with the same key, goes on; a finished one stays, a new run is made and the newest wins.
    Of the processes of a distributed training only the first tracks.

    Args:
        layout: of the main set.
        params: the whole configuration.
        fold: the fold that is left out.
        train_key: see fingerprints.train_key.

    Raises:
        TrackingError: the store cannot be used. Only here, before work is done: later failures are warnings.
    """
    if not params.tracking.enabled or not is_first_process():
        yield FoldRun()
        return
    from pneumoseg.track.configuration import Configuration
    from pneumoseg.track.rows import record_fold
    from pneumoseg.track.store import open_store

    store = open_store(layout.root, params.tracking)
    with record_fold(store, Configuration.here(layout.root, params), fold, train_key) as run:
        yield run


def record_test(layout: Layout, params: Params) -> None:
    """Put test metrics, thresholds and plots on this configuration's row; failures are warnings.

    Args:
        layout: of the main set, with metrics/test.json, metrics/thresholds.json and data/models/.
        params: the whole configuration.
    """
    if params.tracking.enabled:
        from pneumoseg.track.evidence import record_here

        record_here(layout, params)


def record_report(layout: Layout, params: Params) -> None:
    """Put data/report and the figures of external sets on this configuration's row; failures are warnings."""
    if params.tracking.enabled:
        from pneumoseg.track.evidence import record_external, record_here, record_pages

        record_here(layout, params, record_external, record_pages)


def record_bundle(layout: Layout, params: Params) -> None:
    """Put data/bundle on this configuration's row, as its model; failures are warnings."""
    if params.tracking.enabled and params.tracking.log_model:
        from pneumoseg.track.evidence import record_here, record_model

        record_here(layout, params, record_model)
