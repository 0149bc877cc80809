"""``pneumoseg register``: the model of an experiment becomes the candidate among the registered ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumoseg.config import load_params
from pneumoseg.shared.errors import DataError

if TYPE_CHECKING:
    from mlflow.entities import Run

    from pneumoseg.track.store import Store


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "register",
        help="make the model of an experiment the candidate",
        description=(
            "Give the model of an experiment a version of the MLflow model `pneumoseg` and the alias `candidate`. "
            "`pneumoseg promote` makes it the champion."
        ),
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="id or name of its row; none: what lies here")


def run(args: argparse.Namespace) -> int:
    """Register, and say under which name the model is found; returns the exit code."""
    from pneumoseg.track import registered
    from pneumoseg.track.store import open_store

    root = Path.cwd()
    params = load_params(root / "params.yaml")
    store = open_store(root, params.tracking)
    found = registered.register(store, root, _row(store, root, args.run))
    sys.stdout.write(
        f"{found.name} (bundle {found.bundle.about.id}): models:/{registered.NAME}@{registered.CANDIDATE}\n"
    )
    return 0


def _row(store: Store, root: Path, name: str | None) -> Run:
    """The row of that id or name, or of what lies here.

    Raises:
        DataError: there is none.
    """
    from pneumoseg.track.configuration import Configuration
    from pneumoseg.track.rows import find_row

    if name is None:
        row = find_row(store, Configuration.here(root, load_params(root / "params.yaml")).key)
        if row is None:
            raise DataError("what lies here has no row in MLflow; run dvc repro, or pneumoseg track")
        return row
    wanted = name.removeprefix("runs:/")
    for row in store.search("tags.config_key LIKE '%'"):
        if wanted in (row.info.run_id, row.info.run_name):
            return row
    raise DataError(f"{name}: no row of MLflow has this id or name; pneumoseg ui shows those that are there")
