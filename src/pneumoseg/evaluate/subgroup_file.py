"""evaluate.subgroup_table: what a user knows of images beside the set's own tables, such as a chest tube seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pneumoseg.evaluate.measuring import TEST_CASES, UNWRITTEN
from pneumoseg.evaluate.subgroups import UNKNOWN_GROUP
from pneumoseg.shared.errors import DataError
from pneumoseg.shared.layout import Layout
from pneumoseg.shared.tables import read_table


def read_groups(table: str | None, layout: Layout, image_ids: Sequence[str]) -> pd.DataFrame:
    """The group of each image by column of the table, ``unknown`` where it does not tell; no column without a table.

    Args:
        table: CSV with a column image_id and one column for each way of grouping; absolute, or relative to the folder
            of dvc.yaml. An image of an external set stands there as <set>/<image id>.
        layout: of the set.
        image_ids: wanted, N of them.

    Returns:
        (N, columns) text by image_id.

    Raises:
        DataError: it is missing or no table, names an image twice, or a column is called like one of test_cases.csv.
    """
    if table is None:
        return pd.DataFrame(index=pd.Index(image_ids, name="image_id"))
    path = layout.root / Path(table)
    found = read_table(path, {"image_id": "text"}).set_index("image_id")
    told = f"{path} (evaluate.subgroup_table)"
    if not found.index.is_unique:
        raise DataError(f"{told}: {found.index[found.index.duplicated()][0]} has two rows; keep one")
    taken = [name for name in found if name in (*TEST_CASES, *UNWRITTEN)]
    if taken:
        raise DataError(f"{told}: column {taken[0]} is one of the figures' own; call it otherwise")
    prefix = "" if layout.site is None else f"{layout.site}/"
    wanted = found.reindex([f"{prefix}{image_id}" for image_id in image_ids]).set_axis(pd.Index(image_ids), axis=0)
    return wanted.fillna(UNKNOWN_GROUP).replace("", UNKNOWN_GROUP)
