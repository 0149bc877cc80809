"""The page of a comparison: one index.html that opens from disk without a network, and its numbers beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pneumoseg.compare.comparing import Comparison
from pneumoseg.compare.comparison_charts import forest_chart
from pneumoseg.compare.comparison_parts import experiments_table, parts
from pneumoseg.compare.record import MADE_BY, record
from pneumoseg.compare.wording import (
    against_empty,
    all_empty,
    common_images,
    main_verdict,
    other_verdicts,
    verdict_kind,
)
from pneumoseg.report.pages import render
from pneumoseg.report.parts import listed, number
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path, write_json

_TEMPLATE = Path(__file__).with_name("templates") / "comparison.html"
RECORD: Final = "comparison.json"
_PHANTOM: Final = (
    "Phantom data: radiographs among these were made by software. No figure here says anything about patients."
)


def check_folder(out: Path) -> None:
    """See that ``out`` may be written to: it is not there, empty, or holds an earlier comparison.

    Raises:
        DataError: it is something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; give --out a folder")
    if any(out.iterdir()) and not _is_ours(out / RECORD):
        raise DataError(f"{out}: holds files, but no {RECORD} of this command; give --out a new or an empty folder")


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(content, dict) and content.get("made_by") == MADE_BY


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write index.html and comparison.json into ``out``; other files of an earlier comparison's folder stay.

    Raises:
        DataError: see check_folder.
    """
    check_folder(out)
    page = render(_TEMPLATE, _view(comparison))
    # The mark first: a run that is broken off leaves a folder that the next one knows as its own.
    write_json(out / RECORD, record(comparison))
    with atomic_path(out / "index.html") as temporary:
        temporary.write_bytes(page.encode())


def _view(comparison: Comparison) -> dict[str, Any]:
    """What the template shows; every value is plain text, a chart of ours, or made of them."""
    names = [item.name for item in comparison.experiments]
    return {
        "title": "Comparison of experiments",
        "subtitle": f"{listed(names[1:])} against {names[0]}; {common_images(comparison)}",
        "made_by": "pneumoseg compare",
        "banner": _PHANTOM if comparison.pairing.phantom else "",
        "lead": {"result": "Result"},
        "grave": [caution.text for caution in comparison.cautions if caution.grave],
        "cautions": [caution.text for caution in comparison.cautions if not caution.grave],
        "verdicts": [
            (
                verdict_kind(item.differences.get(comparison.deciding)),
                [text for text in (main_verdict(comparison, item), other_verdicts(comparison, item)) if text],
            )
            for item in comparison.against
        ],
        "against_empty": against_empty(comparison),
        "all_empty": number(all_empty(comparison)) if comparison.masks else "",
        "forest": forest_chart(comparison),
        "experiments": experiments_table(comparison),
        "parts": parts(comparison),
        "record": RECORD,
    }
