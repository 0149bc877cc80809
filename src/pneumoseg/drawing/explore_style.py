"""The look of all figures: Okabe and Ito's colours, which colour-blind readers can tell apart, and plain axes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pneumoseg.shared.files import atomic_path

VERMILION = "#D55E00"
BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
DARK = "#333333"
GREY = "#999999"
PALE = "#D9D9D9"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DARK,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def figure(
    path: Path, size_inches: tuple[float, float], dpi: int, title: str, mark: str, note: str
) -> Iterator[Figure]:
    """Give a figure that is written as a PNG when the block ends; the same content gives the same bytes.

    Args:
        path: the PNG.
        size_inches: width and height.
        dpi: pixels an inch.
        title: headline.
        mark: that the data are phantoms; empty if they are not.
        note: what the reader must know, set below; lines as given.
    """
    # A user's matplotlibrc changes nothing, and no figure is left open in pyplot's global state.
    with matplotlib.style.context(["default", _STYLE], after_reset=True):
        drawing = Figure(size_inches, dpi=dpi, layout="constrained")
        FigureCanvasAgg(drawing)
        drawing.suptitle(f"{title} · {mark}" if mark else title, fontsize=12, fontweight="bold", color=DARK)
        yield drawing
        drawing.supxlabel(note, fontsize=8, color=DARK, x=0.01, ha="left", linespacing=1.4)
        with atomic_path(path) as temporary:
            drawing.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
