"""A page and all its pictures as one file, for viewers that show it without the folder around it, as MLflow does."""

from __future__ import annotations

import base64
import mimetypes
import re
from pathlib import Path
from urllib.parse import unquote

_PICTURE = re.compile(r'<img( class="([^"]*)")? src="((?:cases|plots)/[^"]+)"')
#: One transparent pixel: the picture itself stands once in the style sheet, however often the page shows it.
_PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def single_file(page: Path) -> str:
    """The page with its pictures inside.

    A radiograph that lies below several layers is embedded once, as a background; a plot, which sets its own height, as
    the picture itself.
    """
    rules: dict[str, str] = {}

    def embed(found: re.Match[str]) -> str:
        name = found[3]
        if name.startswith("plots/"):
            return f'<img{found[1] or ""} src="{data_uri(page.parent / unquote(name))}"'
        if name not in rules:
            rules[name] = f"p{len(rules)}"
        return f'<img class="{" ".join(filter(None, (found[2], rules[name])))}" src="{_PIXEL}"'

    html = _PICTURE.sub(embed, page.read_text("utf-8"))
    style = "\n".join(
        f"img.{rule} {{ background: url({data_uri(page.parent / unquote(name))}) center / contain no-repeat }}"
        for name, rule in rules.items()
    )
    return html.replace("</style>", f"{style}\n</style>", 1)


def data_uri(path: Path) -> str:
    """A picture file as an address that holds it."""
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
