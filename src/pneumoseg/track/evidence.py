"""What evaluation and report add to a configuration's row: test metrics, plots, tables, pages, the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumoseg.config import Params
from pneumoseg.shared.errors import PneumosegError
from pneumoseg.shared.files import digest_files, read_json
from pneumoseg.track.flat import flat_metrics
from pneumoseg.track.fold_run import HINT
from pneumoseg.track.logged_model import log_model
from pneumoseg.track.rows import Configuration, log_metrics, log_tags, log_training, open_row
from pneumoseg.track.store import FAILURES, Store, first_line, open_store

logger = logging.getLogger(__name__)

TEST = Path("metrics/test.json")
THRESHOLDS = Path("metrics/thresholds.json")
EXTERNAL = Path("metrics/external")
REPORT = Path("data/report")
#: File or folder → folder among the run's artifacts ("" is the top).
TEST_ARTIFACTS = {
    TEST: "metrics",
    THRESHOLDS: "metrics",
    Path("metrics/test_cases.csv"): "metrics",
    Path("metrics/plots"): "metrics/plots",
    Path("params.yaml"): "",
    Path("data/submission.csv"): "",
}


def record_here(root: Path, params: Params, *, report: bool) -> None:
    """Record what lies in ``root``; a store that fails costs a warning, the files are the truth."""
    try:
        store = open_store(root, params.tracking)
        configuration = Configuration.here(root, params)
        row, _ = open_row(store, configuration)
        record_evaluation(store, configuration, row, with_model=params.tracking.log_model)
        if report:
            record_external(store, configuration, row)
            record_pages(store, configuration, row)
        store.client.set_terminated(row, "FINISHED")
    except (PneumosegError, *FAILURES) as error:
        logger.warning("MLflow: %s; %s", first_line(error), HINT)


def record_evaluation(store: Store, configuration: Configuration, row: str, *, with_model: bool) -> bool:
    """Put test metrics, thresholds, tables, plots and the model on a row; False where it has these very ones already.

    Args:
        store: the store.
        configuration: whose ``root`` holds the files.
        row: run id of its top-level run.
        with_model: log the model too, from data/models/.

    Raises:
        DataError: metrics/test.json or the run.json of a trained fold is missing.
    """
    root, folds = configuration.root, configuration.params.split.train_folds
    keys = {fold: str(read_json(root / f"data/models/fold{fold}/run.json")["train_key"]) for fold in folds}
    log_training(store, row, keys)
    files = [path for path in (root / TEST, root / THRESHOLDS, root / "metrics/test_cases.csv") if path.is_file()]
    changed = _is_new(store, row, "recorded.test", digest_files(files, root))
    if changed is not None:
        metrics = flat_metrics(read_json(root / TEST))
        if (root / THRESHOLDS).is_file():
            metrics |= flat_metrics({"thresholds": read_json(root / THRESHOLDS)})
        log_metrics(store, row, metrics)
        curves = {Path(f"metrics/train/fold{fold}.csv"): "metrics/train" for fold in folds}
        for path, place in (TEST_ARTIFACTS | curves).items():
            _log_artifact(store, row, root / path, place)
        log_tags(store, row, changed)
    if with_model:
        changed_model = _is_new(store, row, "recorded.model", digest_files(_model_files(root, folds), root))
        if changed_model is not None and log_model(store, row, root, folds, _decision(root)):
            log_tags(store, row, changed_model)
    return changed is not None


def record_external(store: Store, configuration: Configuration, row: str) -> bool:
    """Put the figures of external sets on a row, ``external/<name>/dice_all`` and so on; False where they are there.

    Raises:
        DataError: a set of evaluate.external has no figures.
    """
    folder, names = configuration.root / EXTERNAL, sorted(configuration.params.evaluate.external)
    if not names:
        return False
    figures = {name: read_json(folder / name / "figures.json") for name in names}
    files = [path for name in names for path in _files(folder / name)]
    changed = _is_new(store, row, "recorded.external", digest_files(files, folder))
    if changed is None:
        return False
    log_metrics(store, row, flat_metrics({"external": figures}))
    for name in names:
        _log_artifact(store, row, folder / name, f"metrics/external/{name}")
    log_tags(store, row, changed)
    return True


def record_pages(store: Store, configuration: Configuration, row: str) -> bool:
    """Put the folder of pages on a row as artifact ``report``; False where it is there already."""
    folder = configuration.root / REPORT
    changed = _is_new(store, row, "recorded.report", digest_files(_files(folder), folder))
    if changed is None:
        return False
    _log_artifact(store, row, folder, "report")
    log_tags(store, row, changed)
    return True


def _is_new(store: Store, row: str, tag: str, digest: str) -> dict[str, str] | None:
    """The tag to set once the content with this digest is on the row; None where it is there already."""
    return None if store.client.get_run(row).data.tags.get(tag) == digest else {tag: digest}


def _log_artifact(store: Store, row: str, path: Path, place: str) -> None:
    if path.is_dir():
        store.client.log_artifacts(row, str(path), place or None)
    elif path.is_file():
        store.client.log_artifact(row, str(path), place or None)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _model_files(root: Path, folds: tuple[int, ...]) -> Iterator[Path]:
    for fold in folds:
        yield from _files(root / f"data/models/fold{fold}")


def _decision(root: Path) -> dict[str, Any]:
    """The decision rule, kept with the model: its maps are probabilities, not masks; and what else predicted along."""
    found = {"decision": root / THRESHOLDS, "ensemble": root / "data/predictions/members.json"}
    return {name: read_json(path) for name, path in found.items() if path.is_file()}
