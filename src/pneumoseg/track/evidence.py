"""What evaluation and report add to a configuration's row: test metrics, plots, tables, pages, the model in use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from mlflow.entities import Run

from pneumoseg.config import Params
from pneumoseg.evaluate.result import TestResult
from pneumoseg.report.headline import judge
from pneumoseg.report.inputs import read_figures
from pneumoseg.report.single_file import single_file
from pneumoseg.shared.errors import PneumosegError
from pneumoseg.shared.files import digest_files, read_json
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.passwords import masked
from pneumoseg.track.configuration import DESCRIPTION, Configuration
from pneumoseg.track.metric_names import headline
from pneumoseg.track.rows import log_training, open_row
from pneumoseg.track.store import FAILURES, HINT, Store, first_line, open_store

logger = logging.getLogger(__name__)

REPORT = "report.html"


def record_here(layout: Layout, params: Params, *parts: Callable[[Store, Configuration, str], object]) -> None:
    """Record the evaluation that lies here and then ``parts``; a store that fails costs a warning, files are the truth.

    The evaluation too: the row is new where only what comes after it has changed, and the rest came from DVC's cache.
    """
    try:
        store = open_store(layout.root, params.tracking)
        configuration = Configuration.here(layout.root, params)
        row = open_row(store, configuration)
        for record in (record_evaluation, *parts):
            record(store, configuration, row)
        store.client.set_terminated(row, "FINISHED")
    except (PneumosegError, *FAILURES) as error:
        logger.warning("MLflow: %s; %s", first_line(error), HINT)


def record_evaluation(store: Store, configuration: Configuration, row: str) -> bool:
    """Put test metrics, thresholds, tables and plots on a row; False where it has these very ones already.

    Args:
        store: the store.
        configuration: whose ``root`` holds the files.
        row: run id of its top-level run.

    Raises:
        DataError: metrics/test.json or the run.json of a trained fold is missing or not readable.
    """
    layout, folds = configuration.layout, configuration.params.split.train_folds
    log_training(store, row, {fold: str(read_json(_model(layout, fold) / "run.json")["train_key"]) for fold in folds})
    figures = [path for path in (layout.test, layout.thresholds, layout.test_cases) if path.is_file()]
    others = (layout.plots, layout.root / "params.yaml", layout.submission)
    training = (layout.training / f"fold{fold}.{kind}" for fold in folds for kind in ("csv", "json"))
    changed = _logged(store, row, layout, "test", figures, (*figures, *others, *training))
    if changed:
        judged = read_figures(layout)
        notes = "\n".join(f"{note.code}: {note.text}" for note in judged.test.notes)
        told = configuration.description("\n\n".join(judge(judged).sentences))
        store.log(row, metrics=headline(judged.test), tags={**changed, "notes": notes or "none", DESCRIPTION: told})
    return bool(changed)


def record_model(store: Store, configuration: Configuration, row: str) -> bool:
    """Put data/bundle/ on a row as its model; False where it is there already, or cannot be.

    Raises:
        DataError: it is missing or damaged.
    """
    # torch, which evaluate and report do without
    from pneumoseg.track.model_packaging import log_model, logged_bundles
    from pneumoseg.use.bundle import Bundle

    bundle = Bundle.read(configuration.layout.bundle)
    tag, run = {"recorded.model": bundle.about.id}, store.client.get_run(row)
    if tag.items() <= run.data.tags.items() and logged_bundles(store, run):
        return False
    logged = log_model(store, row, configuration, bundle)
    if logged:
        store.log(row, tags=tag)
    return logged


def record_external(store: Store, configuration: Configuration, row: str) -> bool:
    """Put the figures of external sets on a row, ``external/<name>/dice_all`` and so on; False where they are there.

    Raises:
        DataError: a set of evaluate.external has no figures.
    """
    layout = configuration.layout
    sites = {name: layout.external(name) for name in sorted(configuration.params.evaluate.external)}
    figures = {name: TestResult.read(site.test) for name, site in sites.items()}
    folders = [site.metrics for site in sites.values()]
    files = [path for folder in folders for path in _files(folder)]
    changed = _logged(store, row, layout, "external", files, folders) if sites else {}
    if changed:
        for name, result in figures.items():
            store.log(row, metrics=headline(result, f"external/{name}/"))
        store.log(row, tags=changed)
    return bool(changed)


def record_pages(store: Store, configuration: Configuration, row: str) -> bool:
    """Put the report on a row as one file, which MLflow shows with its pictures; False where it is there already."""
    layout = configuration.layout
    tag = {"recorded.report": digest_files(_files(layout.report), layout.root)}
    run = store.client.get_run(row)
    if tag.items() <= run.data.tags.items() and holds_pages(store, run):
        return False
    store.client.log_text(row, single_file(layout.report / "index.html"), REPORT)
    store.log(row, tags=tag)
    return True


def holds_pages(store: Store, row: Run) -> bool:
    """Whether a row has its report."""
    return "recorded.report" in row.data.tags and REPORT in _artifacts(store, row.info.run_id, ["."])


def _logged(
    store: Store, row: str, layout: Layout, name: str, figures: Iterable[Path], paths: Iterable[Path]
) -> dict[str, str]:
    """Log files and folders at their places in the project, those of data/ at the top, unless all are there.

    Returns:
        The tag to set now, a digest of ``figures``; nothing where the row has these very files already.
    """
    paths = [path for path in paths if path.exists()]
    tag = {f"recorded.{name}": digest_files(figures, layout.root)}
    if tag.items() <= store.client.get_run(row).data.tags.items():
        # A tag says what was recorded once; the artifacts may have been left behind when a database was moved.
        places = [_place(file, layout) for path in paths for file in (_files(path) if path.is_dir() else [path])]
        if {str(place) for place in places} <= _artifacts(store, row, {str(place.parent) for place in places}):
            return {}
    for path in paths:
        place = _place(path, layout)
        if path.name == "params.yaml":
            store.client.log_text(row, masked(path.read_text("utf-8")), path.name)
        elif path.is_dir():
            store.client.log_artifacts(row, str(path), str(place))
        else:
            store.client.log_artifact(row, str(path), str(place.parent) if place.parent.name else None)
    return tag


def _place(path: Path, layout: Layout) -> Path:
    return path.relative_to(layout.data if path.is_relative_to(layout.data) else layout.root)


def _artifacts(store: Store, row: str, folders: Iterable[str]) -> set[str]:
    """The artifacts in some folders of a run."""
    found = (store.client.list_artifacts(row, None if folder == "." else folder) for folder in folders)
    return {item.path for items in found for item in items}


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _model(layout: Layout, fold: int) -> Path:
    return layout.models / f"fold{fold}"
