"""data/submission.csv: one row an image in the competition's code."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from pneumoseg.rule.cases import read_map
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.rle import encode
from pneumoseg.sources.rle_table import CODE_COLUMN, ID_COLUMN, read_rows

_LOGGER = logging.getLogger("pneumoseg")


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids of a table such as the competition's sample submission, each once and in its order.

    Raises:
        DataError: it is missing, or a row has no id.
    """
    table = read_rows(path)
    if table.rejected:
        bad = table.rejected[0]
        raise DataError(f"{path}: line {bad.line}: {bad.reason}; evaluate.submission_ids needs an id in every row")
    return tuple(dict.fromkeys(row.image_id for row in table.rows))


def choose_ids(predicted: pd.DataFrame, ids_csv: str | None) -> pd.DataFrame:
    """The rows of images.csv that the submission must have, in order.

    Args:
        predicted: images.csv.
        ids_csv: exactly the ids of this table, in its order; None for every image without annotation, by id.

    Raises:
        DataError: an id of the table has no prediction.
    """
    if ids_csv is None:
        return predicted[predicted["set"] == "unlabelled"].sort_values("image_id")
    ids = read_ids(Path(ids_csv))
    known = predicted.set_index("image_id", drop=False)
    missing = [image_id for image_id in ids if image_id not in known.index]
    if missing:
        raise DataError(
            f"evaluate.submission_ids = {ids_csv}: {len(missing)} of {len(ids)} images have no prediction, the first "
            f"is {missing[0]}; put their radiographs into data.root or leave them out of the table"
        )
    return known.loc[list(ids)]


def write_submission(layout: Layout, chosen: pd.DataFrame, rule: DecisionRule) -> None:
    """Write the submission, one map in memory at a time; masks have the size of their map.

    Without an image, or where the networks give no map, it has a header only.

    Args:
        layout: of the main set.
        chosen: rows of images.csv.
        rule: the decision rule.

    Raises:
        DataError: a map is missing or damaged.
    """
    if rule.mask_threshold is None and len(chosen):
        _LOGGER.warning("%s has no row: the networks give no map to make masks of", layout.submission)
        chosen = chosen[:0]
    with atomic_path(layout.submission) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{ID_COLUMN},{CODE_COLUMN}\n")
        for image_id, which, probability in chosen[["image_id", "set", "probability"]].itertuples(index=False):
            levels = read_map(layout.predictions / which / f"{image_id}.png")
            file.write(f"{image_id},{encode(rule.apply(levels, probability))}\n")
