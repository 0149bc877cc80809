"""``pneumoseg compare``: experiments side by side, with intervals of their differences on the same images."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "compare",
        help="set experiments side by side: is one better, or is it noise?",
        description=(
            "Compare experiments on the test images that they share, with 95 % intervals of the paired differences by "
            "bootstrap over patients. Writes a page and comparison.json; reads commits and DVC's cache, runs nothing."
        ),
    )
    parser.add_argument(
        "revisions",
        nargs="+",
        metavar="REV",
        help="two or more: commits, branches, tags, experiments, or `workspace` for the files that lie here; the "
        "others are compared with the first",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data/comparison"),
        metavar="DIR",
        help="folder of the page (default: data/comparison)",
    )
    parser.add_argument("--json", action="store_true", help="all numbers as one JSON object instead of a table")
    parser.add_argument(
        "--replicates",
        type=number_of_replicates,
        default=10_000,
        metavar="N",
        help="resamples of the patients, and permutations (default: 10000)",
    )
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help="of both (default: 0)")


def number_of_replicates(text: str) -> int:
    """The value of --replicates."""
    if not text.isdecimal() or not 100 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 100 to 1000000")
    return int(text)


def seed_number(text: str) -> int:
    """The value of --seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 0 to {2**32 - 1}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Compare, write the page and say what came out; cautions go to stderr. Returns the exit code."""
    from pneumoseg.compare.comparing import compare
    from pneumoseg.compare.comparison_page import RECORD, check_folder, write_comparison
    from pneumoseg.compare.terminal import as_text

    logger = logging.getLogger("pneumoseg")
    check_folder(args.out)
    comparison = compare(Path.cwd(), args.revisions, args.replicates, args.seed)
    write_comparison(comparison, args.out)
    for caution in comparison.cautions:
        logger.warning("%s: %s", "CAUTION" if caution.grave else "caution", caution.text)
    if args.json:
        sys.stdout.write((args.out / RECORD).read_text("utf-8"))
    else:
        sys.stdout.write(as_text(comparison))
    logger.info("%s", args.out / "index.html")
    return 0
