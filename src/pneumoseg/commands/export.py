"""pneumoseg export: the prepared data in the layout of another engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_FORMATS = ("nnunet", "coco", "png")


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser(
        "export",
        help="write the prepared data for another engine",
        description="Write the annotated images of data/splits with masks and folds as nnU-Net's raw data (nnunet), "
        "COCO instances (coco), or folders of PNG files and a table (png), so that another engine can be compared on "
        "the same split. truth.csv has the masks of the test images for pneumoseg score.",
    )
    parser.add_argument("format", choices=_FORMATS)
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="new folder (default: data/export/FORMAT)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    from pneumoseg.export.exporting import export
    from pneumoseg.shared.layout import Layout

    export(Layout(), args.format, args.to or Path("data/export") / args.format)
    return 0
