"""Which images show one chest at one time: the frontal views of a study, and its view from the side."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pneumoseg.shared.tables import METADATA, read_table

logger = logging.getLogger(__name__)

#: Views from the side: DICOM's codes of View Position (PS3.3 C.8.1.2), and the word.
LATERALS = ("LATERAL", "LL", "RL")


def read_laterals(metadata_csv: Path) -> Mapping[str, str]:
    """The view from the side of each frontal image whose study has one, by image id.

    Of several views from the side the first by id is taken; several frontal views of a study are answered one by one,
    each with the same view from the side. Both are told in the log. An image without a study has no other view.

    Raises:
        DataError: the table is not readable.
    """
    table = read_table(metadata_csv, METADATA)
    table = table[table["study_id"] != ""].sort_values("image_id")
    sideways = table["view_position"].isin(LATERALS)
    lateral = table[sideways].groupby("study_id")["image_id"].agg(["first", "count"])
    frontal = table[~sideways & table["study_id"].isin(lateral.index)]
    several = {
        "from the side: the first by id is taken": int((lateral.loc[frontal["study_id"].unique(), "count"] > 1).sum()),
        "from the front: each is answered, with the same one from the side": int(
            (frontal["study_id"].value_counts() > 1).sum()
        ),
    }
    for what, studies in several.items():
        if studies:
            logger.warning("%s: %d studies have more than one view %s", metadata_csv, studies, what)
    return dict(zip(frontal["image_id"], lateral.loc[frontal["study_id"], "first"], strict=True))
