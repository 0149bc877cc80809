"""Statistical plots of earlier stages, copied into the report with a caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree

from markupsafe import Markup

from pneumoseg.report.parts import Drawing
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path

#: Captions by folder and name; a plot that is not among them is called by its name.
_CAPTIONS: Final = {
    "plots/roc": "ROC of the image probability on the test images.",
    "plots/precision_recall": "Precision and recall of the image probability on the test images.",
    "plots/reliability": "Reliability: share with pneumothorax among images of like probability.",
    "plots/dice_by_size": "Dice of each test image with pneumothorax by the area of its true mask.",
    "tune/thresholds": "Validation scores by mask threshold.",
    "tune/surface": "Validation score by threshold and area: the surface on which the rule was chosen.",
    "explore/counts": "Images by label, sex and view position.",
    "explore/incidence": "Share with pneumothorax by age and sex.",
    "explore/masks": "Area and components of the masks.",
    "explore/heat_map": "Where masks lie: mean coverage of each place.",
    "explore/correlation": "Correlation of age, sex, view position and pneumothorax.",
}


#: Pixels a point, at which letters of 11 points are 9 pixels high: narrower than so, a plot is scrolled.
_LEGIBLE: Final = 0.84


def copy_plots(source: Path, out: Path, only: Sequence[str] = (), leave: Sequence[str] = ()) -> tuple[Drawing, ...]:
    """Copy the SVG files of a folder to ``out``/plots, in the order of their names.

    Args:
        source: folder of plots, such as metrics/explore.
        out: the report's folder.
        only: names without suffix; empty for all.
        leave: names to leave out.

    Raises:
        DataError: the folder or a wanted plot is missing, or a file is no picture.
    """
    if not source.is_dir():
        raise DataError(f"{source}: not there; run the stage that writes it (dvc repro)")
    wanted = [source / f"{name}.svg" for name in only] or sorted(source.glob("*.svg"))
    return tuple(_copy(path, out) for path in wanted if path.stem not in leave)


def _copy(path: Path, out: Path) -> Drawing:
    if not path.is_file():
        raise DataError(f"{path}: not there; run the stage that writes it (dvc repro)")
    content = path.read_bytes()
    try:
        box = ElementTree.fromstring(content).get("viewBox", "").split()  # noqa: S314 - written by an earlier stage
        width, height = float(box[2]), float(box[3])
    except (ElementTree.ParseError, IndexError, ValueError):
        raise DataError(f"{path}: not a readable SVG; delete it and run dvc repro") from None
    folder = path.parent.name
    name = f"plots/{folder}-{path.name}"
    with atomic_path(out / name) as temporary:
        temporary.write_bytes(content)
    caption = _CAPTIONS.get(f"{folder}/{path.stem}", f"{path.stem.replace('_', ' ').capitalize()}.")
    size = Markup('width="{:.0f}" height="{:.0f}" style="min-width: {:.0f}px"').format(width, height, _LEGIBLE * width)
    return Markup('<img src="{}" alt="{}" {} loading="lazy">').format(quote(name), caption, size), caption
