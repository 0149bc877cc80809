"""One look for every figure: colours that colour-blind people tell apart, one width, the phantom mark, same bytes.

matplotlib draws all of them. A figure for metrics/ is written twice: as PNG for dvc plots and MLflow, and as SVG for
pages. In an SVG each colour of the palette is a variable of CSS, so that a dark page shows it in its dark colours, text
is text, and at the width of a phone (a figure is 5.4 inches wide, its letters 11 points) it can still be read.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pneumoseg.shared.files import atomic_path

INK, GREY, PALE = "#17202a", "#55606c", "#d9dde1"
BLUE, ORANGE, GREEN, PURPLE, OLIVE, SKY = "#0b5e94", "#c2500e", "#1b7f5f", "#93387c", "#7a6200", "#56b4e9"
#: Inches; a phone shows it at about nine tenths.
WIDTH: Final = 5.4
DPI: Final = 130

#: Variable of CSS: colour on light and on dark ground. SKY suits both.
_PALETTE: Final[Mapping[str, tuple[str, str]]] = {
    "ink": (INK, "#e8ecf0"),
    "muted": (GREY, "#a3afbb"),
    "line": (PALE, "#333d47"),
    "card": ("#ffffff", "#1a2027"),
    "s1": (BLUE, "#7cc4f2"),
    "s2": (ORANGE, "#ff9a5c"),
    "s3": (GREEN, "#5fd0a5"),
    "s4": (PURPLE, "#e59bd1"),
    "s5": (OLIVE, "#e3cf5a"),
}
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
_REFERRED: Final = re.compile(r"""(?:url\(#|href="#)([^)"]+)""")
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 2,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a name may hold a dollar
    "svg.fonttype": "none",
    "svg.hashsalt": "pneumoseg",
}
ElementTree.register_namespace("", _SVG)


def new_figure(title: str, phantom: bool, width: float = WIDTH, height: float = 4.2) -> tuple[Figure, Axes]:
    """Make a figure with one axes; sizes in inches. A plot of phantoms says so in its title."""
    figure, parts = new_figures(title, phantom, 1, width, height)
    return figure, parts[0]


def new_figures(title: str, phantom: bool, count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with several axes side by side that share their vertical axis."""
    figure = blank_figure(title, "phantom data, not patients" if phantom else "", width, height)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def blank_figure(title: str, mark: str = "", width: float = WIDTH, height: float = 4.2, note: str = "") -> Figure:
    """Make a figure without axes.

    Args:
        title: broken into lines that fit; empty for none.
        mark: a line below it, such as that the data are phantoms.
        width: inches.
        height: inches, without title and note.
        note: what the reader must know, set below the figure.
    """
    matplotlib.rcdefaults()  # a user's matplotlibrc changes nothing
    matplotlib.rcParams.update(_STYLE)
    titles = _lines(f"{title}\n{mark}", round(10 * width))
    notes = _lines(note, round(11.5 * width))
    figure = Figure(figsize=(width, height + 0.21 * len(titles) + 0.19 * len(notes)), layout="constrained")
    FigureCanvasAgg(figure)
    if titles:
        figure.suptitle("\n".join(titles), fontsize=12)
    if notes:
        figure.supxlabel("\n".join(notes), fontsize=10.5, color=GREY, x=0.01, ha="left")
    return figure


def _lines(text: str, width: int) -> list[str]:
    return [part for line in text.splitlines() for part in textwrap.wrap(line, width)]


def frame_cell(axes: Axes, column: int, row: int) -> None:
    """Frame one cell of a heat map."""
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5))


def say_nothing_to_draw(axes: Axes, reason: str) -> None:
    """Write why a plot is empty."""
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, color=GREY, wrap=True)


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a PNG and, under the same name, an SVG; the same figure gives the same bytes.

    Args:
        figure: of new_figure.
        path: the PNG.
        dpi: its pixels an inch.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    root = _svg(figure, {})
    root.set("style", f"{root.get('style')}; background: {_variable('card')}")
    style = ElementTree.Element(f"{{{_SVG}}}style")
    style.text = palette_css()
    root.insert(0, style)
    for target, content in ((path, buffer.getvalue()), (path.with_suffix(".svg"), _text(root).encode())):
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)


def inline(figure: Figure, title: str, hover: Mapping[Artist, Sequence[str]] | None = None) -> Markup:
    """Give the figure as an element of a page, which sets its width and its colours.

    Args:
        figure: what is drawn.
        title: what a screen reader says.
        hover: what the browser shows at each mark of an artist, in the order of its marks.
    """
    root = _svg(figure, hover or {})
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": title}
    # HTML knows the namespace of <svg> by itself.
    return Markup(_text(root).replace(f' xmlns="{_SVG}"', ""))  # noqa: S704 - drawn here; ElementTree escapes every text


def palette_css() -> str:
    """The variables of the palette, for light and dark screens; print is light."""
    light, dark = ("".join(f"--{name}:{pair[which]};" for name, pair in _PALETTE.items()) for which in (0, 1))
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _variable(name: str) -> str:
    return f"var(--{name}, {_PALETTE[name][0]})"


def _svg(figure: Figure, hover: Mapping[Artist, Sequence[str]]) -> ElementTree.Element:
    """The drawing as a tree without ground, date and software, and with no id but those that it refers to itself."""
    for place, artist in enumerate(hover):
        artist.set_gid(f"hover{place}")
    buffer = BytesIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    drawn = _renamed(buffer.getvalue().decode())
    root = ElementTree.fromstring(drawn)  # noqa: S314 - matplotlib's own
    for place, texts in enumerate(hover.values()):
        marks = root.findall(f".//*[@id='hover{place}']//{{{_SVG}}}use")
        for mark, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = text
    used = set(_REFERRED.findall(drawn))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if f"{{{_LINK}}}href" in element.attrib:
            element.set("href", element.attrib.pop(f"{{{_LINK}}}href"))
    # A style sheet would reach the whole page around it.
    for parent in root.findall(f".//{{{_SVG}}}style/.."):
        for sheet in parent.findall(f"{{{_SVG}}}style"):
            parent.remove(sheet)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return root


def _renamed(drawn: str) -> str:
    """The drawing with ids by number, of one page's drawings all different.

    matplotlib's hang on the last bits of coordinates, which its layout does not give twice alike.
    """
    used = dict.fromkeys(_REFERRED.findall(drawn))
    digest = hashlib.md5(re.sub("|".join(used) or "$^", "", drawn).encode(), usedforsecurity=False).hexdigest()[:8]
    for place, name in enumerate(used):
        drawn = drawn.replace(name, f"d{digest}-{place}")
    return drawn


def _text(root: ElementTree.Element) -> str:
    drawn = ElementTree.tostring(root, encoding="unicode").replace("'DejaVu Sans'", _FONT)
    for name, (light, _) in _PALETTE.items():
        if name != "card":  # white letters on a heat map stay white
            drawn = drawn.replace(f": {light}", f": {_variable(name)}")
    return drawn + "\n"
