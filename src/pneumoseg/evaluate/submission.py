"""data/submission.csv: one row an image in the competition's code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pneumoseg.rule.cases import read_map, read_predicted
from pneumoseg.rule.decision import DecisionRule
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.files import atomic_path
from pneumoseg.shared.rle import encode
from pneumoseg.sources.rle_table import CODE_COLUMN, ID_COLUMN, read_rows


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


def choose_ids(predicted: pd.DataFrame, ids_csv: str | None) -> list[tuple[str, str]]:
    """Image id and set of every row that the submission must have, in order.

    Args:
        predicted: images.csv.
        ids_csv: exactly the ids of this table, in its order; None for every image without annotation, by id.

    Raises:
        DataError: an id of the table has no prediction.
    """
    if ids_csv is None:
        unlabelled = predicted[predicted["set"] == "unlabelled"]
        return [(image_id, "unlabelled") for image_id in sorted(unlabelled["image_id"])]
    sets = dict(zip(predicted["image_id"], predicted["set"], strict=True))
    ids = read_ids(Path(ids_csv))
    missing = [image_id for image_id in ids if image_id not in sets]
    if missing:
        raise DataError(
            f"evaluate.submission_ids = {ids_csv}: {len(missing)} of {len(ids)} images have no prediction, the first "
            f"is {missing[0]}; put their radiographs into data.root or leave them out of the table"
        )
    return [(image_id, sets[image_id]) for image_id in ids]


def write_submission(predictions: Path, rule: DecisionRule, ids_csv: str | None, out_csv: Path) -> int:
    """Write the submission, one map in memory at a time; masks have the size of their map.

    Args:
        predictions: folder with images.csv and the maps.
        rule: the decision rule.
        ids_csv: as in choose_ids.
        out_csv: where to write; without an image it has a header only.

    Returns:
        The number of rows.

    Raises:
        DataError: as in choose_ids, or a map is damaged.
    """
    predicted = read_predicted(predictions)
    probability = dict(zip(predicted["image_id"], predicted["probability"], strict=True))
    chosen = choose_ids(predicted, ids_csv)
    with atomic_path(out_csv) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{ID_COLUMN},{CODE_COLUMN}\n")
        for image_id, which in chosen:
            mask = rule.apply(read_map(predictions / which / f"{image_id}.png"), float(probability[image_id]))
            file.write(f"{image_id},{encode(mask)}\n")
    return len(chosen)
