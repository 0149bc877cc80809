"""pneumoseg score: Dice and what belongs beside it, of two tables of run-length codes."""

from __future__ import annotations

import argparse
import json
import logging
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.shared.errors import PneumosegError

if TYPE_CHECKING:
    from pneumoseg.evaluate.scoring import Score


def register(subparsers: Any) -> None:
    """Add the command to the parser of ``pneumoseg``."""
    parser = subparsers.add_parser(
        "score",
        help="score a submission against a truth table",
        description="Score SUBMISSION.csv against TRUTH.csv (ImageId,EncodedPixels; relative run-length codes). "
        "Several rows of an image are merged by OR. Exit code 1 where a table cannot be used, or where the two do not "
        "have the same images.",
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH.csv")
    parser.add_argument("submission", type=Path, metavar="SUBMISSION.csv")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="score an image that the submission lacks as an empty prediction and leave out one that the truth lacks",
    )
    parser.add_argument(
        "--empty-cells",
        choices=("refused", "negative"),
        default="refused",
        help="what a row without EncodedPixels is: a mistake (the default), or an image without pneumothorax, as -1; "
        "how the competition took them is not known",
    )
    parser.add_argument(
        "--size-px", type=_size, default=(1024, 1024), metavar="N|WxH", help="size of the images (default: 1024)"
    )
    parser.set_defaults(run=run)


def _size(text: str) -> tuple[int, int]:
    """Read ``1024`` or ``2048x1024`` (width x height)."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})(?:[xX]([1-9][0-9]{0,4}))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give N or WIDTHxHEIGHT in pixels, such as 1024")
    return int(match[1]), int(match[2] or match[1])


def run(args: argparse.Namespace) -> int:
    """Score and write to stdout; messages go to stderr. Returns the exit code."""
    from pneumoseg.evaluate.scoring import read_masks, score_masks
    from pneumoseg.shared.rle import EMPTY

    logger = logging.getLogger("pneumoseg")
    width, height = args.size_px
    empty_code = EMPTY if args.empty_cells == "negative" else ""
    try:
        truth, submitted = (read_masks(path, width * height, empty_code) for path in (args.truth, args.submission))
        score = score_masks(truth, submitted, width * height, args.allow_missing)
    except PneumosegError as error:
        logger.error("error: %s", error)  # noqa: TRY400 - a mistake the user can mend needs no traceback
        return 1
    if score.missing or score.unknown:
        logger.warning(
            "%d missing images scored as empty predictions, %d unknown ones left out",
            len(score.missing),
            len(score.unknown),
        )
    sys.stdout.write(_as_json(score, args.allow_missing) if args.json else _as_text(score))
    return 0


def _as_json(score: Score, allow_missing: bool) -> str:
    content: dict[str, float | int | None] = {
        name: round(value, 6) if math.isfinite(value) else None for name, value in score.figures.items()
    }
    content["n"] = score.n
    if allow_missing:
        content |= {"missing": len(score.missing), "unknown": len(score.unknown)}
    return json.dumps(content) + "\n"


def _as_text(score: Score) -> str:
    from pneumoseg.shared.registry import METRICS

    lines = [
        (METRICS[name].label, f"{value:.4f}" if math.isfinite(value) else "-", name)
        for name, value in score.figures.items()
    ]
    lines.append(("images", str(score.n), "n"))
    width = max(len(label) for label, _, _ in lines)
    return "".join(f"{label:<{width}}  {value:>8}  {name}\n" for label, value, name in lines)
