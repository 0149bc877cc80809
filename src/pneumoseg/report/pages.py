"""The engine of every page: one frame, one style, one policy; a page opens from disk without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pneumoseg.drawing.plotting import palette_css
from pneumoseg.shared.passwords import masked

_SHARED = Path(__file__).with_name("templates")


def render(template: Path, view: Mapping[str, Any]) -> str:
    """Fill a template that extends frame.html.

    What lies beside it under the same name with .css and .js becomes part of the page; no other script runs there.

    Args:
        template: an HTML file.
        view: what it shows: plain text, charts of ours, or made of them. The frame shows ``title``, ``subtitle``,
            ``made_by``, ``banner`` (empty for none), ``lead`` (key and title of the template's own sections) and
            ``parts`` (Part by key).
    """
    # Strict: a name that the view lacks is an error here, not a hole in the page.
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: masked(value) if type(value) is str else value,
    )
    style = palette_css() + _text(_SHARED / "style.css") + _text(template.with_suffix(".css"))
    script = _text(template.with_suffix(".js"))
    script = script and f"\n{script}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return pages.get_template(template.name).render(
        view=view,
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704 - our own files
        script_source=f"'sha256-{digest}'" if script else "'none'",
    )


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""
