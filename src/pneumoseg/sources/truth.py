"""What is known of the images of a data set: a mask, a label alone, or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Size(NamedTuple):
    """Size of an image in pixels."""

    rows: int
    columns: int


class RejectedRow(NamedTuple):
    """A row of an annotation table that cannot be used. ``image_id`` is empty where it is no id: it may name a person.

    ``line`` is that of the file, the first is 1.
    """

    line: int
    image_id: str
    reason: str


@dataclass(frozen=True)
class Truth:
    """What is known of one annotated image.

    Attributes:
        positive: whether it shows a pneumothorax.
        runs: (N, 2) int64, its mask as column-major pixel ranges (rle.read_runs, rle.runs_of); N is 0 without
            pneumothorax. None: the label alone is known, or is all that is to be used.
        rle_count: rows of the table with a part of the mask.
        overlapping: whether two of its rows mark the same pixel.
        rejected: whether a row is damaged or contradicts another; nothing is then known, and the rest is void.
    """

    positive: bool
    runs: NDArray[np.int64] | None
    rle_count: int = 0
    overlapping: bool = False
    rejected: bool = False

    @property
    def area_px(self) -> int | None:
        """Area of the mask in pixels; None where it is not known."""
        return None if self.runs is None else int((self.runs[:, 1] - self.runs[:, 0]).sum())


_NO_RUNS: NDArray[np.int64] = np.empty((0, 2), np.int64)
NEGATIVE = Truth(positive=False, runs=_NO_RUNS)
LABEL_ONLY = Truth(positive=True, runs=None)
REJECTED = Truth(positive=False, runs=_NO_RUNS, rejected=True)

#: What a label says.
POSITIVE, NEGATIVE_LABEL, UNCERTAIN, BLANK = "positive", "negative", "uncertain", "blank"


@dataclass(frozen=True)
class Truths:
    """What the annotations of a data set hold.

    Attributes:
        images: of each image that they name, whether or not it has a file. Others are not annotated, never negative.
        rows: the image id of each of their rows; empty where it is no id.
        rejected: rows that cannot be used.
        repeated_rows: rows that say the same as another.
        undecided: of each image whose label says neither yes nor no, and counts as no annotation: UNCERTAIN or BLANK.
        grey_masks: mask files with values beside the lowest and the highest, cut at half.
        spellings: ids of the annotations that name an image in another spelling → its id (matching.other_spellings);
            images and rows have the latter.
    """

    images: Mapping[str, Truth]
    rows: Sequence[str]
    rejected: Sequence[RejectedRow] = ()
    repeated_rows: int = 0
    undecided: Mapping[str, str] = field(default_factory=dict)
    grey_masks: int = 0
    spellings: Mapping[str, str] = field(default_factory=dict)

    def labels_alone(self) -> Truths:
        """The same without any mask, of negatives too."""
        return replace(self, images={name: replace(truth, runs=None) for name, truth in self.images.items()})
