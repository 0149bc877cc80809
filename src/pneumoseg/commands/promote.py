"""``pneumoseg promote``: the candidate becomes the champion where it is shown to lose nothing that matters."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pneumoseg.commands.compare import number_of_replicates, seed_number
from pneumoseg.config import load_params
from pneumoseg.shared.errors import DataError

MARGIN = 0.05


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "promote",
        help="make the candidate the champion, where it is no worse",
        description=(
            "Give the alias `champion` of the MLflow model `pneumoseg` to the candidate. Both are compared on the test "
            "images that they share: the lower bounds (95 % interval over patients, paired) of the changes of AUC and "
            "of sensitivity under each model's own rule must be above minus MARGIN."
        ),
    )
    parser.add_argument(
        "--margin", type=_margin, default=MARGIN, help=f"what either figure may lose (default: {MARGIN})"
    )
    parser.add_argument("--force", action="store_true", help="promote all the same; a tag of the version says so")
    parser.add_argument(
        "--replicates", type=number_of_replicates, default=10_000, metavar="N", help="resamples (default: 10000)"
    )
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="of the resamples (default: 0)")


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = -1.0
    if not 0 <= margin < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0 to 1, such as {MARGIN}")
    return margin


def run(args: argparse.Namespace) -> int:
    """Compare, promote and say why; returns the exit code.

    Raises:
        DataError: there is no candidate, it was trained on phantoms, or a loss cannot be excluded.
    """
    from pneumoseg.compare.promotion import compare_versions
    from pneumoseg.track import registered
    from pneumoseg.track.store import open_store

    root = Path.cwd()
    store = open_store(root, load_params(root / "params.yaml").tracking)
    candidate = registered.registered(store, root, registered.CANDIDATE)
    champion = registered.registered(store, root, registered.CHAMPION)
    if candidate is None:
        raise DataError(f"no version of {registered.NAME} is the candidate; run pneumoseg register")
    if candidate.bundle.about.phantom:
        raise DataError(f"{candidate.name} was trained on drawings, which --force does not change: no champion")
    if champion is None:
        told, lost = "no champion before it, so nothing was compared", []
    elif champion.version == candidate.version:
        sys.stdout.write(f"{candidate.name} is the champion already\n")
        return 0
    else:
        found = compare_versions(store, champion, candidate, args.replicates, args.seed)
        figures = "; ".join(change.words for change in found.figures)
        told = f"against {champion.name} on {found.images} test images ({found.positives} positive): {figures}"
        lost = [change.metric.name for change in found.figures if change.lost(args.margin)]
    if lost and not args.force:
        raise DataError(
            f"{candidate.name} {told}; a loss of more than {args.margin:g} of {', '.join(lost)} cannot be excluded: "
            "not promoted (--force promotes it all the same)"
        )
    forced = {"promotion.forced": ", ".join(lost)} if lost else {}
    registered.make_champion(store, candidate, {"promotion": told, "promotion.margin": f"{args.margin:g}", **forced})
    how = " by force" if lost else ""
    sys.stdout.write(f"{candidate.name}{how}: models:/{registered.NAME}@{registered.CHAMPION}; {told}\n")
    return 0
