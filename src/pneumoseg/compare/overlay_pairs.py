"""The images on which two experiments differ most, with what each of them marked, from DVC's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from pneumoseg.compare.experiments import Experiment
from pneumoseg.config.report import ReportParams
from pneumoseg.report.pictures import CasePictures, PictureWriter
from pneumoseg.report.single_file import data_uri
from pneumoseg.revisions import Snapshot
from pneumoseg.rule.decision import read_rule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.layout import Layout

#: So many images are shown of each pair of experiments.
SHOWN_IMAGES: Final = 6
#: By image_id a picture of what the reference marked, and one of what the other experiment did.
Pairs = Mapping[str, tuple[Markup, Markup]]
_SIZE_PX: Final = 384
_PANEL: Final = Markup('<span class="layers"><img src="{}" alt="{}">{}</span>')


def draw_pairs(
    root: Path,
    folder: Path,
    experiments: Sequence[Experiment],
    rows: Sequence[pd.DataFrame],
    ids: Sequence[Sequence[str]],
) -> Iterator[Pairs]:
    """For each experiment but the first, the first images of its list beside what the first experiment marked.

    Args:
        root: the repository.
        folder: with a folder for each experiment, by its number, that holds its metrics/thresholds.json.
        experiments: the reference first.
        rows: the test_cases.csv of each, by image_id.
        ids: of each but the first, the images on which it differs most from the first.
    """
    for number, names in enumerate(ids, start=1):
        shown = names[:SHOWN_IMAGES]
        first, other = (
            _overlays(Snapshot(root, experiments[place].sha), folder / str(place), rows[place], shown)
            for place in (0, number)
        )
        yield {name: (first[name], other[name]) for name in shown} if first and other else {}


def _overlays(snapshot: Snapshot, folder: Path, rows: pd.DataFrame, ids: Sequence[str]) -> Mapping[str, Markup]:
    """Radiograph and agreement of some test images under one experiment.

    Args:
        snapshot: of its revision.
        folder: with its metrics/thresholds.json; more of its files are put there.
        rows: its test_cases.csv by image_id.
        ids: which images.

    Returns:
        A picture for each image; none at all where DVC's cache does not hold what they are made of, or where they are
        not those that were measured.
    """
    layout = Layout(folder)
    needed = [path for name in ids for path in (f"data/images/{name}.png", f"data/predictions/test/{name}.png")]
    if snapshot.export(needed, folder):
        return {}
    snapshot.export([f"data/masks/{name}.png" for name in ids], folder)  # an image without pneumothorax has none
    found = {}
    try:
        writer = PictureWriter(layout, folder, read_rule(layout.thresholds), ReportParams(overlay_size_px=_SIZE_PX))
        for name in ids:
            row: Any = rows.loc[name]
            pictures = writer.write(name, "test", float(row["probability"]), mask_known=True)
            if (pictures.truth_px, pictures.predicted_px) != (row["truth_px"], row["predicted_px"]):
                return {}
            found[name] = _picture(name, pictures, folder)
    except DataError:  # of an earlier version, whose rule or maps are read no more
        return {}
    return found


def _picture(name: str, pictures: CasePictures, folder: Path) -> Markup:
    layer = Markup("")
    if pictures.agreement:
        layer = Markup('<img class="agreement" src="{}" alt="">').format(data_uri(folder / pictures.agreement))
    return _PANEL.format(data_uri(folder / pictures.radiograph), f"Radiograph {name}", layer)
