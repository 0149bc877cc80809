"""What the trainings behind an experiment cost: times and memory are no outputs, MLflow alone has them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.config.tracking import TrackingParams
from pneumoseg.shared.errors import TrackingError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """Of all folds: seconds of training, and the highest memory in GiB; None is what MLflow does not know."""

    seconds: float | None = None
    memory_gib: float | None = None


def read_costs(root: Path, tracking: TrackingParams, train_keys: Sequence[Sequence[str]]) -> list[Cost]:
    """Look the trainings up in MLflow; where it has no store, or one that fails, nothing is known of any.

    Args:
        root: the repository.
        tracking: section tracking.
        train_keys: of each experiment, those of its folds.
    """
    nothing = [Cost() for _ in train_keys]
    if not tracking.enabled:
        return nothing
    from pneumoseg.track.database import SQLITE
    from pneumoseg.track.rows import find_fold_runs
    from pneumoseg.track.store import FAILURES, Store, first_line, open_store, store_uri

    def cost(store: Store, keys: Sequence[str]) -> Cost:
        runs = [[run.data.tags for run in find_fold_runs(store, key)] for key in keys]
        told = [[tags for tags in held if "cost/seconds" in tags] for held in runs]
        found = [tags[0] for tags in told if tags]
        if not keys or len(found) < len(keys):
            return Cost()
        memory = [float(tags["cost/memory_gib"]) for tags in found if "cost/memory_gib" in tags]
        return Cost(sum(float(tags["cost/seconds"]) for tags in found), max(memory, default=None))

    try:
        uri = store_uri(root, tracking)
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
            return nothing
        store = open_store(root, tracking)
        return [cost(store, keys) for keys in train_keys]
    except (TrackingError, *FAILURES) as error:
        logger.warning("seconds and memory are not told: %s", first_line(error))
        return nothing
