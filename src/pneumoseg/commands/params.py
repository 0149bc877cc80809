"""``pneumoseg params``: a params.yaml of an older version brought up to this one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser("params", help="bring a params.yaml of an older version up to this one")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    upgrade = actions.add_parser(
        "upgrade",
        help="add the keys that came later",
        description="Add the keys that the file lacks, with the values that mean what was done before they existed, "
        "and take out those that were renamed or removed. Values and comments stay.",
    )
    upgrade.add_argument("file", metavar="FILE", nargs="?", type=Path, default=Path("params.yaml"))
    upgrade.add_argument(
        "--check", action="store_true", help="only say what would change; exit code 1 if anything does"
    )


def run(args: argparse.Namespace) -> int:
    """Upgrade the file; returns the exit code."""
    from pneumoseg.config import parse_params, read_yaml
    from pneumoseg.config.edit import edit_file
    from pneumoseg.config.flat import complete, lacking

    content = read_yaml(args.file)
    whole = parse_params(content, str(args.file)).written()
    told = edit_file(args.file, complete(content, whole), dropped=lacking(whole, content), write=not args.check)
    end = f"{len(told)} keys differ; nothing was written" if args.check else f"{len(told)} keys changed in {args.file}"
    sys.stdout.write("\n".join([*map(str, told), end, ""]))
    return 1 if args.check and told else 0
