"""The command ``pneumoseg``: what is done beside the stages of the pipeline.

Exit codes: 0 done, 1 a mistake that the user can mend (one message, no traceback), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from types import ModuleType

from pneumoseg import __version__
from pneumoseg.shared.errors import PneumosegError
from pneumoseg.shared.passwords import guard_output

#: Modules beside this one, each with ``register(subparsers)`` and ``run(args) -> int``. Registering must be quick: what
#: takes seconds to import (MLflow, DVC, torch) is imported in ``run``.
COMMANDS = ("compare", "export", "page", "params", "predict", "promote", "recipe", "register", "score", "track", "ui")


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"pneumoseg.commands.{command}")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(prog="pneumoseg", description="Pneumothorax segmentation on chest radiographs.")
    parser.add_argument("--version", action="version", version=f"pneumoseg {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        _module(command).register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit code."""
    guard_output()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    command = ""
    try:
        args = build_parser().parse_args(argv)
        command = f" {args.command}"
        code: int = _module(args.command).run(args)
    except PneumosegError as error:
        sys.stderr.write(f"pneumoseg{command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
