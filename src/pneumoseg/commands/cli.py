"""The command ``pneumoseg``: what is done beside the stages of the pipeline.

Exit codes: 0 done, 1 a mistake that the user can mend (one message, no traceback), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from pneumoseg import __version__
from pneumoseg.shared.errors import PneumosegError

#: Subcommand → module with ``register(subparsers)`` and ``run(args) -> int``. Registering must be quick: what takes
#: seconds to import (MLflow, DVC, torch) is imported in ``run``.
COMMANDS = {
    "compare": "pneumoseg.commands.compare",
    "params": "pneumoseg.commands.params",
    "recipe": "pneumoseg.commands.recipe",
    "score": "pneumoseg.commands.score",
    "track": "pneumoseg.commands.track",
    "ui": "pneumoseg.commands.ui",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(prog="pneumoseg", description="Pneumothorax segmentation on chest radiographs.")
    parser.add_argument("--version", action="version", version=f"pneumoseg {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS.values():
        importlib.import_module(module).register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    args = build_parser().parse_args(argv)
    try:
        code: int = importlib.import_module(COMMANDS[args.command]).run(args)
    except PneumosegError as error:
        sys.stderr.write(f"pneumoseg {args.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
