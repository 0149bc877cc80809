"""What all statistical plots share: size, colours that colour-blind people tell apart, the phantom mark, same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pneumoseg.shared.files import atomic_path

# Okabe and Ito 2008.
BLUE, ORANGE, SKY, GREEN, GREY = "#0072B2", "#D55E00", "#56B4E9", "#009E73", "#555555"
_DPI = 110


def new_figure(title: str, phantom: bool, width: float = 6.4, height: float = 4.8) -> tuple[Figure, Axes]:
    """Make a figure with one axes; sizes in inches. A plot of phantoms says so in its title."""
    figure, parts = new_figures(title, phantom, 1, width, height)
    return figure, parts[0]


def new_figures(title: str, phantom: bool, count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with several axes side by side that share their vertical axis."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}\nphantom data, not patients" if phantom else title, fontsize=11)
    parts = list(figure.subplots(1, count, sharey=True, squeeze=False)[0])
    for axes in parts:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, parts


def frame_cell(axes: Axes, column: int, row: int) -> None:
    """Frame one cell of a heat map."""
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5))


def say_nothing_to_draw(axes: Axes, reason: str) -> None:
    """Write why a plot is empty."""
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, color=GREY, wrap=True)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that is the same whenever it is drawn: without the version of the software."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
