"""``pneumoseg track``: rebuild rows that MLflow does not have from files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumoseg.config import load_params

if TYPE_CHECKING:
    from pneumoseg.revisions import Revision


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "track",
        help="rebuild missing MLflow rows from files",
        description=(
            "Rebuild missing MLflow rows from params, metrics and models: after dvc pull, after mlflow.db was deleted, "
            "or for experiments that came from DVC's cache. Rows that are there stay as they are."
        ),
    )
    parser.add_argument(
        "revisions", nargs="*", metavar="REV", help="commits, branches, experiments; none: the workspace"
    )
    parser.add_argument(
        "--all-experiments", action="store_true", help="also every experiment that dvc exp list -A knows"
    )


def run(args: argparse.Namespace) -> int:
    """Rebuild and say what became of each source; 1 where a named revision could not be rebuilt."""
    from pneumoseg import revisions
    from pneumoseg.track.rebuild import rebuild

    root = Path.cwd()
    params = load_params(root / "params.yaml")
    sources: list[Revision | None] = [revisions.resolve(root, name) for name in args.revisions]
    if args.all_experiments:
        sources += revisions.experiments(root)
    if not (args.revisions or args.all_experiments):
        sources = [None]
    outcomes = rebuild(root, params, sources)
    for outcome in outcomes:
        lines = [f"rebuilt {', '.join(outcome.done)}"] if outcome.done else []
        lines += [f"not rebuilt: {reason}" for reason in outcome.skipped]
        for line in lines or ["nothing is missing"]:
            sys.stdout.write(f"{outcome.source}: {line}\n")
    if not outcomes:
        sys.stdout.write("no experiment yet\n")
    failed = [outcome for outcome in outcomes if outcome.skipped]
    return 1 if args.revisions and failed else 0
