"""Ids of a table that name an image in another spelling: with the suffix of a file, or in another case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

_SUFFIX = re.compile(r"\.(dcm|dicom|png|jpg|jpeg)$", re.IGNORECASE)


def other_spellings(named: Collection[str], known: Collection[str]) -> dict[str, str]:
    """The image that is meant by each id that is none's, where only one can be.

    Args:
        named: ids of a table; those that are images' stay as they are.
        known: ids of the images.

    Returns:
        Id of the table → id of the image. Not there: an id that differs in case from several images, or from another
        id of the table that differs likewise.
    """
    images, spellings = defaultdict(set), defaultdict(set)
    for image_id in known:
        images[image_id.casefold()].add(image_id)
    plain = {name: name if name in known else _SUFFIX.sub("", name) for name in named}
    for text in plain.values():
        spellings[text.casefold()].add(text)
    found = {}
    for name, text in plain.items():
        folded = text.casefold()
        if text in known or len(images[folded]) == len(spellings[folded]) == 1:
            found[name] = text if text in known else next(iter(images[folded]))
    return {name: image_id for name, image_id in found.items() if name != image_id}
